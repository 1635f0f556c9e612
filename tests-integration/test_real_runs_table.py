"""The table of real runs: what it says of results, and where it goes."""

import pytest

import real_runs

RESULT = {
    "name": "head_direction",
    "metric": "r2",
    "intervals": {
        "poyo_plus": {"head_direction/A2929-200711": [0.93, 0.9, 0.95]},
        "gru": {"head_direction/A2929-200711": [0.91, 0.88, 0.94]},
        "ridge": {"head_direction/A2929-200711": [0.81, 0.7, 0.87]},
    },
    "took": {"poyo_plus": {"seconds": 80.4, "cpu_seconds": 120.0}, "gru": {"seconds": 30.0, "cpu_seconds": 41.6}},
}


def test_the_table_has_every_decoder_with_its_interval_and_marks_the_best():
    lines = real_runs.markdown([RESULT]).splitlines()
    assert lines[0] == "| recording | score | POYO+ | GRU | ridge |"
    row = (
        "| `head_direction`, (cos, sin) | R² | **0.930** [0.900, 0.950] | 0.910 [0.880, 0.940] | 0.810 [0.700, 0.870] |"
    )
    assert row in lines
    assert "| `head_direction` | 80 (120) | 30 (42) | – |" in lines


def test_a_decoder_that_one_set_lacks_is_a_dash_there():
    peer = {"peer": {"head_direction/A2929-200711": [0.92, 0.9, 0.94]}}
    other = {**RESULT, "intervals": {**RESULT["intervals"], **peer}}
    lines = real_runs.markdown([other, RESULT]).splitlines()
    assert "| – |" in lines[3]
    assert "0.920 [0.900, 0.940]" in lines[2]


def test_the_table_replaces_what_stands_between_its_marks_and_nothing_else(tmp_path):
    file = tmp_path / "results.md"
    file.write_text(f"# Results\n\nbefore\n\n{real_runs.BEGIN}\n\nold\n\n{real_runs.END}\n\nafter\n")
    real_runs.write_table(file, [RESULT])
    real_runs.write_table(file, [RESULT])
    text = file.read_text()
    assert text.startswith("# Results\n\nbefore\n\n")
    assert text.endswith("\n\nafter\n")
    assert "old" not in text
    assert text.count("| recording | score |") == 1
    (tmp_path / "other.md").write_text("# Nothing\n")
    with pytest.raises(ValueError, match="between which the table goes"):
        real_runs.write_table(tmp_path / "other.md", [RESULT])


def test_intervals_hold_the_score_and_narrow_with_time():
    import torch

    from nd_eval import StitchedTrace, r2_score

    generator = torch.Generator().manual_seed(0)
    run = real_runs.RUNS["m1_center_out"]
    widths = []
    for count in (500, 5000):
        targets = torch.randn(count, 2, generator=generator)
        trace = StitchedTrace(
            timestamps=torch.arange(count, dtype=torch.float64),
            preds=targets + 0.5 * torch.randn(count, 2, generator=generator),
            targets=targets,
        )
        value, low, high = real_runs.scored({"one": trace}, run)["one"]
        assert value == pytest.approx(float(r2_score(trace.preds, trace.targets)), abs=1e-4)
        assert low < value < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2

"""The table of real runs: what it says of results, and where it goes."""

import json
import sys

import numpy as np
import pytest

import real_runs
import real_runs_table

RECORDING = "head_direction/A2929-200711"
RESULT = {
    "name": "head_direction",
    "metric": "r2",
    "seeds": [0],
    "intervals": {
        "poyo_plus": {RECORDING: [[0.93, 0.9, 0.95]]},
        "gru": {RECORDING: [[0.91, 0.88, 0.94]]},
        "ridge": {RECORDING: [[0.81, 0.7, 0.87]]},
    },
    "poyo_plus_ahead_of": {"gru": {RECORDING: [0.02, -0.004, 0.05]}, "ridge": {RECORDING: [0.12, 0.1, 0.14]}},
    "took": {"poyo_plus": [{"seconds": 80.4, "cpu_seconds": 120.0}], "gru": [{"seconds": 30.0, "cpu_seconds": 41.6}]},
}


def test_the_table_has_every_decoder_with_its_interval_and_marks_the_best():
    lines = real_runs_table.markdown([RESULT]).splitlines()
    assert lines[0] == "| recording | score | seeds | POYO+ | GRU | ridge |"
    cells = "**0.930** [0.900, 0.950] | 0.910 [0.880, 0.940] | 0.810 [0.700, 0.870] |"
    assert f"| `head_direction`, (cos, sin) | R² | 1 | {cells}" in lines
    assert "| `head_direction` | 80 (120) | 30 (42) | – |" in lines
    assert "| POYO+ is ahead of | GRU | ridge |" in lines
    assert "| `head_direction`, (cos, sin) | +0.020 [−0.004, +0.050] | +0.120 [+0.100, +0.140] |" in lines


def test_several_seeds_are_their_mean_and_spread_with_the_mean_of_the_intervals_ends():
    seeds = [[0.90, 0.80, 0.94], [0.92, 0.82, 0.95], [0.97, 0.87, 0.99]]
    other = {
        **RESULT,
        "seeds": [0, 1, 2],
        "intervals": {**RESULT["intervals"], "poyo_plus": {RECORDING: seeds}},
        "took": {"poyo_plus": [{"seconds": wall, "cpu_seconds": 2 * wall} for wall in (10.0, 20.0, 60.0)]},
    }
    row = real_runs_table.markdown([other]).splitlines()[2]
    spread = np.std([0.90, 0.92, 0.97], ddof=1)
    assert f"| 3 | **0.930** ± {spread:.3f} [0.830, 0.960] | 0.910 [" in row
    assert "| `head_direction` | 30 (60) | – | – |" in real_runs_table.markdown([other])


def test_the_best_mean_is_marked_though_another_decoder_has_the_best_seed():
    lucky = [[0.95, 0.9, 0.99], [0.85, 0.8, 0.9]]
    other = {**RESULT, "intervals": {**RESULT["intervals"], "poyo_plus": {RECORDING: lucky}}}
    assert "**0.910**" in real_runs_table.markdown([other])


def test_a_decoder_that_one_set_lacks_is_a_dash_there():
    peer = {"peer": {RECORDING: [[0.92, 0.9, 0.94]]}}
    other = {**RESULT, "intervals": {**RESULT["intervals"], **peer}}
    lines = real_runs_table.markdown([other, RESULT]).splitlines()
    assert "| – |" in lines[3]
    assert "0.920 [0.900, 0.940]" in lines[2]


def test_a_run_that_ended_is_not_run_again_unless_its_words_or_settings_change(tmp_path):
    folder = tmp_path / "run"
    script = (
        "import pathlib, sys; folder = pathlib.Path(sys.argv[1]); folder.mkdir(exist_ok=True); "
        "print('x', end='', file=(folder / 'calls').open('a'))"
    )
    command = [sys.executable, "-c", script, str(folder)]
    first = real_runs.timed(command, folder, settings="a")
    assert real_runs.timed(command, folder, settings="a") == first
    assert (folder / "calls").read_text() == "x"
    assert 0.0 < first["cpu_seconds"] < 60.0
    # What an earlier run left does not mix with another's: the folder begins anew.
    real_runs.timed(command, folder, settings="b")
    assert (folder / "calls").read_text() == "x"
    assert json.loads((folder / real_runs.ENDED).read_text())["words"] == [*command, "b"]
    real_runs.timed([*command, "more"], folder, settings="b")
    assert json.loads((folder / real_runs.ENDED).read_text())["words"] == [*command, "more", "b"]


def test_the_table_replaces_what_stands_between_its_marks_and_nothing_else(tmp_path):
    file = tmp_path / "results.md"
    file.write_text(f"# Results\n\nbefore\n\n{real_runs_table.BEGIN}\n\nold\n\n{real_runs_table.END}\n\nafter\n")
    real_runs_table.write_table(file, [RESULT])
    real_runs_table.write_table(file, [RESULT])
    text = file.read_text()
    assert text.startswith("# Results\n\nbefore\n\n")
    assert text.endswith("\n\nafter\n")
    assert "old" not in text
    assert text.count("| recording | score |") == 1
    (tmp_path / "other.md").write_text("# Nothing\n")
    with pytest.raises(ValueError, match="between which the table goes"):
        real_runs_table.write_table(tmp_path / "other.md", [RESULT])

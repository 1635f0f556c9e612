"""``nd-train doctor`` as a command: a sound run passes quietly, an unsound one ends with exit code 1."""

import json
import warnings

import numpy as np
import pytest
import yaml

from nd_data import Data, Interval
from nd_train.cli import main
from nd_train.doctor import examine
from nd_train.doctor.findings import Finding, Findings
from nd_train.doctor.model import check_readouts, check_times, check_vocabulary
from nd_train.neural_decoder import NeuralDecoder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def words(run_words):
    """The words of a tiny run."""
    return [*run_words, "--trainer.max_steps=20"]


def report(capsys, *words):
    """Exit code, and what is printed as JSON."""
    code = main(["doctor", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def levels(printed):
    return {(one["level"], one["check"]) for one in printed["findings"] if one["level"] != "ok"}


def test_in_python_what_lightning_calls_of_old_names_is_no_warning_of_ours(words, monkeypatch):
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "all")  # each time, not only once a process
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings = examine(words, steps=0)
    assert findings.count("problem") == 0


def test_a_sound_run_passes_quietly_with_figures_of_what_it_takes_and_leaves_nothing(words, capsys, tmp_path):
    code, printed = report(capsys, *words, "--steps=2")
    assert code == 0
    assert levels(printed) == set()
    assert (printed["problems"], printed["warnings"]) == (0, 0)
    estimates = printed["estimates"]
    assert estimates["steps"] == 20
    assert estimates["seconds"] >= 20 * estimates["seconds_per_step"] > 0
    assert estimates["peak_memory_bytes"] > 16 * estimates["parameters"]
    # 100 targets a second of two readouts.
    assert printed["figures"]["targets_in_a_window"].startswith("200 (median)")
    assert not (tmp_path / "run").exists()


def test_a_table_is_printed_and_everything_wrong_is_found_at_once(words, recordings, capsys, tmp_path):
    root = tmp_path / "spoilt"
    for file in sorted(recordings.glob("*/*.h5")):
        recording = Data.load(file)
        recording.materialize()
        recording.cursor.vel = np.zeros_like(recording.cursor.vel)
        del recording.valid_domain
        recording.set_valid_domain(Interval(30.0, 45.0))
        target = root / file.relative_to(recordings)
        target.parent.mkdir(parents=True, exist_ok=True)
        recording.save(target)
    assert main(["doctor", *words, f"--data.root={root}"]) == 1
    printed = capsys.readouterr().out
    assert "targets constant" in printed
    assert "splits leak" in printed
    assert "store splits that do not overlap" in " ".join(printed.replace("│", " ").split())
    assert "not measured: there are problems" in " ".join(printed.replace("│", " ").split())


@pytest.mark.parametrize(
    ("config", "check", "part"),
    [
        ({"multitask_readout": [{"readout_id": "cursor_velocty_2d"}]}, "model", "did you mean 'cursor_velocity_2d'"),
        ({"readout": {"readout_id": "cursor_velocity_2d"}}, "settings", "no 'multitask_readout'"),
        ({"multitask_readout": [{"readout_id": "running_speed"}]}, "windows", "running"),
        ({"multitask_readout": [{"readout_id": "cursor_velocity_2d", "metrics": ["r3"]}]}, "model metrics", "'r3'"),
        (
            {"multitask_readout": [{"readout_id": "cursor_velocity_2d", "normalize_std": [1.0, 2.0, 3.0]}]},
            "windows",
            "normalize_std",
        ),
        (
            {
                "multitask_readout": [
                    {"readout_id": "running_speed", "timestamp_key": "cursor.timestamps", "value_key": "cursor.vel"}
                ]
            },
            "windows",
            "must have shape (n, 1), got (100, 2)",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_a_problem_that_says_why(words, capsys, tmp_path, config, check, part):
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"config": config}))
    code, printed = report(capsys, *words, "--steps=0")
    assert code == 1
    texts = [one["what"] for one in printed["findings"] if (one["level"], one["check"]) == ("problem", check)]
    assert any(part in text for text in texts), printed["findings"]


def test_two_readouts_of_one_id_are_a_problem_of_the_model(words, capsys):
    described = {"dim": 2, "type": "CONTINUOUS", "id": 7, "timestamp_key": "cursor.timestamps"}
    specs = {name: {**described, "value_key": f"cursor.{name}"} for name in ("vel", "pos")}
    code, printed = report(capsys, *words, f"--model.network.readout_specs={json.dumps(specs)}", "--steps=0")
    assert code == 1
    (problem,) = [one for one in printed["findings"] if (one["level"], one["check"]) == ("problem", "model")]
    assert "share the id 7" in problem["what"]


def test_a_folder_without_recordings_is_one_problem(words, capsys, tmp_path):
    code, printed = report(capsys, *words, f"--data.root={tmp_path / 'nowhere'}")
    assert code == 1
    assert levels(printed) == {("problem", "recordings")}


def test_a_checkpoint_of_other_recordings_is_a_problem_that_leads_to_finetune(make_model, make_trainer, tmp_path):
    module = NeuralDecoder(make_model())
    module.model.unit_emb.initialize_vocab(["lab/day1/a", "lab/day1/b"])
    module.model.session_emb.initialize_vocab(["lab/day1"])
    trainer = make_trainer()
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "one.ckpt", weights_only=True)
    findings = Findings()
    check_vocabulary(tmp_path / "one.ckpt", ["lab/day1/a", "lab/day2/a"], ["lab/day1"], findings)
    (one,) = findings.merged()
    assert one.level == "problem"
    assert "1 of 2 units of the data are not in the checkpoint, such as 'lab/day2/a'" in one.what
    assert "finetune" in one.advice
    findings = Findings()
    check_vocabulary(tmp_path / "one.ckpt", ["lab/day1/a"], ["lab/day1"], findings)
    assert [one.level for one in findings.merged()] == ["ok"]


@pytest.mark.parametrize(
    ("sizes", "eval_step", "level", "words"),
    [
        ({"sequence_length": 1.0, "latent_step": 0.3}, None, "warning", "no multiple of latent_step"),
        ({"sequence_length": 0.2, "latent_step": 0.5}, None, "problem", "longer than the window"),
        ({"sequence_length": 20.0, "latent_step": 2.0}, None, "warning", "longest rotary period"),
        ({"sequence_length": 1.0, "latent_step": 0.5}, 1.5, "problem", "times between are never scored"),
    ],
)
def test_times_of_the_model_that_do_not_suit_each_other_are_found(make_model, sizes, eval_step, level, words):
    findings = Findings()
    check_times(make_model(**sizes), eval_step, findings)
    (one,) = findings.merged()
    assert one.level == level
    assert words in one.what


def test_readouts_that_model_and_data_do_not_share_are_found(make_model, make_recording):
    recording = make_recording()
    findings = Findings()
    check_readouts(make_model(readout_specs=["cursor_velocity_2d", "running_speed"]), [recording], findings)
    assert [(one.level, "running_speed" in one.what) for one in findings.merged()] == [("warning", True)]
    findings = Findings()
    check_readouts(make_model(readout_specs=["cursor_position_2d"]), [recording], findings)
    assert findings.merged()[0].level == "problem"
    assert "no readout 'cursor_velocity_2d'" in findings.merged()[0].what
    findings = Findings()
    check_readouts(make_model("POYO"), [recording], findings)
    assert "no 'readout'" in findings.merged()[0].what


def test_the_same_finding_of_many_recordings_is_one_line_that_counts_them():
    findings = Findings()
    for day in range(10):
        findings.warning("targets scale", f"mean {day}", where=f"lab/day{day}", advice="normalise")
    findings.problem("splits leak", "they overlap", where="lab/day0", advice="split")
    first, second = findings.merged()
    assert first.level == "problem"
    assert second.what == "10 times, first: mean 0"
    assert len(second.where) == 10
    assert findings.count("warning") == 1
    assert findings.merged()[0] == Finding("problem", "splits leak", "they overlap", ("lab/day0",), "split")


def test_poyo_with_one_readout_is_examined_too(words, single, make_model, capsys, tmp_path):
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(single))
    network = {key: value for key, value in make_model("POYO").to_config().items() if key != "readout_spec"}
    others = [word for word in words if not word.startswith("--model.network")]
    code, printed = report(capsys, f"--model.network={json.dumps(network)}", *others, "--steps=1")
    assert (code, levels(printed)) == (0, set())

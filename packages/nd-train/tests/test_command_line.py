"""The command line's own parts; whole runs through it are in tests-integration."""

import json
import subprocess
import sys

import pytest
import torch
import yaml

import nd_train
from nd_data import Data
from nd_models import model_from_config
from nd_train import NeuralDecoder
from nd_train.cli import main
from nd_train.commands.decoder_command_line import configured_decoder
from nd_train.commands.ready_configurations import ready_configurations, with_ready_configurations


def test_the_package_exports_its_names():
    assert sorted(nd_train.__all__) == [
        *("LongitudinalDataModule", "MILightningModule", "NeuralDataModule", "NeuralDecoder", "__version__")
    ]


@pytest.mark.parametrize(
    "words",
    [
        *("--help", "--version", "fit --help", "fit --config longitudinal --help", "finetune --help", "doctor --help"),
        *("report --help", "quickstart --help", "export --help"),
    ],
)
def test_help_comes_at_once_without_what_training_needs(words):
    program = (
        "import sys\nfrom nd_train.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'lightning', 'numpy', 'nd_data', 'nd_models'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # our own words
    assert done.stdout.strip()
    assert done.stderr.strip() == "[]"


def test_what_the_package_exports_is_found_and_what_it_does_not_is_an_error():
    assert set(nd_train.__all__) <= set(dir(nd_train))
    assert nd_train.NeuralDecoder is NeuralDecoder
    with pytest.raises(AttributeError, match="module 'nd_train' has no attribute 'NeuralEncoder'"):
        nd_train.NeuralEncoder  # noqa: B018


def test_there_are_ready_configurations_for_both_architectures():
    ready = ready_configurations()
    assert {"poyo_small", "poyo_plus_small", "quickstart"} <= set(ready)
    for file in ready.values():
        content = yaml.safe_load(file.read_text())
        if content.get("system") == "longitudinal":
            continue
        network = content["model"]["network"]
        key = "readout_spec" if network["architecture"] == "POYO" else "readout_specs"
        readouts = "cursor_velocity_2d" if key == "readout_spec" else ["cursor_velocity_2d"]
        assert type(model_from_config({**network, key: readouts})).__name__ == network["architecture"]


@pytest.mark.parametrize("given", [["--config", "quickstart"], ["-c", "quickstart"], ["--config=quickstart"]])
def test_the_name_of_a_ready_configuration_becomes_its_file(given):
    file = str(ready_configurations()["quickstart"])
    expected = [f"--config={file}"] if "=" in given[0] else [given[0], file]
    assert with_ready_configurations(["fit", *given, "--trainer.max_steps", "3"]) == [
        *("fit", *expected, "--trainer.max_steps", "3")
    ]


def test_a_file_comes_before_a_ready_configuration_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text("{}")
    assert with_ready_configurations(["--config", "quickstart"]) == ["--config", "quickstart"]


def test_a_folder_of_the_same_name_does_not_hide_a_ready_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert with_ready_configurations(["--config", "quickstart"]) == [
        "--config",
        str(ready_configurations()["quickstart"]),
    ]


def test_other_arguments_and_configurations_as_text_stay_as_they_are():
    arguments = ["fit", "--data.config", "quickstart", "--config", '{"trainer": {"max_steps": 3}}']
    assert with_ready_configurations(arguments) == arguments


@pytest.mark.parametrize("given", [["--config", "nope"], ["--config=nope"], ["-c", "nope"]])
def test_an_unknown_configuration_is_an_error_that_lists_the_ready_ones(given):
    with pytest.raises(
        FileNotFoundError,
        match=r"nope: no such file.*ready are .*longitudinal, .*poyo_plus_small, poyo_small, quickstart",
    ):
        with_ready_configurations(given)


def test_an_error_is_one_line_without_a_trace_and_the_exit_code_is_one(capsys):
    assert main(["fit", "--config", "nope"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    first, second = printed.err.splitlines()
    assert first.startswith("error: --config nope: no such file")
    assert second == "(the trace comes with --debug)"


def test_with_debug_the_error_itself_comes_out():
    with pytest.raises(FileNotFoundError, match="nope"):
        main(["--debug", "fit", "--config", "nope"])


def test_the_notes_of_an_error_are_printed_below_it(capsys, monkeypatch):
    def fail(arguments):
        error = KeyError("no such thing")
        error.add_note("while reading")
        raise error

    monkeypatch.setattr("nd_train.commands.quickstart.main", fail)
    assert main(["quickstart"]) == 1
    assert capsys.readouterr().err.splitlines()[:2] == ["error: no such thing", "  while reading"]


def test_data_without_its_configuration_is_an_error_before_anything_is_written(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["quickstart", "--out", str(out), "--data", str(tmp_path)]) == 1
    assert "--data and --config go together" in capsys.readouterr().err
    assert not out.exists()


def test_a_decoder_is_configured_from_plain_values(make_model):
    network = make_model().to_config()
    given = {
        "lr": 5e-4,
        "optimizer": "sgd",
        "optimizer_arguments": {"momentum": 0.9},
        "weight_decay": 0.1,
        "base_batch_size": 16,
        "schedule": "cosine",
        "warmup": 0.2,
        "schedule_steps": 70,
        "start_factor": 0.1,
        "end_factor": 0.01,
    }
    module = configured_decoder(network, **given)
    assert dict(module.hparams) == {"model": network, **given}


# Lightning's command line uses spellings that jsonargparse deprecates.
whole_run = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def arguments(run_words):
    """A run without logs, as words of the command line."""
    return [
        *(*run_words, "--trainer.logger=false"),
        *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
    ]


@whole_run
def test_a_run_reads_out_what_the_data_ask_for_and_ends_with_the_table(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nd-train"])
    steps = ["--trainer.max_steps=2", "--trainer.val_check_interval=2"]
    assert main(["fit", *arguments, *steps]) == 0
    printed = capsys.readouterr().out
    for session in ("simulated/session_00", "simulated/session_01"):
        for task in ("cursor_velocity_2d", "cursor_position_2d"):
            assert any(session in line and task in line for line in printed.splitlines())
    scores = json.loads((tmp_path / "run" / "test_scores.json").read_text())
    assert sorted(scores["simulated/session_00"]) == ["cursor_position_2d", "cursor_velocity_2d"]
    (best,) = (tmp_path / "run").rglob("best-*.ckpt")
    assert str(best) in printed
    stored = torch.load(best, weights_only=True)
    assert sorted(stored["hyper_parameters"]["model"]["readout_specs"]) == ["cursor_position_2d", "cursor_velocity_2d"]


@whole_run
def test_the_last_checkpoint_is_the_runs_end_also_where_the_best_came_earlier(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nd-train"])
    # No score is ever better than the first: learning is off.
    steps = ["--trainer.max_steps=5", "--trainer.val_check_interval=2", "--trainer.limit_test_batches=1"]
    assert main(["fit", *arguments, *steps, "--model.lr=0", "--model.schedule=constant"]) == 0
    (best,), (last,) = (list((tmp_path / "run").rglob(name)) for name in ("best-*.ckpt", "last.ckpt"))
    states = {path: torch.load(path, weights_only=True) for path in (best, last)}
    assert states[best]["global_step"] == 2
    assert states[last]["global_step"] == 5
    assert set(states[last]) == set(states[best])


@whole_run
def test_a_run_that_ends_before_its_first_validation_says_so_and_keeps_its_state(
    arguments, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["nd-train"])
    assert main(["fit", *arguments, "--trainer.max_steps=1", "--trainer.check_val_every_n_epoch=null"]) == 0
    assert "ended before its first validation (1 steps): nothing to test" in capsys.readouterr().out
    (last,) = (tmp_path / "run").rglob("last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 1


@whole_run
@pytest.mark.parametrize("architecture", ["WienerDecoder", "MLPDecoder", "GRUDecoder", "NDTDecoder"])
def test_a_baseline_trains_and_is_scored_as_the_decoders_are(architecture, arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nd-train"])
    network = json.dumps({"architecture": architecture, "sequence_length": 1.0, "bin_size": 0.1})
    steps = ["--trainer.max_steps=2", "--trainer.val_check_interval=2"]
    others = [word for word in arguments if not word.startswith("--model.network")]
    assert main(["fit", f"--model.network={network}", *others, *steps]) == 0
    scores = json.loads((tmp_path / "run" / "test_scores.json").read_text())
    assert set(scores["simulated/session_01"]) == {"cursor_velocity_2d", "cursor_position_2d"}
    (best,) = (tmp_path / "run").rglob("best-*.ckpt")
    assert type(NeuralDecoder.load_from_checkpoint(best).model).__name__ == architecture


def without_splits(recordings, root, *left_out):
    """The same recordings, some splits taken out. The folder."""
    for file in sorted(recordings.glob("*/*.h5")):
        recording = Data.load(file)
        recording.materialize()
        for split in left_out:
            delattr(recording, f"{split}_domain")
        copied = root / file.relative_to(recordings)
        copied.parent.mkdir(parents=True, exist_ok=True)
        recording.save(copied)
    return root


@whole_run
def test_without_a_valid_split_the_last_state_is_tested(arguments, recordings, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nd-train"])
    root = without_splits(recordings, tmp_path / "no_valid", "valid")
    assert main(["fit", *arguments, f"--data.root={root}", "--trainer.max_steps=3"]) == 0
    assert "No 'valid' split" in capsys.readouterr().out
    assert (tmp_path / "run" / "test_scores.json").is_file()
    (last,) = (tmp_path / "run").rglob("*.ckpt")
    assert last.name == "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 3
    # What was tested is that state.
    again = ["test", *arguments, f"--data.root={root}", f"--ckpt_path={last}"]
    first = json.loads((tmp_path / "run" / "test_scores.json").read_text())
    assert main(again) == 0
    assert json.loads((tmp_path / "run" / "test_scores.json").read_text()) == first


@whole_run
def test_recordings_with_nothing_to_score_are_refused_before_training(
    arguments, recordings, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["nd-train"])
    root = without_splits(recordings, tmp_path / "train_only", "valid", "test")
    assert main(["fit", *arguments, f"--data.root={root}", "--trainer.max_steps=3"]) == 1
    assert "neither a 'valid' nor a 'test' split" in capsys.readouterr().err


def test_help_works_as_a_module():
    command = [sys.executable, "-m", "nd_train", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("fit", "validate", "test", "predict"))

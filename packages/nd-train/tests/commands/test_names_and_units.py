"""Names of classes and units, from a run's configuration to its checkpoint, traces and report card."""

import json

import pytest
import torch
import yaml

from nd_data import Data
from nd_data.simulate_calcium import simulate_calcium_recordings
from nd_models import from_pretrained
from nd_train import NeuralDecoder
from nd_train.doctor import examine
from nd_train.report import write_report
from nd_train.traces import read_trace_attributes, read_traces

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

DIRECTION, SPEED = "drifting_gratings_orientation", "running_speed"
NAMES = ["east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east"]
SESSION = "simulated_calcium/session_00"
READOUTS = {SPEED: {"unit": "cm/s"}, DIRECTION: {"class_names": NAMES}}
ENTRIES = [{"readout_id": SPEED, "metrics": ["r2"]}, {"readout_id": DIRECTION, "metrics": ["balanced_accuracy"]}]


@pytest.fixture(scope="module")
def calcium(tmp_path_factory):
    """A simulated recording, and the configurations of its data and of a small run on it."""
    folder = tmp_path_factory.mktemp("calcium")
    simulate_calcium_recordings(folder / "processed", sessions=1, minutes=1.0, cells=8, frame_rate=10.0, seed=6)
    (folder / "data.yaml").write_text(yaml.safe_dump({"config": {"multitask_readout": ENTRIES}}))
    sizes = {"sequence_length": 1.0, "latent_step": 0.5, "num_latents_per_step": 2, "dim": 16, "dim_head": 8}
    network = {"architecture": "CalciumPOYOPlus", **sizes, "depth": 1, "self_heads": 2, "readout_specs": READOUTS}
    (folder / "run.yaml").write_text(yaml.safe_dump({"model": {"network": network}}))
    return folder


@pytest.fixture
def words(calcium, nd_train):
    """Words that every command on this recording needs."""
    return [f"--data.root={calcium / 'processed'}", f"--data.config={calcium / 'data.yaml'}", *nd_train.quiet]


def known(path):
    """What a file of traces says of its two tasks."""
    attributes = read_trace_attributes(path)[SESSION]
    assert set(read_traces(path)[SESSION]) == set(attributes)
    return attributes[SPEED].get("unit"), attributes[DIRECTION].get("class_names")


def test_they_go_from_the_configuration_to_checkpoint_traces_folder_and_report_card(nd_train, calcium, words, tmp_path):
    nd_train(
        *("fit", f"--config={calcium / 'run.yaml'}", *words, "--data.normalize=train"),
        *("--trainer.max_steps=4", "--trainer.val_check_interval=2", "--trainer.check_val_every_n_epoch=null"),
        f"--trainer.default_root_dir={tmp_path / 'run'}",
    )
    (traces,) = (tmp_path / "run").rglob("test_traces.h5")
    assert known(traces) == ("cm/s", NAMES)

    (checkpoint,) = (tmp_path / "run").rglob("last.ckpt")
    specs = NeuralDecoder.load_from_checkpoint(checkpoint).model.readout_specs
    assert (specs[SPEED].unit, specs[DIRECTION].class_names) == ("cm/s", tuple(NAMES))
    nd_train("predict", checkpoint, *words, f"--output={tmp_path / 'predicted.h5'}")
    assert known(tmp_path / "predicted.h5") == ("cm/s", NAMES)

    nd_train("export", checkpoint, "--output", tmp_path / "shared")
    assert from_pretrained(tmp_path / "shared").readout_specs[DIRECTION].class_names == tuple(NAMES)
    nd_train("test", tmp_path / "shared", *words, f"--trainer.default_root_dir={tmp_path / 'tested'}")
    (tested,) = (tmp_path / "tested").rglob("test_traces.h5")
    assert known(tested) == ("cm/s", NAMES)

    write_report(traces.parent)
    page = (traces.parent / "report.html").read_text()
    assert "No ridge regression of running_speed in 1 of 1 recordings: recording" in page
    content = json.loads(page.split('id="content">')[1].split("</script>")[0])
    by_task = {trace["task"]: trace for trace in content["traces"]}
    assert by_task[SPEED]["unit"] == "cm/s"
    # In the units of the data, whatever it was trained in.
    speeds = read_traces(tmp_path / "predicted.h5")[SESSION][SPEED].targets
    assert by_task[SPEED]["dimensions"][0]["high"] >= float(speeds.max()) - 1e-3 > 5.0
    assert by_task[DIRECTION]["class_names"] == {str(place): name for place, name in enumerate(NAMES)}
    assert all(f'<th scope="row">{name}</th>' in page for name in NAMES)


def test_checkpoints_that_say_neither_still_load(nd_train, calcium, words, tmp_path):
    nd_train(
        *("fit", f"--config={calcium / 'run.yaml'}", "--trainer.max_steps=1", "--trainer.limit_val_batches=0", *words),
        f"--trainer.default_root_dir={tmp_path / 'run'}",
    )
    (file,) = (tmp_path / "run").rglob("last.ckpt")
    checkpoint = torch.load(file, weights_only=True)
    for readout in checkpoint["hyper_parameters"]["model"]["readout_specs"].values():
        readout.pop("unit", None)
        readout.pop("class_names", None)
    torch.save(checkpoint, tmp_path / "older.ckpt")
    nd_train("predict", tmp_path / "older.ckpt", *words, f"--output={tmp_path / 'predicted.h5'}")
    assert known(tmp_path / "predicted.h5") == (None, None)


def test_the_doctor_speaks_of_classes_by_name(calcium, words):
    found = examine(["--config", str(calcium / "run.yaml"), *words], steps=0)
    (missing,) = (one for one in found.merged() if one.check == "targets classes" and one.level != "ok")
    recording = Data.load(calcium / "processed" / f"{SESSION}.h5")
    shown = recording.drifting_gratings
    trained = set(shown.orientation_id[shown.timestamps < recording.train_domain.end[-1]])
    (never,) = set(shown.orientation_id) - trained
    assert missing.what == f"classes {NAMES[never]!r} occur in valid or test, never in train"


def test_a_name_too_few_is_one_error_that_says_of_which_readout(calcium, words, tmp_path, capsys, monkeypatch):
    from nd_train.cli import main

    monkeypatch.setattr("sys.argv", ["nd-train"])
    content = yaml.safe_load((calcium / "run.yaml").read_text())
    content["model"]["network"]["readout_specs"][DIRECTION]["class_names"] = NAMES[:-1]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    where = f"--trainer.default_root_dir={tmp_path / 'run'}"
    assert main(["fit", f"--config={tmp_path / 'run.yaml'}", where, *words]) == 1
    printed = capsys.readouterr().err
    assert "class_names must hold 8 names, one a class (dim), got 7" in printed.splitlines()[0]
    assert f"in the description of readout '{DIRECTION}'" in printed

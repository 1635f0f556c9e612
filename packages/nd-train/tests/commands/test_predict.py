"""``nd-train predict``: traces in a file, of any time, with targets and without."""

import csv

import h5py
import numpy as np
import pytest
import torch
import yaml

from nd_data import Data
from nd_train.cli import main
from nd_train.run_record import read_run_record
from nd_train.traces import has_targets, read_trace_attributes, read_traces

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SESSION = "simulated/session_00"


@pytest.fixture
def predict(nd_train, pretrained, three_recordings, tmp_path):
    """Predict with the pretrained model; returns the traces."""

    def run(*words, root=three_recordings, output="traces.h5", sessions=("session_00",), **configuration):
        config = nd_train.configuration(sessions, **configuration)
        path = tmp_path / output
        nd_train(
            *("predict", pretrained, f"--data.root={root}", f"--data.config={config}", f"--output={path}", *words),
            *(f"--trainer.default_root_dir={tmp_path / 'run'}", *nd_train.quiet),
        )
        return read_traces(path)

    return run


def test_the_predicted_test_split_is_that_of_the_run_to_the_bit(predict, pretrained, capsys, tmp_path):
    (stored,) = pretrained.parents[1].glob("test_traces.h5")
    of_run = read_traces(stored)
    for output in ("traces.h5", "traces.csv"):
        predicted = predict(sessions=("session_00", "session_01"), output=output)
        assert set(predicted) == set(of_run)
        for session, tasks in of_run.items():
            for name, trace in tasks.items():
                again = predicted[session][name]
                assert torch.equal(again.timestamps, trace.timestamps)
                assert torch.equal(again.preds, trace.preds)
                assert torch.equal(again.targets, trace.targets)
        printed = capsys.readouterr().out
        assert "predicted 2,400 times of 2 recordings: split 'test'" in printed
        assert f"traces: {tmp_path / output}" in printed


def test_without_an_output_the_traces_are_in_the_runs_folder(nd_train, pretrained, three_recordings, capsys, tmp_path):
    nd_train(
        *("predict", f"--ckpt_path={pretrained}", f"--data.root={three_recordings}"),
        f"--data.config={nd_train.configuration(['session_01'])}",
        *(f"--trainer.default_root_dir={tmp_path / 'run'}", *nd_train.quiet),
    )
    (path,) = (tmp_path / "run").rglob("predict_traces.h5")
    data = read_run_record(path.parent)["data"]
    assert data["root"] == str(three_recordings)
    assert list(data["recordings"]) == ["simulated/session_01"]
    assert data["recordings"]["simulated/session_01"]["spikes"] > 0
    assert f"traces: {path}" in capsys.readouterr().out
    assert read_trace_attributes(path)["simulated/session_01"][nd_train.task]["value_key"] == "cursor.vel"


def test_whole_recordings_and_stretches_of_them_can_be_predicted(predict, three_recordings, nd_train):
    whole = predict("--split=whole")[SESSION][nd_train.task]
    recorded = Data.load(three_recordings / f"{SESSION}.h5")
    assert np.allclose(whole.timestamps.numpy(), recorded.cursor.timestamps, rtol=0.0, atol=1e-9)
    assert np.allclose(whole.targets.numpy(), recorded.cursor.vel)
    part = predict("--split=whole", "--start=10", "--end=12.5")[SESSION][nd_train.task]
    inside = (whole.timestamps >= 10) & (whole.timestamps < 12.5)
    assert torch.equal(part.timestamps, whole.timestamps[inside])
    train = predict("--split=train")[SESSION][nd_train.task]
    assert float(train.timestamps[-1]) < float(recorded.train_domain.end[-1])


def test_evaluation_intervals_do_not_limit_what_is_predicted(predict, nd_train):
    every = predict()[SESSION][nd_train.task]
    within = predict(eval_interval="movement_phases.reach_period")[SESSION][nd_train.task]
    assert torch.equal(within.preds, every.preds)


def test_new_data_without_behaviour_are_predicted_at_regular_times(predict, without_behaviour, nd_train, capsys):
    trace = predict(root=without_behaviour, weights={"movement_phases.reach_period": 2.0})[SESSION][nd_train.task]
    assert "have no targets" in capsys.readouterr().out
    assert not has_targets(trace)
    assert np.allclose(trace.timestamps.numpy(), np.arange(6000) / 100, atol=1e-9)
    # The simulated cursor is sampled at 100 Hz too: the same windows, asked for the same times.
    known = predict("--split=whole")[SESSION][nd_train.task]
    assert torch.allclose(trace.preds, known.preds, atol=1e-4)
    assert read_trace_attributes(nd_train.folder / "traces.h5")[SESSION][nd_train.task]["type"] == "continuous"


def test_a_rate_of_ones_own_replaces_the_recordings_times(predict, nd_train):
    trace = predict("--rate=20", "--split=whole", "--start=3.3", "--end=9")[SESSION][nd_train.task]
    assert np.allclose(trace.timestamps.numpy(), np.arange(66, 180) / 20, atol=1e-9)
    assert not has_targets(trace)


def test_a_csv_of_new_data_has_no_columns_of_targets(predict, without_behaviour, nd_train):
    predict("--end=5", root=without_behaviour, output="traces.csv")
    with (nd_train.folder / "traces.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["recording", "task", "time", "prediction_0", "prediction_1"]
    assert (len(rows), rows[0]["recording"], rows[0]["time"]) == (500, SESSION, "0.0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output=traces.npz"], "written as .h5 (HDF5) or .csv; found the suffix '.npz'"),
        (["--split=vald"], "unknown split 'vald'; did you mean 'valid'?"),
        (["--rate=0"], "rate: expected output times a second above 0, found 0.0"),
        (["--start=59.9"], "window"),
    ],
)
def test_what_cannot_be_predicted_is_one_error(
    words, message, nd_train, pretrained, three_recordings, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("sys.argv", ["nd-train"])
    config = nd_train.configuration(["session_00"])
    given = ["predict", pretrained, f"--data.root={three_recordings}", f"--data.config={config}", *nd_train.quiet]
    assert main([*map(str, given), *words, f"--trainer.default_root_dir={tmp_path / 'run'}"]) == 1
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("error: ")
    assert message in first


def test_a_shared_folder_predicts_and_tests_as_its_checkpoint_does(
    predict, nd_train, pretrained, three_recordings, tmp_path
):
    nd_train("export", pretrained, "--output", tmp_path / "shared")
    config = nd_train.configuration(["session_00"])
    common = [f"--data.root={three_recordings}", f"--data.config={config}", *nd_train.quiet]
    nd_train("predict", tmp_path / "shared", *common, f"--output={tmp_path / 'shared.h5'}")
    nd_train("test", tmp_path / "shared", *common, f"--trainer.default_root_dir={tmp_path / 'tested'}")
    of_checkpoint = predict()[SESSION][nd_train.task]
    assert torch.equal(read_traces(tmp_path / "shared.h5")[SESSION][nd_train.task].preds, of_checkpoint.preds)
    (tested,) = (tmp_path / "tested").rglob("test_traces.h5")
    assert torch.equal(read_traces(tested)[SESSION][nd_train.task].preds, of_checkpoint.preds)
    with h5py.File(tested) as file:
        assert file.attrs["checkpoint"] == str(tmp_path / "shared")


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_without_a_model_there_is_nothing_to_run(verb, nd_train, three_recordings, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["nd-train"])
    data = [f"--data.root={three_recordings}", f"--data.config={nd_train.configuration(['session_00'])}"]
    assert main([verb, *data]) == 1
    assert f"error: nd-train {verb} needs a trained model: nd-train {verb} CHECKPOINT" in capsys.readouterr().err


SCALE = {"mean": [1.5, -2.0], "std": [4.0, 0.5]}


@pytest.fixture
def scaled(pretrained, nd_train, tmp_path):
    """The pretrained model as if its targets had been scaled: a checkpoint, and a shared folder made of it."""
    checkpoint = torch.load(pretrained, weights_only=True)
    checkpoint["NeuralDataModule"] = {"target_statistics": {nd_train.task: SCALE}}
    torch.save(checkpoint, tmp_path / "scaled.ckpt")
    nd_train("export", tmp_path / "scaled.ckpt", "--output", tmp_path / "folder")
    return {"checkpoint": tmp_path / "scaled.ckpt", "folder": tmp_path / "folder"}


@pytest.mark.parametrize("kind", ["checkpoint", "folder"])
def test_predictions_of_scaled_targets_are_in_the_units_of_the_data(
    kind, nd_train, predict, scaled, three_recordings, tmp_path
):
    plain = predict()[SESSION][nd_train.task]
    nd_train(
        *("predict", scaled[kind], f"--data.root={three_recordings}"),
        f"--data.config={nd_train.configuration(('session_00',))}",
        *(f"--output={tmp_path / 'scaled.h5'}", f"--trainer.default_root_dir={tmp_path / 'run'}", *nd_train.quiet),
    )
    found = read_traces(tmp_path / "scaled.h5")[SESSION][nd_train.task]
    expected = plain.preds.double() * torch.tensor(SCALE["std"]) + torch.tensor(SCALE["mean"])
    torch.testing.assert_close(found.preds.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.targets, plain.targets, rtol=1e-5, atol=1e-5)
    attributes = read_trace_attributes(tmp_path / "scaled.h5")[SESSION][nd_train.task]
    assert not {"normalize_mean", "normalize_std"} & set(attributes)


def test_a_shared_folder_is_tested_in_the_scale_that_its_checkpoint_is(nd_train, scaled, three_recordings, tmp_path):
    stored = {}
    for kind, path in scaled.items():
        nd_train(
            *("test", path, f"--data.root={three_recordings}"),
            f"--data.config={nd_train.configuration(('session_00',), metrics=['r2', 'mse'])}",
            *(f"--trainer.default_root_dir={tmp_path / kind}", *nd_train.quiet),
        )
        (traces,) = (tmp_path / kind).rglob("test_traces.h5")
        (scores,) = (tmp_path / kind).rglob("test_scores.json")
        attributes = read_trace_attributes(traces)[SESSION][nd_train.task]
        assert (attributes["normalize_mean"], attributes["normalize_std"]) == (SCALE["mean"], SCALE["std"])
        stored[kind] = read_traces(traces)[SESSION][nd_train.task], scores.read_text()
    recorded = Data.load(three_recordings / f"{SESSION}.h5")
    inside = np.asarray(recorded.cursor.timestamps) >= recorded.test_domain.start[0]
    targets = (np.asarray(recorded.cursor.vel)[inside] - SCALE["mean"]) / SCALE["std"]
    for trace, _ in stored.values():
        np.testing.assert_allclose(trace.targets.numpy(), targets, rtol=1e-4, atol=1e-4)
    assert torch.equal(stored["folder"][0].preds, stored["checkpoint"][0].preds)
    assert stored["folder"][1] == stored["checkpoint"][1]


def test_each_recording_is_taken_back_by_its_own_scale(nd_train, predict, pretrained, three_recordings, tmp_path):
    plain = predict(sessions=("session_00", "session_01"))
    scales = {"session_00": ([1.5, -2.0], [4.0, 0.5]), "session_01": ([0.0, 3.0], [2.0, 8.0])}
    entries = [
        {
            "selection": [{"brainset": "simulated", "sessions": [name]}],
            "config": {
                "multitask_readout": [{"readout_id": nd_train.task, "normalize_mean": mean, "normalize_std": std}]
            },
        }
        for name, (mean, std) in scales.items()
    ]
    (tmp_path / "each.yaml").write_text(yaml.safe_dump(entries))
    common = [f"--data.root={three_recordings}", f"--data.config={tmp_path / 'each.yaml'}", *nd_train.quiet]
    nd_train("predict", pretrained, *common, f"--output={tmp_path / 'each.h5'}")
    nd_train("test", pretrained, *common, f"--trainer.default_root_dir={tmp_path / 'tested'}")
    (tested,) = (tmp_path / "tested").rglob("test_traces.h5")
    for name, (mean, std) in scales.items():
        before = plain[f"simulated/{name}"][nd_train.task]
        found = read_traces(tmp_path / "each.h5")[f"simulated/{name}"][nd_train.task]
        expected = before.preds.double() * torch.tensor(std) + torch.tensor(mean)
        torch.testing.assert_close(found.preds.double(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.targets, before.targets, rtol=1e-5, atol=1e-5)
        attributes = read_trace_attributes(tested)[f"simulated/{name}"][nd_train.task]
        assert (attributes["normalize_mean"], attributes["normalize_std"]) == (mean, std)

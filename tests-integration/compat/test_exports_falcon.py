"""Exported predictions, scored by falcon_challenge and by our metrics on the same data."""

import datetime as dt
import pickle

import numpy as np
import pytest
import torch

from nd_eval import mse, r2_score
from nd_eval.export import FALCON_DATASETS, FALCON_DIMENSIONS, FalconBins, FalconPredictions, falcon_predictions
from stitched_series import stitched, tensor

pytestmark = pytest.mark.compat


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_names_and_sizes_of_falcons_data_sets_are_its_own():
    evaluator = pytest.importorskip("falcon_challenge.evaluator", reason="needs falcon-challenge 1.0.2 beside")
    theirs = {split: groups for split, groups in evaluator.DATASET_HELDINOUT_MAP.items() if split != "h2"}
    assert {
        split: {g: list(names) for g, names in groups.items()} for split, groups in FALCON_DATASETS.items()
    } == theirs
    for split, dimensions in FALCON_DIMENSIONS.items():
        task = evaluator.FalconTask[split]
        assert evaluator.FalconConfig(task).out_dim == dimensions


class Falcon:
    """Every data set of a split: targets, masks, and stitched predictions that lack the bins that are not scored."""

    def __init__(self, rng, split, *, groups=("held_in", "held_out"), bins=200, step=0.02):
        self.split, self.targets, self.masks, self.bins = split, {}, {}, {}
        series = {}
        for number, name in enumerate(name for group in groups for name in FALCON_DATASETS[split][group]):
            count = bins + 7 * number
            target = rng.normal(size=(count, FALCON_DIMENSIONS[split])).astype(np.float32)
            mask = rng.random(count) > 0.3
            recording = f"falcon_{split}/{number}"
            series[recording, "output"] = (tensor(target + 0.5 * rng.normal(size=target.shape)).float(), tensor(target))
            self.targets[name], self.masks[name] = target, mask
            self.bins[name] = FalconBins(recording, step * torch.arange(count).double(), tensor(mask))
        whole = stitched(series, step=step)
        self.traces = {
            (of.recording, "output"): whole[of.recording, "output"].at(tensor(self.masks[name]))
            for name, of in self.bins.items()
        }

    def predictions(self):
        return falcon_predictions(self.traces, self.split, task="output", bins=self.bins)

    def scored(self, evaluator, tmp_path):
        truth = {n: {"data": self.targets[n][self.masks[n]], "mask": self.masks[n]} for n in self.targets}
        files = {"truth": {self.split: truth}, "submission": self.predictions().payload(normalized_latency=0.5)}
        for name, content in files.items():
            (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(content))
        paths = [str(tmp_path / f"{name}.pkl") for name in files]
        return evaluator.evaluate(*paths, "test")["submission_result"][f"test_split_{self.split}"]


@pytest.mark.parametrize("split", ["h1", "m1", "m2"])
def test_falcons_regression_scores_are_our_variance_weighted_r2(rng, tmp_path, split):
    evaluator = pytest.importorskip("falcon_challenge.evaluator", reason="needs falcon-challenge 1.0.2 beside")
    data = Falcon(rng, split)
    scores = data.scored(evaluator, tmp_path)
    for group, words in (("held_in", "Held In"), ("held_out", "Held Out")):
        sessions = {}
        for name in FALCON_DATASETS[split][group]:
            sessions.setdefault(evaluator.reduce_key(name), []).append(data.traces[data.bins[name].recording, "output"])
        r2 = [
            float(
                r2_score(
                    torch.cat([trace.preds for trace in traces]),
                    torch.cat([trace.targets for trace in traces]),
                    multioutput="variance_weighted",
                )
            )
            for traces in sessions.values()
        ]
        assert scores[f"{words} R2 Mean"] == pytest.approx(np.mean(r2), rel=1e-5)
        assert scores[f"{words} R2 Std."] == pytest.approx(np.std(r2), rel=1e-3)
    assert scores["Normalized Latency"] == 0.5


def test_falcons_spectrogram_score_is_our_error_of_normalised_trials(rng, tmp_path):
    evaluator = pytest.importorskip("falcon_challenge.evaluator", reason="needs falcon-challenge 1.0.2 beside")
    trials, scored, frames = 2, 700, 880
    names = FALCON_DATASETS["b1"]["held_in"]
    mask = np.tile(np.arange(frames) < scored, trials)
    times = 0.001 * torch.arange(trials * frames).double()
    series, truth, bins = {}, {}, {}
    for name in names:
        target = np.abs(rng.normal(size=(trials * frames, 158))).astype(np.float32)
        series[f"b1/{name}", "song"] = (tensor(target + 0.2 * rng.normal(size=target.shape)).float(), tensor(target))
        spread = np.repeat(mask[:, None, None], 158, axis=2)
        truth[name] = {"data": target[:, None], "mask": spread}
        bins[name] = FalconBins(f"b1/{name}", times, tensor(spread[:, 0]))
    traces = stitched(series, step=0.001)
    predictions = falcon_predictions(traces, "b1", task="song", bins=bins)
    for name, content in (("truth", {"b1": truth}), ("submission", predictions.payload(normalized_latency=1.0))):
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(content))
    paths = [str(tmp_path / f"{name}.pkl") for name in ("truth", "submission")]
    scores = evaluator.evaluate(*paths, "test")["submission_result"]["test_split_b1"]

    def normalised(values):
        return (values - values.min()) / (values.max() - values.min())

    errors = []
    for name in names:
        trace = traces[f"b1/{name}", "song"].at(tensor(mask))
        rows = [slice(scored * trial, scored * (trial + 1)) for trial in range(trials)]
        errors.append(np.mean([float(mse(normalised(trace.preds[r]), normalised(trace.targets[r]))) for r in rows]))
    assert scores["Held In MSE Mean"] == pytest.approx(np.mean(errors), rel=1e-4)


def write_falcon_minival(path, number, target, mask, rng):
    """A recording in the layout of FALCON's public m2 files."""
    pynwb = pytest.importorskip("pynwb", reason="needs pynwb to write a recording as FALCON publishes them")

    file = pynwb.NWBFile("made up", f"{number}", dt.datetime(2020, 10, 19, tzinfo=dt.UTC))
    times = 0.02 * np.arange(len(target))
    for _ in range(96):
        file.add_unit(spike_times=np.sort(rng.uniform(0, times[-1], 20)))
    velocity = pynwb.behavior.BehavioralTimeSeries(name="finger_vel")
    for column, name in enumerate(("index_vel", "mrs_vel")):
        velocity.add_timeseries(pynwb.TimeSeries(name=name, data=target[:, column], unit="AU", timestamps=times))
    file.add_acquisition(velocity)
    file.add_acquisition(pynwb.TimeSeries(name="eval_mask", data=mask, unit="bool", timestamps=times))
    file.add_trial(start_time=0.0, stop_time=float(times[-1]))
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)


def test_falcons_own_evaluator_plays_the_predictions_back_and_finds_our_r2(rng, tmp_path, monkeypatch):
    evaluator = pytest.importorskip("falcon_challenge.evaluator", reason="needs falcon-challenge 1.0.2 beside")
    data = Falcon(rng, "m2", groups=("held_in",))
    folder = tmp_path / "data" / "m2" / "minival"
    folder.mkdir(parents=True)
    for number, name in enumerate(data.targets):
        run, date = name.split("_")
        day = f"{date[:4]}-{date[4:6]}-{date[6:]}"
        path = folder / f"sub-MonkeyN-held-in-minival_ses-{day}-{run}_behavior+ecephys.nwb"
        write_falcon_minival(path, number, data.targets[name], data.masks[name], rng)
    monkeypatch.setenv("EVAL_DATA_PATH", str(tmp_path / "data"))
    monkeypatch.setenv("PREDICTION_PATH_LOCAL", str(tmp_path / "prediction.pkl"))
    monkeypatch.setenv("GT_PATH", str(tmp_path / "truth.pkl"))
    theirs = evaluator.FalconEvaluator(split="m2", dataloader_workers=0)
    stored = data.predictions().save(tmp_path / "predictions.npz")
    decoder = FalconPredictions.load(stored).decoder(theirs.cfg.hash_dataset, batch_size=3)
    scores = theirs.evaluate(decoder, phase="minival")["submission_result"]["minival_split_m2"]
    sessions = {}
    for name in data.targets:
        sessions.setdefault(name.split("_")[1], []).append(data.traces[data.bins[name].recording, "output"])
    r2 = [
        float(
            r2_score(
                torch.cat([trace.preds for trace in traces]),
                torch.cat([trace.targets for trace in traces]),
                multioutput="variance_weighted",
            )
        )
        for traces in sessions.values()
    ]
    assert scores["Held In R2 Mean"] == pytest.approx(np.mean(r2), rel=1e-5)

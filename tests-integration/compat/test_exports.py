"""Exported predictions, scored by the field's own evaluators and by ours on the same data.

Needs nlb-tools 0.0.4, falcon-challenge 1.0.2 and ibl-bwb-eval 0.1.0 beside; each test says which it misses.
"""

import datetime as dt
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr as scipy_pearsonr
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from nd_eval import (
    StitchingAccumulator,
    balanced_accuracy,
    bits_per_spike,
    f1_score,
    mae,
    mse,
    pearsonr,
    poisson_pseudo_r2,
    r2_score,
)
from nd_eval.export import (
    BRAIN_WIDE_DECODING_TASKS,
    BRAIN_WIDE_REGIONS,
    FALCON_DATASETS,
    FALCON_DIMENSIONS,
    NLB_DATASETS,
    BrainWideTrials,
    FalconBins,
    falcon_predictions,
    nlb_rates,
    predictions_at,
    save_brain_wide_activity,
    save_brain_wide_decoding,
    save_brain_wide_regions,
    save_nlb_submission,
)

pytestmark = pytest.mark.compat


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def stitched(series, *, step, offset=0.0, window=0.5):
    """Stitch windows, each half over the next, whose values err to opposite sides; ``series`` by (recording, task)."""
    accumulator = StitchingAccumulator()
    for (recording, task), (preds, targets) in series.items():
        length = round(window / step)
        for number, first in enumerate(range(0, len(preds), length // 2)):
            rows = slice(first, min(first + length, len(preds)))
            times = offset + step * torch.arange(rows.start, rows.stop, dtype=torch.float64)
            error = 0.02 * (-1) ** number if preds.dtype.is_floating_point else 0
            accumulator.update(
                recording, task, times, preds[rows] + error, targets[rows], window_starts=times[0].item()
            )
    return accumulator.compute()


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))


class NeuralLatents:
    """Spikes, rates and behaviour of a made-up data set, on one clock."""

    def __init__(self, rng, *, trials=24, bins=20, forward=6, heldin=5, heldout=3, step=0.02):
        self.step, self.shape = step, (trials, bins)
        length = (bins + forward) * trials
        latent = np.sin(np.arange(2 * length)[:, None] * np.array([0.11, 0.037]) + rng.uniform(0, 6, size=2))
        self.rates = np.exp(0.6 * latent @ rng.normal(size=(2, heldin + heldout)) - 0.5)
        self.spikes = rng.poisson(self.rates).astype(float)
        self.behavior = latent @ rng.normal(size=(2, 2)) + 0.1 * rng.normal(size=(2 * length, 2))
        model = self.rates * np.exp(0.2 * rng.normal(size=self.rates.shape))
        self.heldin = heldin
        every = np.arange(2 * length).reshape(2, trials, bins + forward)
        self.train, self.eval, self.forward = every[0][:, :bins], every[1][:, :bins], every[1][:, bins:]
        parts = {"heldin": slice(None, heldin), "heldout": slice(heldin, None)}
        self.traces = stitched(
            {
                ("nlb/maze", f"{part}_log_rates"): (
                    tensor(np.log(model[:, columns])).float(),
                    tensor(self.spikes[:, columns]).float(),
                )
                for part, columns in parts.items()
            },
            step=step,
            offset=1000.0,
        )

    def arrays(self, **which):
        times = {name: 1000.0 + self.step * tensor(places).double() for name, places in which.items()}
        return nlb_rates(
            self.traces, "nlb/maze", heldin="heldin_log_rates", heldout="heldout_log_rates", log_rates=True, **times
        )


def test_the_co_smoothing_and_forward_scores_of_nlb_tools_are_our_bits_per_spike(rng, tmp_path):
    nlb = pytest.importorskip("nlb_tools.evaluation", reason="needs nlb-tools 0.0.4 beside")
    data = NeuralLatents(rng)
    arrays = data.arrays(eval_times=data.eval, train_times=data.train, forward_times=data.forward)
    path = save_nlb_submission(tmp_path / "submission.h5", {"mc_maze_20": arrays})
    spikes = data.spikes[data.eval]
    targets = {
        "eval_spikes_heldout": spikes[:, :, data.heldin :],
        "eval_spikes_heldin_forward": data.spikes[data.forward][:, :, : data.heldin],
        "eval_spikes_heldout_forward": data.spikes[data.forward][:, :, data.heldin :],
        "train_behavior": data.behavior[data.train],
        "eval_behavior": data.behavior[data.eval],
    }
    (scores,) = nlb.evaluate({"mc_maze_20": {name: np.asarray(v) for name, v in targets.items()}}, str(path))
    scores = scores["mc_maze_20_split"]

    def ours(places, neurons):
        flat = tensor(places.reshape(-1))
        traces = [data.traces["nlb/maze", f"{part}_log_rates"] for part in neurons]
        preds = torch.cat([trace.preds[flat] for trace in traces], dim=1)
        counts = torch.cat([trace.targets[flat] for trace in traces], dim=1)
        return float(bits_per_spike(preds, counts, log_rates=True))

    assert scores["co-bps"] == pytest.approx(ours(data.eval, ["heldout"]), rel=1e-5)
    assert scores["fp-bps"] == pytest.approx(ours(data.forward, ["heldin", "heldout"]), rel=1e-5)
    assert 0.02 < scores["co-bps"] < 1.0


def test_the_velocity_and_psth_scores_of_nlb_tools_are_our_r2(rng, tmp_path):
    nlb = pytest.importorskip("nlb_tools.evaluation", reason="needs nlb-tools 0.0.4 beside")
    data = NeuralLatents(rng)
    arrays = data.arrays(eval_times=data.eval, train_times=data.train)
    path = save_nlb_submission(tmp_path / "submission.h5", {"mc_maze_small": arrays})
    conditions = np.arange(24).reshape(4, 6)
    psth = np.stack([data.rates[data.eval[trials]].mean(0) for trials in conditions])
    targets = {
        "eval_spikes_heldout": data.spikes[data.eval][:, :, data.heldin :],
        "train_behavior": data.behavior[data.train],
        "eval_behavior": data.behavior[data.eval],
        "psth": psth,
        "eval_cond_idx": conditions,
    }
    (scores,) = nlb.evaluate({"mc_maze_small": targets}, str(path))
    scores = scores["mc_maze_scaling_split"]
    rates = {
        kind: torch.cat([arrays[f"{kind}_rates_heldin"], arrays[f"{kind}_rates_heldout"]], dim=2).double().numpy()
        for kind in ("train", "eval")
    }
    decoder = GridSearchCV(Ridge(), {"alpha": np.logspace(-4, 0, 9)})
    decoder.fit(rates["train"].reshape(-1, 8), data.behavior[data.train].reshape(-1, 2))
    decoded = decoder.predict(rates["eval"].reshape(-1, 8))
    velocity = r2_score(tensor(decoded), tensor(data.behavior[data.eval].reshape(-1, 2)))
    predicted = np.concatenate([rates["eval"][trials].mean(0) for trials in conditions])
    assert scores["[100] vel R2"] == pytest.approx(float(velocity), rel=1e-5)
    assert scores["[100] psth R2"] == pytest.approx(
        float(r2_score(tensor(predicted), tensor(psth.reshape(-1, 8)))), rel=1e-5
    )
    assert scores["[100] vel R2"] > 0.3


def test_the_timing_score_of_nlb_tools_is_the_correlation_of_neural_speed(rng, tmp_path):
    nlb = pytest.importorskip("nlb_tools.evaluation", reason="needs nlb-tools 0.0.4 beside")
    data = NeuralLatents(rng)
    path = save_nlb_submission(tmp_path / "submission.h5", {"dmfc_rsg": data.arrays(eval_times=data.eval)})
    behavior = np.concatenate([np.repeat(np.eye(2), 12, axis=0), np.zeros((24, 2)), rng.normal(size=(24, 1))], axis=1)
    targets = {
        "eval_spikes_heldout": data.spikes[data.eval][:, :, data.heldin :],
        "train_behavior": behavior,
        "eval_behavior": behavior,
    }
    (scores,) = nlb.evaluate({"dmfc_rsg": targets}, str(path))
    arrays = data.arrays(eval_times=data.eval)
    rates = torch.cat([arrays["eval_rates_heldin"], arrays["eval_rates_heldout"]], dim=2)
    speed = rates.double().diff(dim=1).norm(dim=2).mean(1)
    produced = tensor(behavior[:, -1])
    ours = np.mean([float(pearsonr(speed[half], produced[half])) for half in (slice(0, 12), slice(12, 24))])
    assert scores["dmfc_rsg_split"]["tp corr"] == pytest.approx(ours, rel=1e-4)
    assert ours == pytest.approx(
        np.mean([scipy_pearsonr(speed[half], produced[half])[0] for half in (slice(0, 12), slice(12, 24))])
    )


def test_the_names_of_the_neural_latents_data_sets_are_those_of_nlb_tools():
    tensors = pytest.importorskip("nlb_tools.make_tensors", reason="needs nlb-tools 0.0.4 beside")
    assert set(NLB_DATASETS) == set(tensors.PARAMS)


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
    decoder = type(data.predictions()).load(stored).decoder(theirs.cfg.hash_dataset, batch_size=3)
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


def save_truth(folder, **tensors):
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    metadata = {"label_names": tensors.pop("label_names")} if "label_names" in tensors else None
    save_file(tensors, folder / "ground_truth.safetensors", metadata=metadata)


def brain_wide(rng, task, *, trials=40, mask=None, counts=False):
    """Stitched predictions of one recording, and its trials, whose outputs overlap no other trial's."""
    outputs, steps = BRAIN_WIDE_DECODING_TASKS[task]
    step, count = 0.02, trials * 60
    if steps == 1:
        targets = tensor(rng.integers(0, outputs, size=count))
        preds = tensor(rng.normal(size=(count, outputs))).float() + 1.5 * torch.nn.functional.one_hot(targets, outputs)
    elif counts:
        rates = np.exp(rng.normal(size=(count, 1)))
        targets = tensor(rng.poisson(rates)).float()
        preds = tensor(np.log(rates) + 0.2 * rng.normal(size=rates.shape)).float()
    else:
        targets = tensor(rng.normal(size=(count, 1))).float()
        preds = targets + 0.5 * tensor(rng.normal(size=(count, 1))).float()
    traces = stitched({("ibl/one", "readout"): (preds, targets)}, step=step, offset=500.0)
    ids = tensor(rng.permutation(1000)[:trials])
    places = torch.arange(trials)[:, None] * 60 + 5 + torch.arange(steps)
    times = 500.0 + step * places.double()
    return traces, places, BrainWideTrials("ibl/one", ids, times)


@pytest.mark.parametrize("task", list(BRAIN_WIDE_DECODING_TASKS))
def test_brain_wide_decoding_scores_are_ours(rng, tmp_path, task):
    scoring = pytest.importorskip("ibl_bwb_eval.scoring.ts1", reason="needs ibl-bwb-eval 0.1.0 beside")
    traces, places, trials = brain_wide(rng, task, counts=task == "licking_rate")
    (path,) = save_brain_wide_decoding(
        tmp_path / "predictions", traces, task=task, readout="readout", trials={"abc-def": trials}, label="nd", seed=43
    )
    assert path == tmp_path / "predictions" / "nd" / f"ts1-{task}" / "abc-def" / "seed_43.safetensors"
    trace = traces["ibl/one", "readout"]
    order = tensor(rng.permutation(len(trials.ids)))  # the truth comes in an order of its own
    values = trace.targets[places].reshape(len(places), -1, 1)[order]
    truth = {"trial_id": trials.ids[order], "values": values[:, 0] if values.shape[1] == 1 else values}
    mask = torch.ones(len(places), places.shape[1], dtype=torch.bool)
    if "paw" in task:
        mask = tensor(rng.random(mask.shape) > 0.3)
        truth["mask"] = mask[order]
    save_truth(tmp_path / "truth" / f"ts1-{task}" / "abc-def", **truth)
    scores = scoring.score_dir(tmp_path / "predictions", tmp_path / "truth")["nd", f"ts1-{task}", "abc-def", 43]
    preds, targets = trace.preds[places][mask], trace.targets[places][mask]
    if values.shape[1] == 1:
        assert scores["bacc"] == pytest.approx(float(balanced_accuracy(preds, targets)), rel=1e-5)
        assert scores["f1"] == pytest.approx(float(f1_score(preds, targets)), rel=1e-5)
    elif task == "licking_rate":
        assert scores["poisson_d2"] == pytest.approx(float(poisson_pseudo_r2(preds, targets, log_rates=True)), rel=1e-4)
    else:
        assert scores["r2"] == pytest.approx(float(r2_score(preds, targets)), rel=1e-4)
        assert scores["mae"] == pytest.approx(float(mae(preds, targets)), rel=1e-5)
        assert scores["pearson"] == pytest.approx(float(pearsonr(preds, targets)), rel=1e-4)


@pytest.mark.parametrize("task", ["co_smoothing", "forecasting"])
def test_brain_wide_activity_scores_are_ours(rng, tmp_path, task):
    scoring = pytest.importorskip("ibl_bwb_eval.scoring.ts2", reason="needs ibl-bwb-eval 0.1.0 beside")
    rates = np.exp(0.5 * rng.normal(size=(600, 4)) - 0.3)
    counts = tensor(rng.poisson(rates)).float()
    log_rates = tensor(np.log(rates) + 0.1 * rng.normal(size=rates.shape)).float()
    trace = stitched({("ibl/one", "rates"): (log_rates, counts)}, step=0.02, offset=300.0)["ibl/one", "rates"]
    places = torch.arange(0, 540, 7)[:, None] + torch.arange(50)  # windows overlap
    starts = 300.0 + 0.02 * places[:, 0].double()
    windows = predictions_at(trace, 300.0 + 0.02 * places.double())
    save_brain_wide_activity(
        tmp_path / "predictions",
        task=task,
        recording_id="abc-def",
        window_timestamps=starts,
        log_rates=windows,
        label="nd",
        seed=43,
        unit_ids=["one", "three", "two", "eleven"],
    )
    order = tensor(rng.permutation(len(starts)))
    truth = {"window_timestamps": starts[order].float(), "targets": counts[places][order]}
    save_truth(tmp_path / "truth" / f"ts2-{task}" / "abc-def", **truth)
    scores = scoring.score_dir(tmp_path / "predictions", tmp_path / "truth")["nd", f"ts2-{task}", "abc-def", 43]
    preds, targets = trace.preds[places].reshape(-1, 4), counts[places].reshape(-1, 4)
    assert scores["bps"] == pytest.approx(float(bits_per_spike(preds, targets, log_rates=True)), rel=1e-4)
    assert scores["poisson_d2"] == pytest.approx(float(poisson_pseudo_r2(preds, targets, log_rates=True)), rel=1e-4)
    assert scores["bps"] > 0.05


def test_brain_wide_region_scores_are_ours(rng, tmp_path):
    scoring = pytest.importorskip("ibl_bwb_eval.scoring.ts3", reason="needs ibl-bwb-eval 0.1.0 beside")
    entity_ids = pytest.importorskip("ibl_bwb_eval.entity_ids")
    units = [f"unit-{number}" for number in range(120)]
    targets = tensor(rng.integers(0, 10, size=120))
    probabilities = (tensor(rng.normal(size=(120, 10))) + 2 * torch.nn.functional.one_hot(targets, 10)).softmax(1)
    save_brain_wide_regions(tmp_path / "predictions", unit_ids=units, probabilities=probabilities, label="nd", seed=44)
    order = tensor(rng.permutation(120))
    save_truth(
        tmp_path / "truth" / "ts3-unit_cosmos",
        entity_ids=entity_ids.encode_entity_ids(np.array(units)[order.numpy()]),
        targets=targets[order],
        label_names=",".join(BRAIN_WIDE_REGIONS),
    )
    scores = scoring.score_dir(tmp_path / "predictions", tmp_path / "truth")["nd", 44]
    assert scores["macro/f1-score"] == pytest.approx(float(f1_score(probabilities.log(), targets)), rel=1e-6)
    each = f1_score(probabilities.log(), targets, average="none")
    for name, value in zip(BRAIN_WIDE_REGIONS, each.tolist(), strict=True):
        assert scores[f"{name}/f1-score"] == pytest.approx(value, rel=1e-6)


def test_a_brain_wide_file_is_what_the_benchmarks_own_writer_writes(rng, tmp_path):
    writers = pytest.importorskip("ibl_bwb_eval.predictions", reason="needs ibl-bwb-eval 0.1.0 beside")
    entity_ids = pytest.importorskip("ibl_bwb_eval.entity_ids")
    from safetensors import safe_open
    from safetensors.torch import load_file

    starts = tensor(rng.uniform(0, 4000, size=6))
    log_rates = tensor(rng.normal(size=(6, 50, 3)))
    units = ["a", "bcd", "ef"]
    ours = save_brain_wide_activity(
        tmp_path / "ours",
        task="co_smoothing",
        recording_id="abc-def",
        window_timestamps=starts,
        log_rates=log_rates,
        label="nd",
        seed=43,
        unit_ids=units,
        metadata={"bin_size": 0.02},
    )
    writer = writers.PredictionsWriter(
        True,
        tmp_path / "theirs",
        "ts2-co_smoothing",
        43,
        label="nd",
        metadata={"recording_id": "abc-def", "bin_size": 0.02},
        path_fn=lambda folder, metadata: folder / metadata["recording_id"],
    )
    writer.add(predictions=log_rates, window_timestamps=starts)
    writer.set(unit_ids=entity_ids.encode_entity_ids(np.array(units)))
    writer.save()
    theirs = tmp_path / "theirs" / ours.relative_to(tmp_path / "ours")
    mine, peer = load_file(ours), load_file(theirs)
    assert mine.keys() == peer.keys()
    for name, values in peer.items():
        assert mine[name].dtype == values.dtype
        assert torch.equal(mine[name], values)
    described = []
    for path in (ours, theirs):
        with safe_open(path, framework="pt") as file:
            described.append(file.metadata())
    assert described[0].pop("written_by").startswith("nd-eval ")
    assert described[0] == described[1]


def test_tasks_and_regions_of_the_brain_wide_benchmark_are_its_own():
    tasks = pytest.importorskip("ibl_bwb_eval.tasks", reason="needs ibl-bwb-eval 0.1.0 beside")
    theirs = {name: tasks.get_ts1_readout_spec(name) for name in tasks.SUITE_TASKS["ts1"]}
    assert dict(BRAIN_WIDE_DECODING_TASKS) == {name: (spec.dim, spec.num_timesteps) for name, spec in theirs.items()}
    assert tasks.SUITE_TASKS["ts2"] == ("co_smoothing", "forecasting")
    assert tasks.SUITE_TASKS["ts3"] == ("unit_cosmos",)
    assert BRAIN_WIDE_REGIONS == tasks.COSMOS_LABELS

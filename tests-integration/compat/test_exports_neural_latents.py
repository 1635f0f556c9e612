"""Exported rates, scored by nlb_tools and by our metrics on the same data."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr as scipy_pearsonr
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from nd_eval import bits_per_spike, pearsonr, r2_score
from nd_eval.export import NLB_DATASETS, nlb_rates, save_nlb_submission
from stitched_series import stitched, tensor

pytestmark = pytest.mark.compat


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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

"""Every longitudinal model in several settings, batches for them, and the numeric cases of the specification."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nd_models.longitudinal import ARCHITECTURES, LongitudinalForecaster

CASES = Path(__file__).resolve().parents[4].parent / "shared" / "longitudinal" / "cases.json"

TRANSFORMER = {"architecture": "AutoRegressiveTransformer", "dim": 8, "depth": 2, "heads": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "gru": {"architecture": "Recurrent", "hidden_size": 6},
    "lstm": {"architecture": "Recurrent", "hidden_size": 6, "cell": "lstm", "num_layers": 2, "dropout": 0.1},
    "gru, flagged": {"architecture": "Recurrent", "hidden_size": 6, "missing_steps": "flag", "input_norm": "none"},
    "transformer, no positions": {**TRANSFORMER, "positions": "none"},
    "transformer, learned": {**TRANSFORMER, "positions": "learned", "max_len": 40, "norm": "post"},
    "transformer, learned in time": {**TRANSFORMER, "positions": "learned", "max_len": 90, "position_of": "time"},
    "transformer, sinusoidal": {**TRANSFORMER, "positions": "sinusoidal", "norm": "post", "missing_steps": "flag"},
    "transformer, rotary": {**TRANSFORMER, "positions": "rotary", "dropout": 0.1},
    "transformer, rotary in time": {**TRANSFORMER, "positions": "rotary", "position_of": "time", "hide_missing": True},
    "transformer, short history": {**TRANSFORMER, "max_history": 3, "input_norm": "layer"},
    "linear": {"architecture": "AutoRegressiveLinear", "max_len": 3},
    "linear, carried": {"architecture": "AutoRegressiveLinear", "max_len": 50, "missing_steps": "carry"},
    "window mean": {"architecture": "WindowedMeanLinear", "max_len": 3},
    "last value": {"architecture": "LastValue", "learn_scale": True},
    "last value, fixed": {"architecture": "LastValue"},
    "mean value": {"architecture": "MeanValue"},
    "mean of a window": {"architecture": "MeanValue", "window": 3},
}


@pytest.fixture(scope="session")
def case():
    """`case("H02_window_mean")` is that case of the specification."""
    if not CASES.is_file():
        pytest.skip("the numeric cases (shared/longitudinal/cases.json beside the repository) are not here")
    by_id = {one["id"]: one for one in json.loads(CASES.read_text())["cases"]}
    return by_id.__getitem__


@pytest.fixture(autouse=True)
def one_seed():
    """Weights are drawn from torch's generator; every test starts it anew and leaves it as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def all_settings() -> dict[str, dict[str, Any]]:
    return SETTINGS


@pytest.fixture(params=list(SETTINGS))
def setting(request) -> dict[str, Any]:
    return SETTINGS[request.param]


@pytest.fixture
def build(setting) -> Callable[..., LongitudinalForecaster]:
    """Builds the setting's model, ready to be evaluated."""

    def make(num_features: int = 4, num_outcomes: int = 2, **changes: Any) -> LongitudinalForecaster:
        arguments = {**setting, **changes}
        return ARCHITECTURES[arguments.pop("architecture")](num_features, num_outcomes, **arguments).eval()

    return make


def batch_of(lengths, *, features=4, seed=0, longest=None, missing=0.3) -> dict[str, Tensor]:
    """A batch as `nd_data.longitudinal.collate_sequences` makes it, with missing steps and padding at the end."""
    generator = torch.Generator().manual_seed(seed)
    steps = max(lengths) if longest is None else longest
    pad_mask = torch.arange(steps) >= torch.tensor(lengths)[:, None]
    embeddings = torch.randn(len(lengths), steps, features, generator=generator)
    time_ids = torch.rand(len(lengths), steps, generator=generator).mul(2.0).long().add(1).cumsum(dim=1) - 4
    return {
        "embeddings": embeddings.masked_fill(pad_mask[..., None], 0.0),
        "mask": (torch.rand(len(lengths), steps, generator=generator) < missing) | pad_mask,
        "pad_mask": pad_mask,
        "time_ids": time_ids.masked_fill(pad_mask, -1),
        "oots_mask": pad_mask.clone(),
        "ooss_mask": torch.zeros(len(lengths), 1, dtype=torch.int64),
        "outcomes_mask": ~pad_mask[..., None],
    }


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Tensor]]:
    return batch_of

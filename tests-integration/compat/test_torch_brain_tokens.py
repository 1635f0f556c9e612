"""The tokens of nd_models against those of torch_brain 0.1.2: the same arrays, bit for bit."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import nd_data
from nd_models import tokens
from peer_models import (
    MODELS,
    SIZES,
    UNITS,
    assert_same_outputs,
    assert_same_tokens,
    make_window,
    pair_of_models,
    unwrapped,
)

pytestmark = pytest.mark.compat

temporaldata = pytest.importorskip("temporaldata", reason="the compat session installs temporaldata beside nd")
import torch_brain.data as peer_data  # noqa: E402
import torch_brain.utils as peer_utils  # noqa: E402

VELOCITY = {
    "readout_id": "cursor_velocity_2d",
    "weights": {"reach": 5.0, "outlier": 0.1, "nothing": 7.0},
    "normalize_mean": [0.5, -1.0],
    "normalize_std": 2.0,
    "metrics": [],
}
CONFIGS = {
    "one": [VELOCITY],
    "three": [
        VELOCITY,
        {"readout_id": "drifting_gratings_orientation"},
        {"readout_id": "cursor_position_2d", "normalize_std": [1.5, 3.0]},
    ],
    "other keys": [
        {"readout_id": "cursor_velocity_2d", "value_key": "cursor.pos", "timestamp_key": "cursor.timestamps"}
    ],
}


@pytest.fixture(autouse=True)
def one_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("spikes", [60, 0])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_poyo_plus_tokens_are_equal(config, spikes):
    theirs, ours = pair_of_models("POYOPlus", SIZES["single session"])
    expected = theirs.tokenize(make_window(temporaldata, {"multitask_readout": config}, spikes=spikes))
    found = ours.tokenize(make_window(nd_data, {"multitask_readout": config}, spikes=spikes))
    assert_same_tokens(unwrapped(found), unwrapped(expected))


@pytest.mark.parametrize("frames", [29, 1, 0])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_calcium_poyo_plus_tokens_are_equal(config, frames):
    theirs, ours = pair_of_models("CalciumPOYOPlus", SIZES["single session"])
    expected = theirs.tokenize(make_window(temporaldata, {"multitask_readout": config}, frames=frames))
    found = ours.tokenize(make_window(nd_data, {"multitask_readout": config}, frames=frames))
    assert_same_tokens(unwrapped(found), unwrapped(expected))


@pytest.mark.parametrize("eval_interval", [None, "reach", "nothing"])
def test_poyo_tokens_are_equal(eval_interval):
    theirs, ours = pair_of_models("POYO", SIZES["single session"])
    config = {"readout": VELOCITY if eval_interval is None else {**VELOCITY, "eval_interval": eval_interval}}
    expected = theirs.tokenize(make_window(temporaldata, config))
    found = ours.tokenize(make_window(nd_data, config))
    assert_same_tokens(unwrapped(found), unwrapped(expected))


@pytest.mark.parametrize("name", MODELS)
def test_collated_batches_and_their_outputs_agree(name):
    theirs, ours = pair_of_models(name, SIZES["single session"])
    config = {"multitask_readout": CONFIGS["three"], "readout": VELOCITY}
    seeds = range(3)
    expected = peer_data.collate(
        [
            theirs.tokenize(make_window(temporaldata, config, spikes=20 * seed, frames=9 * seed, seed=seed))
            for seed in seeds
        ]
    )
    windows = [make_window(nd_data, config, spikes=20 * seed, frames=9 * seed, seed=seed) for seed in seeds]
    found = nd_data.collate([ours.tokenize(window) for window in windows])
    assert_same_tokens(ours.tokenize_batch(windows)["model_inputs"], expected["model_inputs"])
    assert_same_tokens(found["model_inputs"], expected["model_inputs"])
    assert_same_tokens(found["target_values"], expected["target_values"])
    with torch.no_grad():
        assert_same_outputs(ours(**found["model_inputs"]), theirs(**expected["model_inputs"]))


@pytest.mark.parametrize(
    ("start", "end", "step"), [(0.0, 1.0, 0.05), (0, 0.75, 0.125), (0.0, 1.0, 0.3), (0.0, 0.6, 0.1)]
)
def test_token_makers_are_equal(start, end, step):
    for found, expected in zip(
        tokens.create_linspace_latent_tokens(start, end, step, 3),
        peer_utils.create_linspace_latent_tokens(start, end, step, 3),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(
        tokens.create_start_end_unit_tokens(UNITS, start, end),
        peer_utils.create_start_end_unit_tokens(UNITS, start, end),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)

"""Windows, models and batches that the tests share."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries, RegularTimeSeries, collate
from nd_models import ARCHITECTURES, MODALITY_REGISTRY, DecoderModel

UNITS = [f"perich/c_1/unit_{i}" for i in range(7)]
SESSIONS = ["perich/c_1", "perich/c_2"]
TASKS = ("cursor_velocity_2d", "cursor_position_2d", "drifting_gratings_orientation")
SIZE = {
    "sequence_length": 1.0,
    "latent_step": 0.25,
    "num_latents_per_step": 3,
    "dim": 24,
    "depth": 2,
    "dim_head": 8,
    "cross_heads": 2,
    "self_heads": 2,
}
BINS = {"sequence_length": 1.0, "bin_size": 0.05}
SIZES: dict[str, dict[str, Any]] = {
    "POYO": SIZE,
    "POYOPlus": SIZE,
    "CalciumPOYOPlus": SIZE,
    "WienerDecoder": {**BINS, "lags": range(-3, 8)},
    "MLPDecoder": {**BINS, "lags": range(-3, 4), "dim": 24, "depth": 2},
    "GRUDecoder": {**BINS, "dim": 24, "depth": 2},
    "NDTDecoder": {**BINS, "dim": 24, "depth": 2, "dim_head": 8, "heads": 2},
}
"""A small size of every architecture; a new one joins here and is held to the contract of all."""
MODELS = tuple(SIZES)
MULTITASK = tuple(name for name in MODELS if name != "POYO")
READOUTS: dict[str, dict[str, Any]] = {
    name: {"readout_specs": {task: MODALITY_REGISTRY[task] for task in TASKS}} for name in MULTITASK
}
READOUTS["POYO"] = {"readout_spec": MODALITY_REGISTRY["cursor_velocity_2d"]}
CONFIG = {
    "readout": {"readout_id": "cursor_velocity_2d", "weights": {"reach": 5.0}},
    "multitask_readout": [
        {"readout_id": "cursor_velocity_2d", "weights": {"reach": 5.0}},
        {"readout_id": "cursor_position_2d"},
        {"readout_id": "drifting_gratings_orientation"},
    ],
}


@pytest.fixture(autouse=True)
def one_seed():
    """Weights are drawn from torch's generator; every test starts it anew and leaves it as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def window(*, spikes: int = 60, outputs: int = 25, units: int = 7, seed: int = 0, config: Any = None) -> Data:
    """One second of a recording: `spikes` of `units`, `outputs` cursor samples and half as many gratings.

    A fifth as many calcium frames of the same units.
    """
    rng = np.random.default_rng(seed)
    domain = Interval(0.0, 1.0)
    times = np.sort(rng.uniform(0.0, 1.0, outputs))
    data = Data(
        spikes=IrregularTimeSeries(
            timestamps=np.sort(rng.uniform(0, 1, spikes)),
            unit_index=rng.integers(0, max(units, 1), spikes),
            domain=domain,
        ),
        cursor=IrregularTimeSeries(
            timestamps=times,
            vel=rng.normal(size=(outputs, 2)),
            pos=rng.normal(size=(outputs, 2)).astype(np.float32),
            domain=domain,
        ),
        drifting_gratings=IrregularTimeSeries(
            timestamps=times[::2], orientation_id=rng.integers(0, 8, len(times[::2])), domain=domain
        ),
        calcium_traces=RegularTimeSeries(
            sampling_rate=max(spikes // 5, 1),
            domain_start=0.01,
            df_over_f=np.random.default_rng(seed + 100).normal(size=(spikes // 5, units)).astype(np.float32),
        ),
        units=ArrayDict(id=np.array(UNITS[:units])),
        session=Data(id=SESSIONS[seed % 2]),
        reach=Interval(np.array([0.1, 0.6]), np.array([0.3, 0.9])),
        pause=Interval(np.array([0.2]), np.array([0.7])),
        domain=domain,
    )
    data.config = CONFIG if config is None else config
    return data


def build(name: str, **changes: Any) -> DecoderModel:
    """A small model with vocabularies; the embeddings are large enough to matter."""
    model = ARCHITECTURES[name](**{"emb_init_scale": 0.5, **SIZES[name], **READOUTS[name], **changes})
    model.unit_emb.initialize_vocab(UNITS)
    model.session_emb.initialize_vocab(SESSIONS)
    return model


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take `any_model` or `multitask_model` run for every architecture, or for all with several readouts."""
    for argument, names in (("any_model", MODELS), ("multitask_model", MULTITASK)):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, names)


@pytest.fixture(scope="session")
def save_recordings(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Mapping[str, Data]], Path]:
    """Write recordings, by their id, into a folder of their own."""

    def save(recordings: Mapping[str, Data]) -> Path:
        folder = tmp_path_factory.mktemp("recordings")
        for recording_id, recording in recordings.items():
            path = folder / f"{recording_id}.h5"
            path.parent.mkdir(exist_ok=True)
            recording.save(path)
        return folder

    return save


@pytest.fixture
def make_window() -> Callable[..., Data]:
    return window


@pytest.fixture
def make_model() -> Callable[..., DecoderModel]:
    return build


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Any]]:
    def batch(model: DecoderModel, windows: Sequence[Data]) -> dict[str, Any]:
        batched: dict[str, Any] = collate([model.tokenize(one) for one in windows])
        return batched

    return batch

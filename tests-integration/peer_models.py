"""The peer's models beside ours with the same weights, windows in the containers of either, and how they compare."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nd_models
from nd_models import tokens

torch_brain = pytest.importorskip("torch_brain", reason="the compat session installs torch_brain 0.1.2 beside nd")
import torch_brain.models as peer  # noqa: E402

MODELS = ("POYO", "POYOPlus", "CalciumPOYOPlus")
SIZES = {
    "single session": {
        "dim": 32,
        "depth": 2,
        "dim_head": 16,
        "cross_heads": 1,
        "self_heads": 2,
        "num_latents_per_step": 4,
    },
    "two cross heads": {
        "dim": 48,
        "depth": 1,
        "dim_head": 8,
        "cross_heads": 2,
        "self_heads": 4,
        "num_latents_per_step": 3,
    },
    "no layer": {"dim": 16, "depth": 0, "dim_head": 8, "cross_heads": 3, "self_heads": 1, "num_latents_per_step": 1},
    "published single session": {
        "dim": 64,
        "depth": 6,
        "dim_head": 64,
        "cross_heads": 2,
        "self_heads": 8,
        "num_latents_per_step": 16,
    },
}
TASKS = ("cursor_velocity_2d", "cursor_position_2d", "arm_velocity_2d", "drifting_gratings_orientation")
UNITS = [f"perich/c_1/unit_{i}" for i in range(7)]
SESSIONS = ["perich/c_1", "perich/c_2"]


def pair_of_models(name: str, size: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """The peer's model with weights of unit scale, and ours with the same weights."""
    arguments = {"sequence_length": 1.0, "latent_step": 0.25, "t_max": 4.0, **size}
    if name == "POYO":
        theirs = peer.POYO(readout_spec=torch_brain.MODALITY_REGISTRY["cursor_velocity_2d"], **arguments)
        ours = nd_models.POYO(readout_spec=nd_models.MODALITY_REGISTRY["cursor_velocity_2d"], **arguments)
    else:
        their_specs = {task: torch_brain.MODALITY_REGISTRY[task] for task in TASKS}
        our_specs = {task: nd_models.MODALITY_REGISTRY[task] for task in TASKS}
        theirs = getattr(peer, name)(readout_specs=their_specs, **arguments)
        ours = getattr(nd_models, name)(readout_specs=our_specs, **arguments)
    theirs.unit_emb.initialize_vocab(UNITS)
    theirs.session_emb.initialize_vocab(SESSIONS)
    with torch.no_grad():
        for key, parameter in theirs.named_parameters():
            if "emb" in key or "value_map" in key:
                parameter.mul_(20.0)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs.eval(), ours.eval()


def make_batch(
    name: str, latents: int = 4, *, lengths: tuple[int, ...] = (40, 12, 0), outputs: tuple[int, ...] = (9, 4, 6)
) -> dict[str, Tensor]:
    """Inputs of `forward` for as many windows as there are lengths, padded."""
    rows, width, queries = len(lengths), max(lengths) + 3, max(outputs) + 2
    valid = torch.arange(width) < torch.tensor(lengths)[:, None]
    asked = torch.arange(queries) < torch.tensor(outputs)[:, None]
    latent_index, latent_times = tokens.create_linspace_latent_tokens(0.0, 1.0, 0.25, latents)
    batch = {
        "input_unit_index": torch.randint(1, len(UNITS) + 1, (rows, width)) * valid,
        "input_timestamps": torch.rand(rows, width).sort(dim=1).values * valid,
        "input_mask": valid,
        "latent_index": torch.from_numpy(latent_index).expand(rows, -1).clone(),
        "latent_timestamps": torch.from_numpy(latent_times).float().expand(rows, -1).clone(),
        "output_session_index": torch.randint(1, 3, (rows, 1)) * asked,
        "output_timestamps": torch.rand(rows, queries) * asked,
    }
    if name == "CalciumPOYOPlus":
        batch["input_values"] = torch.randn(rows, width, 1) * valid.unsqueeze(-1)
    else:
        batch["input_token_type"] = torch.randint(0, 3, (rows, width)) * valid
    if name == "POYO":
        batch["output_mask"] = asked
    else:
        batch["output_decoder_index"] = torch.randint(1, len(TASKS) + 1, (rows, queries)) * asked
    return batch


def assert_same_outputs(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, Tensor):
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same_outputs(found[key], expected[key])
    else:
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same_outputs(one, other)


def make_window(
    library: ModuleType, config: dict[str, Any], *, spikes: int = 60, frames: int = 29, seed: int = 0
) -> Any:
    """The same window, in the containers of either library."""
    rng = np.random.default_rng(seed)
    domain = library.Interval(0.0, 1.0)
    times = np.sort(rng.uniform(0.0, 1.0, 25))
    window = library.Data(
        spikes=library.IrregularTimeSeries(
            timestamps=np.sort(rng.uniform(0, 1, spikes)), unit_index=rng.integers(0, len(UNITS), spikes), domain=domain
        ),
        cursor=library.IrregularTimeSeries(
            timestamps=times,
            vel=rng.normal(size=(25, 2)),
            pos=rng.normal(size=(25, 2)).astype(np.float32),
            domain=domain,
        ),
        drifting_gratings=library.IrregularTimeSeries(
            timestamps=times[::5], orientation_id=rng.integers(0, 8, 5), domain=domain
        ),
        calcium_traces=library.RegularTimeSeries(
            sampling_rate=30.0,
            df_over_f=rng.normal(size=(frames, len(UNITS))).astype(np.float32),
            domain_start=0.01,
        ),
        units=library.ArrayDict(id=np.array(UNITS)),
        session=library.Data(id=SESSIONS[1]),
        reach=library.Interval(np.array([0.1, 0.6]), np.array([0.3, 0.9])),
        outlier=library.Interval(np.array([0.25]), np.array([0.7])),
        nothing=library.Interval(np.zeros(0), np.zeros(0)),
        domain=domain,
    )
    window.config = config
    return window


def unwrapped(tokenized: Any) -> Any:
    if isinstance(tokenized, dict):
        return {key: unwrapped(value) for key, value in tokenized.items()}
    return unwrapped(tokenized.obj) if hasattr(tokenized, "obj") else tokenized


def assert_same_tokens(found: Any, expected: Any, where: str = "") -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_same_tokens(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, (np.ndarray, Tensor)):
        found, expected = np.asarray(found), np.asarray(expected)
        assert found.dtype == expected.dtype, where
        np.testing.assert_array_equal(found, expected, err_msg=where)
    else:
        assert found == expected, where

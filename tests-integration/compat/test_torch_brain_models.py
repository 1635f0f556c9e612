"""nd_models against torch_brain 0.1.2, installed beside it: same weights, same tokens, same outputs and gradients."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nd_data
import nd_models
import nd_models.nn
from nd_models import loss, tokens

pytestmark = pytest.mark.compat

torch_brain = pytest.importorskip("torch_brain", reason="the compat session installs torch_brain 0.1.2 beside nd")
import temporaldata  # noqa: E402
import torch_brain.data as peer_data  # noqa: E402
import torch_brain.models as peer_models  # noqa: E402
import torch_brain.nn as peer_nn  # noqa: E402
import torch_brain.utils as peer_utils  # noqa: E402

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
}
TASKS = ("cursor_velocity_2d", "cursor_position_2d", "arm_velocity_2d", "drifting_gratings_orientation")
UNITS = [f"perich/c_1/unit_{i}" for i in range(7)]
SESSIONS = ["perich/c_1", "perich/c_2"]


@pytest.fixture(autouse=True)
def one_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def pair_of_models(name: str, size: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """The peer's model with weights of unit scale, and ours with the same weights."""
    times = {"sequence_length": 1.0, "latent_step": 0.25, "t_max": 4.0}
    if name == "POYO":
        theirs = peer_models.POYO(readout_spec=torch_brain.MODALITY_REGISTRY["cursor_velocity_2d"], **times, **size)
        ours = nd_models.POYO(readout_spec=nd_models.MODALITY_REGISTRY["cursor_velocity_2d"], **times, **size)
    else:
        their_specs = {task: torch_brain.MODALITY_REGISTRY[task] for task in TASKS}
        our_specs = {task: nd_models.MODALITY_REGISTRY[task] for task in TASKS}
        theirs = peer_models.POYOPlus(readout_specs=their_specs, **times, **size)
        ours = nd_models.POYOPlus(readout_specs=our_specs, **times, **size)
    theirs.unit_emb.initialize_vocab(UNITS)
    theirs.session_emb.initialize_vocab(SESSIONS)
    with torch.no_grad():
        for key, parameter in theirs.named_parameters():
            if "emb" in key:
                parameter.mul_(20.0)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs.eval(), ours.eval()


def make_batch(
    name: str, latents: int = 4, *, lengths: tuple[int, ...] = (40, 12, 0), outputs: tuple[int, ...] = (9, 4, 6)
) -> dict[str, Tensor]:
    rows, width, queries = len(lengths), max(lengths) + 3, max(outputs) + 2
    valid = torch.arange(width) < torch.tensor(lengths)[:, None]
    asked = torch.arange(queries) < torch.tensor(outputs)[:, None]
    latent_index, latent_times = tokens.create_linspace_latent_tokens(0.0, 1.0, 0.25, latents)
    batch = {
        "input_unit_index": torch.randint(1, len(UNITS) + 1, (rows, width)) * valid,
        "input_timestamps": torch.rand(rows, width).sort(dim=1).values * valid,
        "input_token_type": torch.randint(0, 3, (rows, width)) * valid,
        "input_mask": valid,
        "latent_index": torch.from_numpy(latent_index).expand(rows, -1).clone(),
        "latent_timestamps": torch.from_numpy(latent_times).float().expand(rows, -1).clone(),
        "output_session_index": torch.randint(1, 3, (rows, 1)) * asked,
        "output_timestamps": torch.rand(rows, queries) * asked,
    }
    if name == "POYO":
        batch["output_mask"] = asked
    else:
        batch["output_decoder_index"] = torch.randint(1, len(TASKS) + 1, (rows, queries)) * asked
    return batch


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("name", ["POYO", "POYOPlus"])
class TestSameWeights:
    def test_states_have_the_same_names_shapes_and_vocabularies(self, name, size):
        theirs, ours = (model.state_dict() for model in pair_of_models(name, size))
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            if key.endswith("vocab"):
                assert ours[key] == value
            else:
                torch.testing.assert_close(ours[key], value, rtol=0, atol=0)

    def test_our_state_loads_into_the_peer(self, name, size):
        theirs, ours = pair_of_models(name, size)
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.zero_()
        theirs.load_state_dict(ours.state_dict(), strict=True)
        torch.testing.assert_close(theirs.latent_emb.weight, ours.latent_emb.weight, rtol=0, atol=0)

    @pytest.mark.parametrize("unpack_output", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_outputs_agree(self, name, size, unpack_output, dtype):
        theirs, ours = pair_of_models(name, size)
        batch = make_batch(name, size["num_latents_per_step"])
        # What the loaders give: times in float64, the model in float32.
        batch = {key: value.to(dtype) if value.is_floating_point() else value for key, value in batch.items()}
        with torch.no_grad():
            expected = theirs(**batch, unpack_output=unpack_output)
            found = ours(**batch, unpack_output=unpack_output)
        assert_same_outputs(found, expected)

    def test_outputs_agree_without_padding(self, name, size):
        theirs, ours = pair_of_models(name, size)
        batch = make_batch(name, size["num_latents_per_step"], lengths=(20, 20), outputs=(6, 6))
        batch = {key: value[:, :20] if key.startswith("input") else value for key, value in batch.items()}
        batch["input_mask"] = None
        with torch.no_grad():
            assert_same_outputs(ours(**batch), theirs(**batch))

    def test_gradients_agree(self, name, size):
        theirs, ours = pair_of_models(name, size)
        batch = make_batch(name, size["num_latents_per_step"])
        for model in (theirs, ours):
            output = model(**batch)
            parts = [output] if isinstance(output, Tensor) else [output[task] for task in sorted(output)]
            sum(
                (part.square() * torch.linspace(0.5, 2.0, part.numel()).view_as(part)).sum() for part in parts
            ).backward()
        for (key, expected), (_, found) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
            if expected.grad is None:
                assert found.grad is None, key
            else:
                scale = max(float(expected.grad.abs().max()), 1e-3)
                torch.testing.assert_close(found.grad / scale, expected.grad / scale, rtol=1e-4, atol=2e-5, msg=key)


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


def make_window(library: ModuleType, config: dict[str, Any], *, spikes: int = 60, seed: int = 0) -> Any:
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
        units=library.ArrayDict(id=np.array(UNITS)),
        session=library.Data(id=SESSIONS[1]),
        reach=library.Interval(np.array([0.1, 0.6]), np.array([0.3, 0.9])),
        outlier=library.Interval(np.array([0.25]), np.array([0.7])),
        nothing=library.Interval(np.zeros(0), np.zeros(0)),
        domain=domain,
    )
    window.config = config
    return window


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


@pytest.mark.parametrize("spikes", [60, 0])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_poyo_plus_tokens_are_equal(config, spikes):
    theirs, ours = pair_of_models("POYOPlus", SIZES["single session"])
    expected = theirs.tokenize(make_window(temporaldata, {"multitask_readout": config}, spikes=spikes))
    found = ours.tokenize(make_window(nd_data, {"multitask_readout": config}, spikes=spikes))
    assert_same_tokens(unwrapped(found), unwrapped(expected))


@pytest.mark.parametrize("eval_interval", [None, "reach", "nothing"])
def test_poyo_tokens_are_equal(eval_interval):
    theirs, ours = pair_of_models("POYO", SIZES["single session"])
    config = {"readout": VELOCITY if eval_interval is None else {**VELOCITY, "eval_interval": eval_interval}}
    expected = theirs.tokenize(make_window(temporaldata, config))
    found = ours.tokenize(make_window(nd_data, config))
    assert_same_tokens(unwrapped(found), unwrapped(expected))


@pytest.mark.parametrize("name", ["POYO", "POYOPlus"])
def test_collated_batches_and_their_outputs_agree(name):
    theirs, ours = pair_of_models(name, SIZES["single session"])
    config = {"multitask_readout": CONFIGS["three"], "readout": VELOCITY}
    seeds = range(3)
    expected = peer_data.collate(
        [theirs.tokenize(make_window(temporaldata, config, spikes=20 * seed, seed=seed)) for seed in seeds]
    )
    found = nd_data.collate(
        [ours.tokenize(make_window(nd_data, config, spikes=20 * seed, seed=seed)) for seed in seeds]
    )
    assert_same_tokens(found["model_inputs"], expected["model_inputs"])
    assert_same_tokens(found["target_values"], expected["target_values"])
    with torch.no_grad():
        assert_same_outputs(ours(**found["model_inputs"]), theirs(**expected["model_inputs"]))


def test_the_registries_are_equal():
    assert list(nd_models.MODALITY_REGISTRY) == list(torch_brain.MODALITY_REGISTRY)
    for name, theirs in torch_brain.MODALITY_REGISTRY.items():
        ours = nd_models.MODALITY_REGISTRY[name]
        assert (ours.id, ours.dim, ours.type.name, ours.type.value) == (
            theirs.id,
            theirs.dim,
            theirs.type.name,
            theirs.type.value,
        )
        assert (ours.timestamp_key, ours.value_key) == (theirs.timestamp_key, theirs.value_key)
        assert type(ours.loss_fn).__name__ == type(theirs.loss_fn).__name__
        assert nd_models.get_modality_by_id(ours.id) == torch_brain.get_modality_by_id(theirs.id)


@pytest.mark.parametrize(
    ("name", "weighted"),
    # The peer's Mallow distance has no form without weights.
    [
        ("MSELoss", False),
        ("MSELoss", True),
        ("CrossEntropyLoss", False),
        ("CrossEntropyLoss", True),
        ("MallowDistanceLoss", True),
    ],
)
def test_losses_agree(name, weighted):
    predictions = torch.randn(11, 4, requires_grad=True)
    again = predictions.detach().clone().requires_grad_()
    target = torch.randn(11, 4) if name == "MSELoss" else torch.randint(0, 4, (11,))
    arguments = (target, torch.rand(11)) if weighted else (target,)
    expected = getattr(peer_nn, name)()(predictions, *arguments)
    found = getattr(loss, name)()(again, *arguments)
    expected.backward()
    found.backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(again.grad, predictions.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_time_embeddings_are_equal(dtype):
    times = torch.rand(3, 5, dtype=dtype)
    ours = nd_models.nn.RotaryTimeEmbedding(16, 8, t_min=1e-4, t_max=4.0)
    theirs = peer_nn.RotaryTimeEmbedding(16, 8, t_min=1e-4, t_max=4.0)
    torch.testing.assert_close(ours(times), theirs(times), rtol=0, atol=0)
    x = torch.randn(3, 5, 2, 16)
    expected = theirs.rotate(x, theirs(times))
    torch.testing.assert_close(ours.rotate(x, ours(times)), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.rotate(x, ours.rotation(times)), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.invert(ours(times)), theirs.invert(theirs(times)), rtol=0, atol=0)
    ours_sine = nd_models.nn.SinusoidalTimeEmbedding(16, t_min=0.01, t_max=2.0)(times)
    torch.testing.assert_close(ours_sine, peer_nn.SinusoidalTimeEmbedding(16, 0.01, 2.0)(times), rtol=0, atol=0)


@pytest.mark.parametrize("rotate_value", [False, True])
def test_attention_layers_agree_on_the_peers_own_embeddings(rotate_value):
    embed = peer_nn.RotaryTimeEmbedding(16, 8, t_min=1e-3, t_max=4.0)
    cross = {"dim": 24, "context_dim": 20, "heads": 2, "dim_head": 16, "rotate_value": rotate_value}
    theirs, ours = peer_nn.RotaryCrossAttention(**cross), nd_models.nn.RotaryCrossAttention(**cross)
    ours.load_state_dict(theirs.state_dict())
    queries, context, mask = torch.randn(2, 5, 24), torch.randn(2, 9, 20), torch.rand(2, 9) > 0.3
    arguments = (queries, context, embed(torch.rand(2, 5)), embed(torch.rand(2, 9)), mask)
    torch.testing.assert_close(ours(*arguments), theirs(*arguments), rtol=1e-5, atol=1e-5)

    itself = {"dim": 24, "heads": 2, "dim_head": 16, "rotate_value": rotate_value}
    theirs_self, ours_self = peer_nn.RotarySelfAttention(**itself), nd_models.nn.RotarySelfAttention(**itself)
    ours_self.load_state_dict(theirs_self.state_dict())
    arguments = (queries, embed(torch.rand(2, 5)), torch.tensor([[True] * 5, [True, False, True, True, False]]))
    torch.testing.assert_close(ours_self(*arguments), theirs_self(*arguments), rtol=1e-5, atol=1e-5)


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


def test_vocabularies_behave_alike():
    theirs, ours = peer_nn.InfiniteVocabEmbedding(8), nd_models.nn.InfiniteVocabEmbedding(8)
    for embedding in (theirs, ours):
        assert embedding.is_lazy()
        embedding.initialize_vocab(["a", "b", "c"])
        embedding.extend_vocab(["c", "d"], exist_ok=True)
        embedding.subset_vocab(["d", "b"])
    assert ours.vocab == theirs.vocab
    assert ours.tokenizer(["b", "d", "b"]) == theirs.tokenizer(["b", "d", "b"])
    assert ours.detokenizer(1) == theirs.detokenizer(1)
    assert ours.weight.shape == theirs.weight.shape


@pytest.mark.parametrize("name", ["POYO", "POYOPlus"])
def test_a_lightning_checkpoint_with_plain_hyperparameters_loads(name, tmp_path):
    size = SIZES["single session"]
    theirs, _ = pair_of_models(name, size)
    config = {
        "_target_": f"torch_brain.models.{name}",
        "sequence_length": 1.0,
        "latent_step": 0.25,
        "t_max": 4.0,
        **size,
    }
    state = {f"model.{key}": value for key, value in theirs.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"model": config}}, tmp_path / "peer.ckpt")
    if name == "POYO":
        ours = nd_models.POYO.load_pretrained(tmp_path / "peer.ckpt", nd_models.MODALITY_REGISTRY["cursor_velocity_2d"])
    else:
        specs = {task: nd_models.MODALITY_REGISTRY[task] for task in TASKS}
        ours = nd_models.POYOPlus.load_pretrained(tmp_path / "peer.ckpt", specs)
    batch = make_batch(name)
    with torch.no_grad():
        assert_same_outputs(ours.eval()(**batch), theirs(**batch))

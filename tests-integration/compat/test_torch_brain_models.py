"""nd_models against torch_brain 0.1.2, installed beside it: same weights, same outputs and gradients."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from peer_models import MODELS, SIZES, assert_same_outputs, make_batch, pair_of_models

pytestmark = pytest.mark.compat


@pytest.fixture(autouse=True)
def one_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("name", MODELS)
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
        batch = {key: value.to(dtype) if key.endswith("timestamps") else value for key, value in batch.items()}
        with torch.no_grad():
            expected = theirs(**batch, unpack_output=unpack_output)
            found = ours(**batch, unpack_output=unpack_output)
        assert_same_outputs(found, expected)

    def test_outputs_agree_without_padding(self, name, size):
        theirs, ours = pair_of_models(name, size)
        batch = make_batch(name, size["num_latents_per_step"], lengths=(20, 20), outputs=(6, 6))
        batch = {key: value[:, :20] if key.startswith("input") else value for key, value in batch.items()}
        batch["input_mask"] = None
        for unpack_output in (False, True):
            with torch.no_grad():
                expected = theirs(**batch, unpack_output=unpack_output)
                assert_same_outputs(ours(**batch, unpack_output=unpack_output), expected)

    @pytest.mark.parametrize("unpack_output", [False, True])
    @pytest.mark.parametrize("lengths", [(40, 12, 0), (37, 37)], ids=["padded", "unpadded"])
    def test_gradients_agree(self, name, size, unpack_output, lengths):
        theirs, ours = pair_of_models(name, size)
        batch = make_batch(name, size["num_latents_per_step"], lengths=lengths, outputs=(9, 4, 6)[: len(lengths)])
        if len(set(lengths)) == 1:
            width = lengths[0]
            batch = {key: value[:, :width] if key.startswith("input") else value for key, value in batch.items()}
            batch["input_mask"] = None
        for model in (theirs, ours):
            parts = leaves(model(**batch, unpack_output=unpack_output))
            sum(
                (part.square() * torch.linspace(0.5, 2.0, part.numel()).view_as(part)).sum() for part in parts
            ).backward()
        found_parameters, expected_parameters = (dict(model.named_parameters()) for model in (ours, theirs))
        if name == "CalciumPOYOPlus":  # never read: theirs has no gradient, ours is no parameter
            assert expected_parameters.pop("token_type_emb.weight").grad is None
        assert list(found_parameters) == list(expected_parameters)
        for key, expected in expected_parameters.items():
            found = found_parameters[key]
            if expected.grad is None:
                assert found.grad is None, key
            else:
                scale = max(float(expected.grad.abs().max()), 1e-3)
                torch.testing.assert_close(found.grad / scale, expected.grad / scale, rtol=1e-4, atol=2e-5, msg=key)


def leaves(outputs: Tensor | dict[str, Tensor] | list[Any]) -> list[Tensor]:
    """The tensors of either form of outputs, in one order for both libraries."""
    if isinstance(outputs, Tensor):
        return [outputs]
    inner = [outputs[task] for task in sorted(outputs)] if isinstance(outputs, dict) else outputs
    return [leaf for one in inner for leaf in leaves(one)]

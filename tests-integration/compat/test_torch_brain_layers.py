"""Registry, losses and layers of nd_models against those of torch_brain 0.1.2."""

from collections.abc import Iterator

import pytest
import torch

import nd_models
import nd_models.nn
from nd_models import loss

pytestmark = pytest.mark.compat

torch_brain = pytest.importorskip("torch_brain", reason="the compat session installs torch_brain 0.1.2 beside nd")
import torch_brain.nn as peer_nn  # noqa: E402


@pytest.fixture(autouse=True)
def one_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


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

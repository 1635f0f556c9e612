"""Causal attention against NumPy, positions, limited history (case H05; defects MO:109-244 and TR of the original)."""

import numpy as np
import pytest
import torch

from nd_models.longitudinal import AutoRegressiveTransformer
from nd_models.longitudinal.positions import rotate_by_position, sinusoidal_positions

SMALL = {"dim": 8, "depth": 2, "heads": 2}


def layer_norm(values, weight, bias):
    centred = values - values.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * weight + bias


def gelu(values):
    from math import erf, sqrt

    return values * np.vectorize(lambda value: 0.5 * (1 + erf(value / sqrt(2))))(values)


def rotated(values, positions):
    """(T, D_h): pairs (2i, 2i + 1) as complex numbers times exp(i·p / 10000^(2i/D_h))."""
    width = values.shape[-1]
    turns = np.exp(1j * np.outer(positions, 10000.0 ** (-np.arange(0, width, 2) / width)))
    turned = (values[:, ::2] + 1j * values[:, 1::2]) * turns
    return np.stack((turned.real, turned.imag), axis=-1).reshape(values.shape)


def transformer_in_numpy(model, values, missing, positions):
    """One sequence in float64, every pair of steps by itself. Shape: (T, D) to (T, O)."""
    weights = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}

    def linear(name, inputs):
        return inputs @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, inputs):
        return layer_norm(inputs, weights[f"{name}.weight"], weights[f"{name}.bias"])

    steps, dim = len(values), model.dim
    hidden = linear("embed", np.where(missing[:, None], 0.0, values))
    if model.positions == "learned":
        hidden = hidden + weights["position_table.weight"][positions]
    elif model.positions == "sinusoidal":
        for step, position in enumerate(positions):
            for channel in range(0, dim, 2):
                hidden[step, channel] += np.sin(position / 10000 ** (channel / dim))
                hidden[step, channel + 1] += np.cos(position / 10000 ** (channel / dim))
    for depth in range(model.depth):
        name = f"layers.{depth}"

        def attend(inputs, name=name):
            queries, keys, mixed_values = np.split(linear(f"{name}.to_queries_keys_values", inputs), 3, axis=-1)
            width = dim // model.heads
            mixed = np.zeros_like(queries)
            for head in range(model.heads):
                part = slice(head * width, (head + 1) * width)
                query, key = queries[:, part], keys[:, part]
                if model.positions == "rotary":
                    query, key = rotated(query, positions), rotated(key, positions)
                for step in range(steps):
                    oldest = 0 if model.max_history is None else max(0, step - model.max_history + 1)
                    seen = [
                        past
                        for past in range(oldest, step + 1)
                        if past == step or not (model.hide_missing and missing[past])
                    ]
                    scores = np.exp([query[step] @ key[past] / np.sqrt(width) for past in seen])
                    mixed[step, part] = (scores / scores.sum()) @ mixed_values[seen][:, part]
            return linear(f"{name}.from_values", mixed)

        def feed(inputs, name=name):
            return linear(f"{name}.feedforward.3", gelu(linear(f"{name}.feedforward.0", inputs)))

        if model.norm == "pre":
            hidden = hidden + attend(norm(f"{name}.attention_norm", hidden))
            hidden = hidden + feed(norm(f"{name}.feedforward_norm", hidden))
        else:
            hidden = norm(f"{name}.attention_norm", hidden + attend(hidden))
            hidden = norm(f"{name}.feedforward_norm", hidden + feed(hidden))
    return linear("readout", norm("final_norm", hidden) if model.norm == "pre" else hidden)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("max_history", [None, 1, 3])
@pytest.mark.parametrize("position_of", ["step", "time"])
@pytest.mark.parametrize("positions", ["none", "learned", "sinusoidal", "rotary"])
def test_the_transformer_is_what_its_equations_say(make_batch, positions, position_of, max_history, norm):
    max_len = 60 if positions == "learned" else None
    hide_missing = norm == "pre"
    model = AutoRegressiveTransformer(
        4, 2, **SMALL, positions=positions, position_of=position_of, max_history=max_history, norm=norm,
        max_len=max_len, hide_missing=hide_missing,
    ).eval()  # fmt: skip
    lengths = [7, 4]
    batch = make_batch(lengths)
    output = model(**batch).detach().numpy()
    for row, length in enumerate(lengths):
        values, missing = (batch[key][row, :length].double().numpy() for key in ("embeddings", "mask"))
        time_ids = batch["time_ids"][row, :length].numpy()
        places = time_ids - time_ids[0] if position_of == "time" else np.arange(length)
        expected = transformer_in_numpy(model, values, missing.astype(bool), places)
        np.testing.assert_allclose(output[row, :length], expected, rtol=2e-4, atol=2e-5)


def test_rotations_are_those_of_the_specification(case):
    one = case("H05_rope")
    values = torch.tensor(one["inputs"]["x"])
    turned = rotate_by_position(values, torch.arange(len(values)))
    np.testing.assert_allclose(turned.numpy(), np.array(one["expected"]["rotated"]), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("shift", [1, 1000, 10**7])
def test_rotated_scores_depend_on_differences_of_positions_only(shift):
    queries, keys = torch.randn(2, 6, 8, dtype=torch.float64).unbind(0)
    steps = torch.arange(6)
    scores = [
        rotate_by_position(queries, steps + start) @ rotate_by_position(keys, steps + start).T for start in (0, shift)
    ]
    torch.testing.assert_close(*scores, rtol=1e-6, atol=1e-6)


def test_sinusoidal_positions_alternate_sines_and_cosines():
    positions = torch.tensor([0, 1, 12345])
    expected = np.zeros((3, 6))
    for row, position in enumerate(positions.tolist()):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            expected[row, 2 * pair : 2 * pair + 2] = np.sin(angle), np.cos(angle)
    np.testing.assert_allclose(sinusoidal_positions(positions, 6).numpy(), expected, atol=1e-9)


def test_what_lies_before_the_history_is_not_seen_even_through_layers():
    model = AutoRegressiveTransformer(3, 1, **SMALL, max_history=3).eval()
    embeddings = torch.randn(1, 12, 3, requires_grad=True)
    model(embeddings)[0, 11].sum().backward()
    reached = (embeddings.grad[0] != 0).any(dim=1).nonzero().flatten().tolist()
    # Two layers of three steps reach 2·2 steps back.
    assert reached == [7, 8, 9, 10, 11]


@pytest.mark.parametrize("positions", ["none", "sinusoidal", "rotary"])
def test_sequences_may_be_longer_than_any_seen(positions):
    model = AutoRegressiveTransformer(3, 1, **SMALL, positions=positions, max_len=4).eval()
    assert model(torch.randn(1, 300, 3)).isfinite().all()


def test_learned_positions_that_run_out_are_an_error_and_not_a_wrap_around():
    model = AutoRegressiveTransformer(3, 1, **SMALL, positions="learned", max_len=4).eval()
    assert model(torch.randn(1, 4, 3)).shape == (1, 4, 1)
    with pytest.raises(ValueError, match=r"position 4, and there are learned positions for max_len=4"):
        model(torch.randn(1, 5, 3))
    model = AutoRegressiveTransformer(3, 1, **SMALL, positions="learned", max_len=4, position_of="time").eval()
    with pytest.raises(ValueError, match="position 9"):
        model(torch.randn(1, 2, 3), time_ids=torch.tensor([[-4, 5]]))
    with pytest.raises(ValueError, match="needs time_ids"):
        model(torch.randn(1, 2, 3))


def test_missing_steps_are_hidden_from_all_but_themselves(make_batch):
    model = AutoRegressiveTransformer(4, 1, **SMALL, missing_steps="carry", hide_missing=True).eval()
    batch = make_batch([6], missing=0.0)
    batch["mask"][0, 2] = True
    changed = batch["embeddings"].clone()
    changed[0, 2] = 9.0
    before, after = model(**batch), model(**{**batch, "embeddings": changed})
    others = [0, 1, 3, 4, 5]
    torch.testing.assert_close(after[0, others], before[0, others])
    assert not torch.allclose(after[0, 2], before[0, 2], atol=1e-4)


def test_attention_runs_in_half_precision(make_batch):
    model, batch = AutoRegressiveTransformer(4, 1, **SMALL).eval(), make_batch([6, 3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**batch)
    torch.testing.assert_close(output.float(), model(**batch), rtol=0.1, atol=0.1)


def test_dropout_is_drawn_while_training_only():
    model, embeddings = AutoRegressiveTransformer(3, 1, **SMALL, dropout=0.5), torch.randn(2, 5, 3)
    assert not torch.equal(model(embeddings), model(embeddings))
    model.eval()
    assert torch.equal(model(embeddings), model(embeddings))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": "rope"}, "positions must be"),
        ({"position_of": "date"}, "position_of must be 'step' or 'time'"),
        ({"norm": "none"}, "norm must be 'pre' or 'post'"),
        ({"dim": 10, "heads": 4}, "dim must be a multiple of heads, got dim=10, heads=4"),
        ({"positions": "learned"}, "learned positions need max_len"),
        ({"dim": 6, "heads": 2}, "rotary positions need heads of even width"),
        ({"dim": 9, "heads": 3, "positions": "sinusoidal"}, "sinusoidal positions need an even dim, got 9"),
        ({"max_history": 0}, "max_history must be a whole number from 1 on"),
        ({"feedforward_dim": 0}, "feedforward_dim must be"),
        ({"depth": 0}, "depth must be"),
        ({"dropout": 2.0}, "dropout must be"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        AutoRegressiveTransformer(3, **changes)

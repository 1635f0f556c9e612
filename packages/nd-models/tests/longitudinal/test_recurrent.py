"""GRU and LSTM: packed sequences, both directions, dropout (defects MO:38-81 of the original)."""

import numpy as np
import pytest
import torch

from nd_models.longitudinal import Recurrent


def gru_in_numpy(model, values):
    """One GRU layer and the linear one, step by step in float64. Shape: (T, D) to (T, O)."""
    weights = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
    input_weight, hidden_weight = weights["recurrence.weight_ih_l0"], weights["recurrence.weight_hh_l0"]
    input_bias, hidden_bias = weights["recurrence.bias_ih_l0"], weights["recurrence.bias_hh_l0"]
    hidden = np.zeros(model.hidden_size)
    outputs = []
    for value in values:
        reset_in, update_in, new_in = np.split(input_weight @ value + input_bias, 3)
        reset_hidden, update_hidden, new_hidden = np.split(hidden_weight @ hidden + hidden_bias, 3)
        reset = 1 / (1 + np.exp(-(reset_in + reset_hidden)))
        update = 1 / (1 + np.exp(-(update_in + update_hidden)))
        new = np.tanh(new_in + reset * new_hidden)
        hidden = (1 - update) * new + update * hidden
        outputs.append(weights["readout.weight"] @ hidden + weights["readout.bias"])
    return np.array(outputs)


def test_a_gru_is_what_its_equations_say(make_batch):
    model, batch = Recurrent(4, 2, hidden_size=5, input_norm="layer").eval(), make_batch([6, 3])
    with torch.no_grad():
        model.features.norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5, -1.0]))
        model.features.norm.bias.copy_(torch.tensor([0.1, -0.2, 0.0, 0.3]))
    output = model(**batch).detach().numpy()
    for row, length in enumerate([6, 3]):
        values = batch["embeddings"][row, :length].double().numpy()
        normed = (values - values.mean(axis=1, keepdims=True)) / np.sqrt(values.var(axis=1, keepdims=True) + 1e-5)
        normed = normed * [1.0, 2.0, 0.5, -1.0] + [0.1, -0.2, 0.0, 0.3]
        normed[batch["mask"][row, :length].numpy()] = 0.0
        np.testing.assert_allclose(output[row, :length], gru_in_numpy(model, normed), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_both_directions_read_the_sequence_and_never_its_padding(make_batch, cell, layers):
    model = Recurrent(4, 2, hidden_size=5, cell=cell, num_layers=layers, bidirectional=True, allow_future=True).eval()
    lengths = [6, 2, 4]
    batch = make_batch(lengths, missing=0.0)
    spoiled = {**batch, "embeddings": batch["embeddings"].masked_fill(batch["pad_mask"][..., None], 1e3)}
    steps, last = model(**spoiled), model(**spoiled, predict_last_valid_hidden_state=True)
    for row, length in enumerate(lengths):
        alone = {key: value[row : row + 1, :length] for key, value in batch.items()}
        torch.testing.assert_close(steps[row, :length], model(**alone)[0])
        torch.testing.assert_close(last[row], model(**alone, predict_last_valid_hidden_state=True)[0])


def test_the_last_step_of_both_directions_is_made_of_their_final_states():
    model = Recurrent(3, 1, hidden_size=4, bidirectional=True, input_norm="none").eval()
    embeddings = torch.randn(1, 5, 3)
    _, final = model.recurrence(embeddings)
    expected = model.readout(torch.cat((final[0], final[1]), dim=-1))
    torch.testing.assert_close(model(embeddings, predict_last_valid_hidden_state=True), expected)


def test_nothing_behind_the_last_valid_step_is_read_in_either_direction(make_batch):
    model, batch = Recurrent(4, 1, hidden_size=4, bidirectional=True).eval(), make_batch([7, 7], missing=0.0)
    valid = torch.arange(7).expand(2, -1) <= 3
    changed = batch["embeddings"].clone()
    changed[:, 4:] = 99.0
    results = [
        model(**{**batch, "embeddings": values}, predict_last_valid_hidden_state=True, valid_steps=valid)
        for values in (batch["embeddings"], changed)
    ]
    torch.testing.assert_close(*results)


def test_a_bidirectional_model_refuses_to_predict_steps_from_their_future():
    with pytest.raises(ValueError, match=r"sees the future of every step.*allow_future=True"):
        Recurrent(3, bidirectional=True)(torch.zeros(1, 2, 3))


def test_dropout_meets_hidden_states_and_never_predictions():
    model = Recurrent(3, 4, hidden_size=64, output_dropout=0.5).train()
    with torch.no_grad():
        model.readout.weight.zero_()
        model.readout.bias.fill_(3.0)
    assert torch.equal(model(torch.randn(8, 5, 3)), torch.full((8, 5, 4), 3.0))
    embeddings = torch.randn(8, 5, 3)
    model = Recurrent(3, 4, hidden_size=64, output_dropout=0.5).train()
    assert not torch.equal(model(embeddings), model(embeddings))
    assert torch.equal(model.eval()(embeddings), model(embeddings))


def test_one_feature_is_not_normalised_away_unless_asked_for():
    embeddings = torch.randn(2, 4, 1)
    kept, lost = (Recurrent(1, hidden_size=3, input_norm=norm).eval() for norm in ("auto", "layer"))
    assert kept(embeddings)[:, 0].std() > 1e-4
    assert lost(embeddings)[:, 0].std() < 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "rnn"}, "cell must be 'gru' or 'lstm', got 'rnn'"),
        ({"hidden_size": 0}, "hidden_size must be a whole number from 1 on, got 0"),
        ({"num_layers": 1.0}, "num_layers must be a whole number"),
        ({"dropout": 1.0}, "dropout must be at least 0 and less than 1"),
        ({"output_dropout": -0.1}, "output_dropout must be"),
        ({"missing_steps": "skip"}, "missing_steps must be 'zero', 'carry' or 'flag', got 'skip'"),
        ({"input_norm": "batch"}, "input_norm must be"),
        ({"num_classes": 0}, "num_classes must be a whole number from 1 on, got 0"),
        ({"inputs": "outcomes"}, "inputs: 'outcomes' is none of"),
        ({"inputs": []}, "at least one batch key"),
        ({"inputs": ["seq_embeddings_person"]}, "features of every step"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Recurrent(3, **changes)

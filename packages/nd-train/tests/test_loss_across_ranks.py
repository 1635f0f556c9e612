"""The loss of a batch that is spread over ranks is the loss of the batch in one process, gradients included."""

import contextlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_models import DataType, ModalitySpec, MultitaskDecoderModel
from nd_models.loss import CrossEntropyLoss, MSELoss, MultilabelCrossEntropyLoss
from nd_models.nn import MultitaskReadout
from nd_train.loss_across_ranks import LossAcrossRanks
from nd_train.multitask_loss import multitask_loss

WIDTH = 3


class MeanOfSquares(torch.nn.Module):
    """A loss of a user's own, which only keeps the contract."""

    def forward(self, predictions, target, weights=None):
        squares = (predictions - target).square().mean(dim=1)
        return squares.mean() if weights is None else (squares * weights).sum() / weights.sum().clamp(min=1e-300)


def spec(number, loss, kind=DataType.CONTINUOUS):
    return ModalitySpec(
        id=number, dim=2, type=kind, loss_fn=loss, timestamp_key="a.timestamps", value_key=f"a.value_{number}"
    )


SPECS = {
    "speed": spec(1, MSELoss()),
    "phase": spec(2, CrossEntropyLoss(), DataType.MULTINOMIAL),
    "labels": spec(5, MultilabelCrossEntropyLoss(), DataType.MULTILABEL),
    "own": spec(7, MeanOfSquares()),
}


class Readouts(MultitaskDecoderModel):
    """Nothing but readouts."""

    def __init__(self):
        super().__init__()
        self.readout_specs = SPECS
        self.readout = MultitaskReadout(WIDTH, SPECS)

    backbone_parts = ()

    def tokenize(self, data):
        raise AssertionError

    def forward(self, embeddings, index):
        return self.readout(output_embs=embeddings, output_readout_index=index)


def model():
    torch.manual_seed(0)
    return Readouts().double()


def batch_of(index, seed, weighted):
    """A batch with the tasks that `index` asks for. Shape of index: (B, N_out)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    targets, weights = {}, {}
    embeddings = draw(*index.shape, WIDTH)
    for task, one in SPECS.items():
        number = int((index == one.id).sum())
        if number == 0:
            continue
        values = draw(number, 2)
        if task == "phase":
            values = (values[:, 0] > 0).long()
        elif task == "labels":
            # Some labels nobody knows, and time points of which nobody knows any.
            values = torch.where(
                draw(number, 1) > 0.7, torch.nan, torch.where(draw(number, 2) > 1, torch.nan, values > 0)
            )
        targets[task] = values
        if weighted:
            weights[task] = draw(number).abs() * (draw(number) > -0.5)
    inputs = {"output_decoder_index": index}
    return embeddings, {"model_inputs": inputs, "target_values": targets, "target_weights": weights}


def joined(parts):
    embeddings = torch.cat([one for one, _ in parts])
    index = torch.cat([batch["model_inputs"]["output_decoder_index"] for _, batch in parts])
    whole = {"model_inputs": {"output_decoder_index": index}}
    for key in ("target_values", "target_weights"):
        tasks = {task for _, batch in parts for task in batch[key]}
        whole[key] = {task: torch.cat([batch[key][task] for _, batch in parts if task in batch[key]]) for task in tasks}
    return embeddings, whole


def across(parts):
    """What every rank gets, and the gradients that data-parallel training averages; ranks take their turns."""
    said = []

    def listen(values):
        said.append(values.clone())
        return values

    for embeddings, batch in parts:
        each = model()
        shared = LossAcrossRanks(each, len(parts), add_up=listen)
        with contextlib.suppress(ValueError):  # alone, a rank may have nothing
            shared(each(embeddings, batch["model_inputs"]["output_decoder_index"]), batch)
    total = torch.stack(said).sum(dim=0)
    results, gradients = [], []
    for embeddings, batch in parts:
        each = model()
        shared = LossAcrossRanks(each, len(parts), add_up=lambda _: total.clone())
        loss = shared(each(embeddings, batch["model_inputs"]["output_decoder_index"]), batch)
        loss.to_differentiate.backward()
        # Data-parallel training waits for the gradients of all parameters.
        assert all(parameter.grad is not None for parameter in each.parameters())
        gradients.append({name: parameter.grad.clone() for name, parameter in each.named_parameters()})
        shared.drop_absent_gradients()
        results.append((loss, {name for name, parameter in each.named_parameters() if parameter.grad is not None}))
    mean = {name: sum(one[name] for one in gradients) / len(parts) for name in gradients[0]}
    return results, mean


rank_batches = st.lists(
    st.lists(st.lists(st.sampled_from([0, 1, 2, 5, 7]), min_size=4, max_size=4), min_size=1, max_size=3),
    min_size=1,
    max_size=4,
)


@given(indices=rank_batches, weighted=st.booleans(), seed=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_ranks_share_the_loss_and_the_gradients_of_one_process(indices, weighted, seed):
    parts = [batch_of(torch.tensor(index), seed + number, weighted) for number, index in enumerate(indices)]
    embeddings, whole = joined(parts)
    alone = model()
    outputs = alone(embeddings, whole["model_inputs"]["output_decoder_index"])
    loss, tasks = multitask_loss(
        outputs,
        whole["target_values"],
        whole["target_weights"],
        output_decoder_index=whole["model_inputs"]["output_decoder_index"],
        readout_specs=SPECS,
    )
    loss.backward()
    results, gradients = across(parts)
    for shared, with_gradients in results:
        # A batch without any target has a loss of 0, of no precision in particular.
        torch.testing.assert_close(shared.value, loss.detach(), rtol=1e-12, atol=1e-12, check_dtype=bool(outputs))
        assert shared.tasks.keys() == tasks.keys()
        for task, value in tasks.items():
            torch.testing.assert_close(shared.tasks[task], value, rtol=1e-12, atol=1e-12)
        # Parameters of tasks that no rank has are without a gradient, as in one process.
        assert with_gradients == {name for name, one in alone.named_parameters() if one.grad is not None}
    for name, parameter in alone.named_parameters():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradients[name], expected, rtol=1e-11, atol=1e-12)


def test_the_mean_of_the_ranks_losses_would_be_another_number():
    parts = [batch_of(torch.tensor(index), 0, False) for index in ([[1, 1, 1, 1]], [[1, 0, 0, 0]])]
    results, _ = across(parts)
    means = [
        MSELoss()(
            model()(embeddings, batch["model_inputs"]["output_decoder_index"])["speed"], batch["target_values"]["speed"]
        )
        for embeddings, batch in parts
    ]
    assert abs(float(sum(means).detach() / 2 - results[0][0].value)) > 1e-3


def test_gradients_of_a_task_stay_where_any_batch_since_the_last_step_had_it():
    each = model()
    shared = LossAcrossRanks(each, 1, add_up=lambda values: values)
    for index in ([[1, 1]], [[7, 1]]):
        embeddings, batch = batch_of(torch.tensor(index), 0, False)
        shared(each(embeddings, torch.tensor(index)), batch).to_differentiate.backward()
    shared.drop_absent_gradients()
    kept = {name.split(".")[2] for name, parameter in each.named_parameters() if parameter.grad is not None}
    assert kept == {"speed", "own"}
    shared.drop_absent_gradients()
    assert all(parameter.grad is None for parameter in each.parameters())


def test_a_model_is_as_before_once_the_training_is_over():
    each = model()
    shared = LossAcrossRanks(each, 2)
    embeddings, index = torch.zeros(1, 2, WIDTH, dtype=torch.float64), torch.tensor([[1, 1]])
    assert set(each(embeddings, index)) == set(SPECS)
    with torch.no_grad():
        assert set(each(embeddings, index)) == {"speed"}
    shared.remove()
    assert set(each(embeddings, index)) == {"speed"}


def test_predictions_without_targets_are_an_error_that_names_the_task():
    each = model()
    shared = LossAcrossRanks(each, 2, add_up=lambda values: values)
    embeddings, batch = batch_of(torch.tensor([[1, 1]]), 0, False)
    batch["target_values"] = {}
    with pytest.raises(ValueError, match="task 'speed' has predictions but no targets"):
        shared(each(embeddings, torch.tensor([[1, 1]])), batch)

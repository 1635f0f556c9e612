"""The loss of several readouts against a plain float64 computation."""

import numpy as np
import pytest
import torch

from nd_models import DataType, ModalitySpec
from nd_models.loss import CrossEntropyLoss, MSELoss
from nd_train.multitask_loss import multitask_loss

SPECS = {
    "velocity": ModalitySpec(3, 2, DataType.CONTINUOUS, "a.timestamps", "a.b", MSELoss()),
    "state": ModalitySpec(8, 4, DataType.MULTINOMIAL, "c.timestamps", "c.d", CrossEntropyLoss()),
}


def by_hand(batch):
    """``Σ_task loss · windows with the task / windows``, in float64, one time point after the other."""
    losses, total = {}, 0.0
    for task, predictions in batch["outputs"].items():
        numerator = denominator = 0.0
        for row in range(len(predictions)):
            guess = predictions[row].double().numpy()
            target = batch["targets"][task][row].numpy()
            if task == "velocity":
                loss = np.mean((guess - target.astype(np.float64)) ** 2)
            else:
                loss = np.log(np.exp(guess).sum()) - guess[target]
            weight = float(batch["weights"][task][row]) if task in batch["weights"] else 1.0
            numerator += weight * loss
            denominator += weight
        losses[task] = numerator / denominator
        windows = sum(SPECS[task].id in row for row in batch["index"].tolist())
        total += losses[task] * windows / len(batch["index"])
    return total, losses


def random_batch(seed, *, windows=6, queries=10):
    rng = np.random.default_rng(seed)
    index = rng.choice([0, 3, 8], size=(windows, queries), p=[0.5, 0.3, 0.2])
    index[0], index[1] = 3, 8  # a window with one task only, for each
    index[2] = 0  # and one with none
    counts = {"velocity": int((index == 3).sum()), "state": int((index == 8).sum())}
    return {
        "index": torch.from_numpy(index),
        "outputs": {
            "velocity": torch.tensor(rng.normal(size=(counts["velocity"], 2)), dtype=torch.float32, requires_grad=True),
            "state": torch.tensor(rng.normal(size=(counts["state"], 4)), dtype=torch.float32, requires_grad=True),
        },
        "targets": {
            "velocity": torch.from_numpy(rng.normal(size=(counts["velocity"], 2))),
            "state": torch.from_numpy(rng.integers(0, 4, counts["state"])),
        },
        "weights": {"velocity": torch.from_numpy(rng.uniform(0.1, 5.0, counts["velocity"]))},
    }


def loss_of(batch):
    return multitask_loss(
        batch["outputs"], batch["targets"], batch["weights"], output_decoder_index=batch["index"], readout_specs=SPECS
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_each_tasks_loss_in_proportion_to_the_windows_that_hold_it(seed):
    batch = random_batch(seed)
    detached = {**batch, "outputs": {task: values.detach() for task, values in batch["outputs"].items()}}
    expected, expected_by_task = by_hand(detached)
    total, by_task = loss_of(batch)
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    assert {task: float(loss) for task, loss in by_task.items()} == pytest.approx(expected_by_task, rel=1e-5)


def test_the_loss_carries_gradients_and_the_parts_to_log_do_not():
    batch = random_batch(0)
    total, by_task = loss_of(batch)
    assert not any(loss.requires_grad for loss in by_task.values())
    total.backward()
    for predictions in batch["outputs"].values():
        assert (predictions.grad.abs().sum(dim=1) > 0).all()


def test_targets_of_double_precision_leave_the_loss_in_the_models_precision():
    assert loss_of(random_batch(0))[0].dtype == torch.float32


def test_a_task_that_no_window_of_the_batch_holds_costs_nothing():
    batch = random_batch(1)
    alone = {**batch, "index": torch.where(batch["index"] == 8, 0, batch["index"])}
    alone["outputs"] = {"velocity": batch["outputs"]["velocity"]}
    total, by_task = loss_of(alone)
    detached = {**alone, "outputs": {"velocity": alone["outputs"]["velocity"].detach()}}
    assert list(by_task) == ["velocity"]
    assert float(total.detach()) == pytest.approx(by_hand(detached)[0], rel=1e-5)


def test_a_batch_without_any_target_time_teaches_nothing():
    total, by_task = multitask_loss({}, {}, {}, output_decoder_index=torch.zeros(4, 8), readout_specs=SPECS)
    total.backward()
    assert float(total.detach()) == 0.0
    assert by_task == {}


def test_predictions_without_targets_are_an_error_that_names_both():
    batch = random_batch(0)
    del batch["targets"]["state"]
    with pytest.raises(ValueError, match=r"task 'state' has predictions but no targets.*\['velocity'\]"):
        loss_of(batch)

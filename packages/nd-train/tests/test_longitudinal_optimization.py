"""Step 8: what learns, what is muted, at which rate, and how much of a sequence."""

import math

import pytest
import torch
from torch import nn

from nd_train import MILightningModule
from nd_train.longitudinal import (
    SequenceLengthScheduler,
    build_optimizer,
    learning_parameters,
    mute_parameters,
    rate_factor,
)


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), nn.Linear(4, 1))


def test_a_mark_on_a_module_a_parameter_or_the_root_mutes_what_is_below():
    model = network()
    model[1].mute_grad = True
    model[2].bias.mute_grad = True
    assert mute_parameters(model) == ["1.0.weight", "1.0.bias", "1.1.weight", "1.1.bias", "2.bias"]
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == [
        *("0.weight", "0.bias", "2.weight")
    ]
    root = network()
    root.mute_grad = True
    assert len(mute_parameters(root)) == len(list(root.parameters()))


def test_a_model_of_which_nothing_learns_says_why_of_each_part():
    model = network()
    model[0].mute_grad = True
    for parameter in (*model[1].parameters(), *model[2].parameters()):
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match=r"none of the 8 parameters.*2 by mute_grad on 0; 6 by requires_grad=False"):
        learning_parameters(model)
    model = network()
    model.mute_grad = True
    with pytest.raises(ValueError, match="8 by mute_grad on the model itself"):
        learning_parameters(model)
    assert learning_parameters(nn.Identity()) == []


def test_the_optimizer_has_the_rate_and_decay_that_were_asked_for():
    parameters = list(network().parameters())
    adamw = build_optimizer(parameters, optimizer="adamw", lr=0.2, weight_decay=0.3)
    sgd = build_optimizer(parameters, optimizer="sgd", lr=0.2, weight_decay=0.3)
    assert (type(adamw), type(sgd)) == (torch.optim.AdamW, torch.optim.SGD)
    for optimizer in (adamw, sgd):
        assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.2, 0.3)


def test_a_cosine_descends_to_zero_after_the_warm_up():
    factor = rate_factor("cosine", warmup_steps=2, total_steps=10, start_factor=0.5, end_factor=0.8)
    assert [factor(step) for step in (0, 1, 2)] == pytest.approx([0.5, 0.65, 0.8])
    assert factor(6) == pytest.approx(0.4)
    assert factor(10) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="needs the run's length"):
        rate_factor("cosine", warmup_steps=2, total_steps=math.inf, start_factor=0.5, end_factor=1.0)


def test_without_warm_up_the_first_step_has_the_end_factor():
    assert rate_factor("linear", warmup_steps=0, start_factor=0.5, end_factor=0.9)(0) == 0.9


@pytest.mark.parametrize("kind", ["linear", "exponential"])
@pytest.mark.parametrize("progress", ["full", "compat"])
def test_scheduled_lengths_never_shrink_and_never_leave_their_bounds(kind, progress):
    for shortest, longest, epochs in ((1, 1, 1), (1, 300, 40), (7, 8, 3), (100, 101, 90)):
        schedule = SequenceLengthScheduler(
            kind, min_seq_len=shortest, max_seq_len=longest, num_epochs=epochs, progress=progress
        )
        lengths = [schedule.length(epoch) for epoch in range(epochs + 2)]
        assert lengths == sorted(lengths)
        assert lengths[-1] == longest
        assert min(lengths) >= shortest
        if progress == "full":
            assert lengths[epochs - 1] == longest
        if epochs > 1:
            assert lengths[0] == shortest


def test_an_exponential_length_is_exact_where_floats_round_wrongly():
    # 1 * 1000^(1/3) is 10, and 9.999999999999998 in floats.
    schedule = SequenceLengthScheduler("exponential", min_seq_len=1, max_seq_len=1000, num_epochs=4)
    assert [schedule.length(epoch) for epoch in range(4)] == [1, 10, 100, 1000]


@pytest.mark.parametrize(("lengths", "epochs"), [((0, 5), 3), ((6, 5), 3), ((1, 5), 0)])
def test_impossible_schedules_are_refused(lengths, epochs):
    with pytest.raises(ValueError, match="expected 1"):
        SequenceLengthScheduler("linear", min_seq_len=lengths[0], max_seq_len=lengths[1], num_epochs=epochs)


def test_a_schedule_needs_epochs_from_somewhere_and_takes_the_trainers():
    module = MILightningModule(
        {"seq_len_scheduler_type": "linear", "min_seq_len": 2, "max_seq_len": 6}, nn.Linear(1, 1)
    )
    with pytest.raises(RuntimeError, match="not attached to a `Trainer`"):
        module.length_scheduler()
    module = MILightningModule(
        {"seq_len_scheduler_type": "linear", "min_seq_len": 2, "max_seq_len": 6, "epochs": 5}, nn.Linear(1, 1)
    )
    assert [module.length_scheduler().length(epoch) for epoch in range(5)] == [2, 3, 4, 5, 6]

"""Schedules of the learning rate, against closed forms and torch's own, and their length through a resume."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import LastCheckpoint, StepSeeds
from nd_train.learning_rate import SCHEDULES, rate_factor


@given(steps=st.integers(3, 300), rise=st.integers(2, 250))
def test_one_cycle_is_torchs(steps, rise):
    rise = min(rise, steps - 1)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.3, total_steps=steps, pct_start=rise / steps, cycle_momentum=False
    )
    factor = rate_factor("one_cycle", total_steps=steps, warmup_steps=rise)
    for step in range(steps):
        assert 0.3 * factor(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        optimizer.step()
        if step < steps - 1:
            reference.step()


@given(
    schedule=st.sampled_from(SCHEDULES),
    steps=st.integers(1, 500),
    rise=st.floats(0, 600),
    start=st.floats(0, 1),
    end=st.floats(0, 1),
    step=st.integers(0, 2000),
)
def test_a_rate_is_never_above_the_peak_nor_below_where_it_starts_or_ends(schedule, steps, rise, start, end, step):
    factor = rate_factor(schedule, total_steps=steps, warmup_steps=rise, start_factor=start, end_factor=end)
    assert min(start, end) - 1e-12 <= factor(step) <= 1 + 1e-12
    if step >= max(steps, rise):
        assert factor(step) == pytest.approx({"one_cycle": end, "cosine": end}.get(schedule, 1.0), abs=1e-12)


def test_cosine_rises_in_a_line_and_descends_along_half_a_cosine():
    factor = rate_factor("cosine", total_steps=101, warmup_steps=11, start_factor=0.2, end_factor=0.1)
    for step in range(11):
        assert factor(step) == pytest.approx(0.2 + 0.8 * step / 10)
    for step in range(10, 101):
        assert factor(step) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * (step - 10) / 90)) / 2)


def test_a_warm_up_rises_and_stays_and_constant_is_constant():
    factor = rate_factor("warmup", total_steps=math.inf, warmup_steps=5, start_factor=0.5)
    assert [factor(step) for step in range(7)] == pytest.approx([0.5, 0.625, 0.75, 0.875, 1, 1, 1])
    assert {rate_factor("constant", total_steps=3, warmup_steps=2)(step) for step in range(9)} == {1.0}


class Rates(LastCheckpoint):
    """Writes down each step's rate."""

    def on_fit_start(self, trainer, pl_module):
        self.rates = []

    def on_train_batch_start(self, trainer, *_):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.fixture
def fit(make_model, make_trainer, recordings, multitask, tmp_path):
    """Train, saving at the end; the rates of all steps."""

    def run(ckpt_path=None, *, decoder=None, batch_size=4, **trainer):
        rates = Rates(dirpath=tmp_path / "checkpoints", keep=1)
        trainer = make_trainer(
            limit_val_batches=0, enable_checkpointing=True, callbacks=[StepSeeds(0), rates], **trainer
        )
        module = NeuralDecoder(make_model(), **{"lr": 1e-2, **(decoder or {})})
        data = NeuralDataModule(recordings, multitask, batch_size=batch_size)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return rates.rates

    return run


def expected_rates(schedule, steps, *, length, warmup_steps, peak=1e-2):
    factor = rate_factor(schedule, total_steps=length, warmup_steps=warmup_steps)
    return [peak * factor(step) for step in range(steps)]


LENGTHS = [{"max_steps": 6}, {"max_epochs": 3, "max_steps": -1, "limit_train_batches": 2}]


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
@pytest.mark.parametrize("length", LENGTHS, ids=["steps", "epochs"])
def test_a_schedule_spans_the_run(fit, schedule, length):
    rates = fit(decoder={"schedule": schedule, "warmup": 0.5}, **length)
    assert rates == pytest.approx(expected_rates(schedule, 6, length=6, warmup_steps=3))


@pytest.mark.parametrize("length", LENGTHS, ids=["steps", "epochs"])
def test_a_resumed_run_of_more_steps_keeps_the_schedule_it_began_with_and_says_so(fit, tmp_path, length):
    decoder = {"schedule": "one_cycle", "warmup": 0.5}
    fit(decoder=decoder, **length)
    longer = {
        key: value * 2 if key in ("max_steps", "max_epochs") and value > 0 else value for key, value in length.items()
    }
    last = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.warns(UserWarning, match="schedule ends after 6 steps, the run after 12.*schedule_steps"):
        rates = fit(last, decoder=decoder, **longer)
    assert rates == pytest.approx([1e-2 * 4e-6] * 6)


def test_a_schedule_that_is_cut_short_and_resumed_is_the_one_of_the_whole_run(fit, tmp_path):
    decoder = {"schedule": "cosine", "warmup": 2, "schedule_steps": 10}
    first = fit(decoder=decoder, max_steps=4)
    second = fit(tmp_path / "checkpoints" / "last.ckpt", decoder={"schedule": "cosine", "warmup": 2}, max_steps=10)
    assert first + second == pytest.approx(expected_rates("cosine", 10, length=10, warmup_steps=2))


def test_a_resumed_run_can_be_given_a_longer_schedule(fit, tmp_path):
    decoder = {"schedule": "cosine", "warmup": 0.0}
    fit(decoder=decoder, max_steps=4)
    rates = fit(tmp_path / "checkpoints" / "last.ckpt", decoder={**decoder, "schedule_steps": 8}, max_steps=8)
    # The step after the resume still has the rate that the optimizer was saved with.
    assert rates[1:] == pytest.approx(expected_rates("cosine", 8, length=8, warmup_steps=0)[5:])


def test_a_warm_up_in_steps_needs_no_end_of_the_run(fit):
    rates = fit(decoder={"schedule": "warmup", "warmup": 3}, max_steps=5)
    assert rates == pytest.approx(expected_rates("warmup", 5, length=math.inf, warmup_steps=3))


@pytest.mark.parametrize(("accumulated", "batch_size"), [(1, 4), (2, 4), (3, 8)])
def test_the_rate_grows_with_the_windows_of_a_step(fit, accumulated, batch_size):
    rates = fit(
        decoder={"lr": 1e-4, "base_batch_size": 2},
        batch_size=batch_size,
        max_steps=1,
        accumulate_grad_batches=accumulated,
    )
    assert rates[0] == pytest.approx(1e-4 * accumulated * batch_size / 2)


def test_the_rate_of_a_resumed_run_is_that_of_its_beginning(fit, tmp_path):
    decoder = {"lr": 1e-4, "base_batch_size": 1}
    fit(decoder=decoder, max_steps=2)
    rates = fit(tmp_path / "checkpoints" / "last.ckpt", decoder=decoder, batch_size=4, max_steps=4)
    assert rates == pytest.approx([4e-4] * 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup": -0.1}, "warmup: expected 0 or more, found -0.1"),
        ({"end_factor": math.nan}, "end_factor: expected 0 or more, found nan"),
        ({"schedule_steps": 0}, "schedule_steps: expected 1 or more, or None, found 0"),
        ({"base_batch_size": -4}, "base_batch_size: expected 1 or more, or None, found -4"),
    ],
)
def test_numbers_out_of_range_are_errors(make_model, arguments, message):
    with pytest.raises(ValueError, match=message):
        NeuralDecoder(make_model(), **arguments)

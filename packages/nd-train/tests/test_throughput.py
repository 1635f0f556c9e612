"""The speed of training, and memory, as they are logged."""

import sys
import time

import pytest
import torch

from nd_train import NeuralDataModule, NeuralDecoder
from nd_train.callbacks import Throughput, mem_info


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def batch(windows, tokens):
    mask = torch.zeros(windows, 50, dtype=torch.bool)
    mask.view(-1)[:tokens] = True
    return {"session_id": ["a/b"] * windows, "model_inputs": {"input_mask": mask}}


class Trainer:
    world_size = 1
    log_every_n_steps = 2
    global_step = 0


class Module:
    def __init__(self):
        self.logged = {}

    def log(self, name, value, **keywords):
        self.logged[name] = float(value)


def test_speeds_are_windows_and_real_tokens_over_all_time_and_the_wait_is_its_share(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    callback, trainer, module = Throughput(), Trainer(), Module()
    callback.on_train_epoch_start(trainer, module)
    for windows, tokens, waits, works in ((4, 60, 3.0, 1.0), (8, 100, 0.5, 5.5)):
        clock.now += waits
        callback.on_train_batch_start(trainer, module, None, 0)
        clock.now += works
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, module, None, batch(windows, tokens), 0)
    assert module.logged == {
        "throughput/windows_per_second": pytest.approx(12 / 10),
        "throughput/tokens_per_second": pytest.approx(160 / 10),
        "throughput/data_wait_share": pytest.approx(0.35),
    }


def test_validation_counts_as_neither_and_the_next_interval_begins_anew(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    callback, trainer, module = Throughput(every_n_steps=1), Trainer(), Module()
    callback.on_train_epoch_start(trainer, module)
    for step in range(2):
        clock.now += 1.0
        callback.on_train_batch_start(trainer, module, None, 0)
        clock.now += 1.0
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, module, None, batch(3 + step, 10), 0)
        callback.on_validation_start(trainer, module)
        clock.now += 1000.0
        callback.on_validation_end(trainer, module)
    assert module.logged["throughput/windows_per_second"] == pytest.approx(2.0)
    assert module.logged["throughput/data_wait_share"] == pytest.approx(0.5)


def test_a_run_that_waits_for_its_data_says_so(make_model, make_trainer, recordings, multitask, monkeypatch):
    step = NeuralDecoder.training_step
    shares = {}
    for slow in ("loading", "training"):

        def slowly(self, batch, batch_idx, pause=0.2 if slow == "training" else 0.0):
            time.sleep(pause)
            return step(self, batch, batch_idx)

        def transform(data, pause=0.05 if slow == "loading" else 0.0):
            time.sleep(pause)
            return data

        monkeypatch.setattr(NeuralDecoder, "training_step", slowly)
        data = NeuralDataModule(recordings, multitask, batch_size=4, train_transforms=[transform])
        trainer = make_trainer(callbacks=[Throughput()], max_steps=4, log_every_n_steps=2, limit_val_batches=0)
        trainer.fit(NeuralDecoder(make_model()), datamodule=data)
        metrics = trainer.callback_metrics
        logged = {name: float(value) for name, value in metrics.items() if name.startswith("throughput/")}
        assert set(logged) == {
            f"throughput/{name}" for name in ("windows_per_second", "tokens_per_second", "data_wait_share")
        }
        assert 0 < logged["throughput/windows_per_second"] < 20.0
        assert logged["throughput/tokens_per_second"] > 10 * logged["throughput/windows_per_second"]
        shares[slow] = logged["throughput/data_wait_share"]
    # Not how large they are: on a busy machine everything else takes its time too.
    assert 0 <= shares["training"] < shares["loading"] <= 1


def test_an_interval_below_one_step_is_an_error():
    with pytest.raises(ValueError, match="every_n_steps: expected at least 1, found 0"):
        Throughput(every_n_steps=0)


@pytest.mark.parametrize(("platform", "unit"), [("linux", 2**10), ("darwin", 1)])
def test_memory_is_counted_in_the_unit_of_the_operating_system(platform, unit, monkeypatch):
    import resource

    class Usage:
        ru_maxrss = 512 * 2**20 // unit

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: Usage())
    assert mem_info.peak_memory_mib() == 512.0


def test_on_windows_memory_is_the_peak_of_the_working_set(monkeypatch):
    import ctypes

    class Kernel:
        class GetCurrentProcess:
            restype = None

            def __new__(cls):
                return 7

        @staticmethod
        def K32GetProcessMemoryInfo(process, counters, size):  # noqa: N802  # Windows' name
            found = counters._obj
            assert (process.value, size, ctypes.sizeof(found)) == (7, found.size, 72)
            # The third number of the structure: 4 + 4 bytes are before it.
            ctypes.c_size_t.from_buffer(found, 8).value = 300 * 2**20
            return 1

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, use_last_error: Kernel, raising=False)
    assert mem_info.peak_memory_mib() == 300.0

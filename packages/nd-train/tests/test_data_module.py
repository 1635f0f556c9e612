"""Datasets, windows and loaders of a run."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nd_data import Data, Dataset
from nd_train import NeuralDataModule


@pytest.fixture
def data(make_model, recordings, multitask):
    """A data module linked to a model whose vocabularies are its own."""

    def make(**keywords):
        module = NeuralDataModule(recordings, multitask, **{"batch_size": 8, **keywords})
        model = make_model()
        module.link_model(model)
        model.unit_emb.initialize_vocab(module.get_unit_ids())
        model.session_emb.initialize_vocab(module.get_session_ids())
        return module

    return make


def windows(loader):
    """(recording, start) of every window of a loader, in its order."""
    return [
        (session, float(start))
        for batch in loader
        for session, start in zip(batch["session_id"], batch["absolute_start"], strict=True)
    ]


def test_vocabularies_are_those_of_the_recordings(data, recordings):
    module = data()
    expected = set()
    for path in recordings.glob("*/*.h5"):
        recording = Data.load(path)
        expected |= {f"{recording.brainset.id}/{recording.session.id}/{unit}" for unit in recording.units.id}
    assert module.get_unit_ids() == sorted(expected)
    assert module.get_session_ids() == ["simulated/session_00", "simulated/session_01"]


@pytest.mark.parametrize(("split", "loader_name"), [("valid", "val_dataloader"), ("test", "test_dataloader")])
@pytest.mark.parametrize("eval_step", [None, 0.3])
def test_evaluation_windows_cover_every_time_of_their_split_and_none_outside(
    data, recordings, split, loader_name, eval_step
):
    starts = windows(getattr(data(eval_step=eval_step), loader_name)())
    for session, intervals in Dataset(recordings, split=split).get_sampling_intervals().items():
        own = np.array([start for name, start in starts if name == session])
        times = np.arange(intervals.start[0] + 0.005, intervals.end[-1], 0.01)
        covered = ((times[:, None] >= own) & (times[:, None] < own + 1.0)).sum(axis=1)
        assert covered.min() >= 1
        # Away from the ends a time is in window length / step windows.
        assert np.median(covered) == pytest.approx(1.0 / (eval_step or 0.5), abs=0.5)
        assert own.min() >= intervals.start[0] - 1e-9
        assert own.max() + 1.0 <= intervals.end[-1] + 1e-9


def test_prediction_sees_the_windows_of_the_test(data):
    module = data()
    assert windows(module.predict_dataloader()) == windows(module.test_dataloader())


def test_training_windows_lie_in_the_training_split_and_change_from_epoch_to_epoch(data, recordings):
    loader = data().train_dataloader()
    first, second = windows(loader), windows(loader)
    intervals = Dataset(recordings, split="train").get_sampling_intervals()
    for session, start in first + second:
        assert intervals[session].start[0] <= start <= intervals[session].end[-1] - 1.0 + 1e-9
    assert len(first) == len(second)
    assert sorted(first) != sorted(second)


def test_the_same_seed_draws_the_same_training_windows(data):
    drawn = [windows(data(seed=seed).train_dataloader()) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_batches_have_their_sizes(data):
    module = data(batch_size=5, eval_batch_size=7)
    assert len(next(iter(module.train_dataloader()))["session_id"]) == 5
    assert len(next(iter(module.val_dataloader()))["session_id"]) == 7
    assert len(next(iter(data(batch_size=5).val_dataloader()))["session_id"]) == 5


def real_units(batch):
    inputs = batch["model_inputs"]
    return [len(row[mask].unique()) for row, mask in zip(inputs["input_unit_index"], inputs["input_mask"], strict=True)]


def test_units_are_dropped_in_training_only(data):
    module = data(unit_dropout={"min_units": 5, "mode_units": 8, "max_units": 12})
    dropped = real_units(next(iter(module.train_dataloader())))
    assert min(dropped) >= 5
    assert max(dropped) <= 12
    assert set(real_units(next(iter(module.val_dataloader())))) == {30}
    assert set(real_units(next(iter(data().train_dataloader())))) == {30}


def test_further_transforms_of_training_come_before_tokens_and_leave_evaluation_alone(data):
    seen = []

    def watch(window):
        seen.append(window.absolute_start)
        return window

    module = data(train_transforms=(watch,))
    next(iter(module.val_dataloader()))
    assert not seen
    batch = next(iter(module.train_dataloader()))
    assert seen == batch["absolute_start"].tolist()


def test_metrics_follow_configuration_and_model(data, make_model, recordings, single):
    metrics = data().get_metrics()
    assert {session: sorted(tasks) for session, tasks in metrics.items()} == {
        f"simulated/session_{number:02d}": ["cursor_position_2d", "cursor_velocity_2d"] for number in range(2)
    }
    single["config"]["readout"]["metrics"] = ["mse"]
    module = NeuralDataModule(recordings, single)
    module.link_model(make_model("POYO"))
    found = module.get_metrics("test")
    assert list(found["simulated/session_00"]["cursor_velocity_2d"]) == ["mse"]


def test_a_data_module_without_a_model_says_how_to_give_it_one(recordings, multitask):
    module = NeuralDataModule(recordings, multitask)
    for ask in (module.train_dataloader, module.val_dataloader, module.get_metrics):
        with pytest.raises(RuntimeError, match=r"call link_model\(model\), or use it through a trainer"):
            ask()


def test_windows_longer_than_every_interval_are_an_error_with_both_lengths(make_model, recordings, multitask):
    module = NeuralDataModule(recordings, multitask)
    module.link_model(make_model(sequence_length=20.0))
    with pytest.raises(ValueError, match=r"20 s, longer than every sampling interval: the longest is 6 s"):
        module.val_dataloader()


def test_workers_give_the_same_batches(data):
    alone = list(data(batch_size=32).val_dataloader())
    together = list(data(batch_size=32, num_workers=1).val_dataloader())
    assert len(alone) == len(together)
    for one, other in zip(alone, together, strict=True):
        assert one["session_id"] == other["session_id"]
        for key, value in one["model_inputs"].items():
            torch.testing.assert_close(other["model_inputs"][key], value, rtol=0, atol=0)


def as_rank(module, trainer, rank, ranks):
    """Put a data module onto one of several ranks."""
    module.trainer = SimpleNamespace(
        distributed_sampler_kwargs={"num_replicas": ranks, "rank": rank},
        strategy=trainer.strategy,
        num_devices=1,
        lightning_module=None,
    )
    return module


def test_ranks_share_the_windows_of_one_process(data, make_trainer):
    trainer = make_trainer()
    alone = list(data(batch_size=8).train_dataloader())
    ranks = [list(as_rank(data(batch_size=4), trainer, rank, 2).train_dataloader()) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1])
    for whole, *parts in zip(alone, *ranks, strict=False):
        together = {window for part in parts for window in windows([part])}
        assert together <= set(windows([whole]))
        assert len(windows([whole])) - len(together) < 2


def test_ranks_evaluate_batches_of_one_process_and_as_many(data, make_trainer):
    trainer = make_trainer()
    alone = [tuple(windows([batch])) for batch in data(eval_batch_size=7).val_dataloader()]
    ranks = [
        [tuple(windows([batch])) for batch in as_rank(data(eval_batch_size=7), trainer, rank, 3).val_dataloader()]
        for rank in range(3)
    ]
    assert {batch for rank in ranks for batch in rank} == set(alone)
    assert [len(rank) for rank in ranks] == [-(-len(alone) // 3)] * 3


@pytest.mark.parametrize("loader", ["train_dataloader", "val_dataloader"])
def test_lightning_puts_no_sampler_of_its_own_around_these(data, loader):
    sampler = getattr(data(), loader)().sampler
    assert isinstance(sampler, torch.utils.data.DistributedSampler)


def test_loaders_have_the_settings_they_are_given(data):
    module = data(num_workers=2, prefetch_factor=5, persistent_workers=False, pin_memory=True)
    module.multiprocessing_context = "spawn"
    for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        assert (loader.num_workers, loader.prefetch_factor, loader.persistent_workers) == (2, 5, False)
        assert loader.pin_memory is True
        assert loader.multiprocessing_context.get_start_method() == "spawn"


def test_by_default_a_cpu_loads_in_its_own_process_and_pins_nothing(data, make_trainer):
    module = as_rank(data(num_workers=None), make_trainer(), 0, 1)
    assert module.loader_settings() == {"num_workers": 0, "pin_memory": False}


def test_by_default_a_gpu_has_workers_and_pinned_memory(data, monkeypatch):
    module = data(num_workers=None)
    gpu = SimpleNamespace(root_device=torch.device("cuda", 0))
    module.trainer = SimpleNamespace(
        distributed_sampler_kwargs=None, strategy=gpu, num_devices=4, lightning_module=None
    )
    for cpus, workers in ((64, 8), (16, 3), (4, 0), (2, 0)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cpus=cpus: set(range(cpus)))
        assert module.loader_settings()["num_workers"] == workers
        assert module.loader_settings()["pin_memory"] is True


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size", "prefetch_factor"])
def test_numbers_below_one_are_an_error_that_names_them(recordings, multitask, name):
    with pytest.raises(ValueError, match=rf"{name}: expected 1 or more, found 0"):
        NeuralDataModule(recordings, multitask, **{name: 0})


def test_transforms_of_every_split_come_first(data):
    seen = []

    def watch(window):
        seen.append(window.absolute_start)
        return window

    module = data(transforms=(watch,))
    for loader in (module.train_dataloader(), module.val_dataloader()):
        seen.clear()
        batch = next(iter(loader))
        assert seen == batch["absolute_start"].tolist()

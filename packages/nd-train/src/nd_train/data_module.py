"""Datasets, samplers and loaders of one decoding run, built from a folder of recordings and a configuration."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
import torch
from torch.utils.data import DataLoader

from nd_data import Data, Dataset, ResumableDataLoader, collate
from nd_data.configuration import ConfigurationLike
from nd_data.samplers import (
    DistributedStitchingFixedWindowSampler,
    DistributedTrainingSamplerWrapper,
    RandomFixedWindowSampler,
)
from nd_data.split_domain import split_names
from nd_data.transforms import Compose, UnitDropout
from nd_models import DecoderModel, ModalitySpec, MultitaskDecoderModel
from nd_models.target_scale import TargetStatistics
from nd_train.configured_metrics import SessionMetrics, configured_metrics
from nd_train.target_statistics import fit_target_statistics, readout_entries, with_target_statistics

Transform = Callable[[Data], Any]
Model = DecoderModel

MOST_WORKERS = 8
"""As many loader processes a rank has at most, unless told otherwise."""


class NeuralDataModule(L.LightningDataModule):
    """Train on random windows of the ``train`` split; evaluate on overlapping windows of ``valid`` and ``test``.

    It serves any strategy: each rank trains on its share of the windows of one epoch, and evaluates whole batches of
    those that one process would have had, so that stitched scores are the same on any number of ranks. Lightning puts
    no sampler of its own around these, whatever ``use_distributed_sampler`` says.

    A checkpoint keeps the statistics that targets were scaled by; a run that starts from it scales by the same.

    Args:
        root: Folder of recordings, ``<root>/<brainset>/<session>.h5``.
        config: Configuration of recordings and readouts: a path, a list or a mapping.
        batch_size: Windows in a training batch of one rank.
        eval_batch_size: Windows in an evaluation batch; `batch_size` where it is None.
        eval_step: Seconds between the starts of evaluation windows; half a window where it is None.
        unit_dropout: Arguments of `UnitDropout` in training; None drops no unit.
        train_transforms: More transforms of training windows, before tokenization.
        transforms: Transforms of the windows of every split, before all others.
        normalize: ``"train"`` scales continuous targets without ``normalize_mean`` and ``normalize_std`` in the
            configuration to mean 0 and standard deviation 1 over the training split, all recordings together. A mapping
            ``{readout id: {"mean": …, "std": …}}`` gives the numbers. None scales by the configuration alone.
        num_workers: Loader processes of each split and rank; 0 loads in the training process. None takes, where a GPU
            trains, the CPUs that this rank has to itself but one, `MOST_WORKERS` at most, and 0 where the CPU trains.
        prefetch_factor: Batches that each worker loads ahead.
        persistent_workers: Keep workers from epoch to epoch.
        pin_memory: Load batches into page-locked memory, from which they reach a GPU faster; None does where a CUDA GPU
            trains, and only there.
        multiprocessing_context: How workers start: ``"fork"``, ``"spawn"`` or ``"forkserver"``; None for the
            system's way.
        seed: Seed of the training windows and of the units that are dropped; the same on every rank.

    Raises:
        ValueError: an argument out of its range; or, when windows are asked for, a split that is empty or unknown, or
            windows longer than every interval of it.
    """

    def __init__(
        self,
        root: str | Path,
        config: str | Path | list[dict[str, Any]] | dict[str, Any],
        *,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        eval_step: float | None = None,
        unit_dropout: dict[str, int | str] | None = None,
        train_transforms: Sequence[Transform] = (),
        transforms: Sequence[Transform] = (),
        normalize: Literal["train"] | dict[str, dict[str, list[float]]] | None = None,
        num_workers: int | None = 0,
        prefetch_factor: int = 2,
        persistent_workers: bool = True,
        pin_memory: bool | None = None,
        multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_at_least_one(batch_size=batch_size, eval_batch_size=eval_batch_size, prefetch_factor=prefetch_factor)
        self.root = root
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.eval_step = eval_step
        self.unit_dropout = unit_dropout
        self.train_transforms = tuple(train_transforms)
        self.transforms = tuple(transforms)
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory = pin_memory
        self.multiprocessing_context = multiprocessing_context
        self.seed = seed
        self._num_workers = num_workers
        self._given_config: ConfigurationLike = config
        self._fits_statistics = normalize == "train"
        self._model: Model | None = None
        self._datasets: dict[str, Dataset] = {}
        self._statistics: TargetStatistics = {}
        if isinstance(normalize, Mapping):
            self.use_target_statistics(normalize)

    def link_model(self, model: Model) -> None:
        """Use this model to tokenize; a trainer's own model is found without it."""
        self._model = model

    @property
    def model(self) -> Model:
        """The model whose `tokenize` ends every transform.

        Raises:
            RuntimeError: neither a trainer nor :meth:`link_model` gave one.
        """
        if self._model is None and self.trainer is not None and self.trainer.lightning_module is not None:
            self._model = cast("Model", self.trainer.lightning_module.model)
        if self._model is None:
            raise RuntimeError("this data module has no model yet: call link_model(model), or use it through a trainer")
        return self._model

    @property
    def config(self) -> ConfigurationLike:
        """The configuration, with the statistics that targets are scaled by once they are known.

        They are measured when there is a model, whose readouts say where the targets are.
        """
        if self._fits_statistics and self._has_model():
            self.target_statistics()
        return self._given_config if not self._statistics else self._scaled_config

    def target_statistics(self) -> TargetStatistics:
        """The statistics that targets are scaled by, besides those of the configuration; measured when first needed.

        Raises:
            ValueError: a channel of a target does not vary in the training split, or there is no target.
        """
        if self._fits_statistics:
            # Anew only what is not known, as from the run that a decoder comes from.
            known = self._statistics
            listing = self._listing("train", with_target_statistics(self._given_config, known) if known else None)
            self._use_statistics({**known, **fit_target_statistics(listing, self._specs_by_readout())})
            self._fits_statistics = False
        return dict(self._statistics)

    def use_target_statistics(self, statistics: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """Scale by these, such as those of the run that a decoder comes from.

        With ``normalize="train"`` the readouts that are not among them are still measured.

        Args:
            statistics: ``{readout id: {"mean": …, "std": …}}``, as `target_statistics` returns them.
        """
        plain = {
            name: {key: [float(number) for number in values] for key, values in measured.items()}
            for name, measured in statistics.items()
        }
        self._use_statistics(plain)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data: the statistics that targets were scaled by."""
        return {"target_statistics": self.target_statistics() if self._has_model() else dict(self._statistics)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Scale as the run did that wrote the checkpoint."""
        self._fits_statistics = False
        self.use_target_statistics(state_dict["target_statistics"])

    def dataset(self, split: str) -> Dataset:
        """The windows' source of one split, tokenized; opened once."""
        if split not in self._datasets:
            config = self.config  # before the transforms: measuring needs none
            transforms: list[Transform] = [*self.transforms]
            if split == "train":
                transforms += self.train_transforms
                if self.unit_dropout is not None:
                    transforms.append(UnitDropout(**{"seed": self.seed, **cast("dict[str, Any]", self.unit_dropout)}))
            transforms.append(self.model.tokenize)
            self._datasets[split] = Dataset(self.root, config=config, split=split, transform=Compose(transforms))
        return self._datasets[split]

    def has_split(self, split: str) -> bool:
        """Whether every recording has this split."""
        return all(split in names for names in self._splits_of_recordings)

    @cached_property
    def _splits_of_recordings(self) -> list[list[str]]:
        # Once: it opens every recording.
        everything = self._listing(None)
        return [split_names(everything.get_recording_data(name)) for name in everything.recording_ids]

    def get_unit_ids(self) -> list[str]:
        """Ids of all units of the training recordings."""
        return self._listing("train").get_unit_ids()

    def get_session_ids(self) -> list[str]:
        """Ids of the training recordings."""
        return self._listing("train").get_session_ids()

    def get_metrics(self, split: str = "valid") -> SessionMetrics:
        """Metrics per session and task, as the configuration names them (see `configured_metrics`)."""
        return configured_metrics(self.dataset(split), self._specs_by_readout())

    def train_dataloader(self) -> DataLoader[Any]:
        """Random windows, a new draw every epoch; a run that is resumed within an epoch takes up the rest of it."""
        dataset = self.dataset("train")
        windows = RandomFixedWindowSampler(
            sampling_intervals=dataset.get_sampling_intervals(),
            window_length=self.model.sequence_length,
            generator=torch.Generator().manual_seed(self.seed),
        )
        # One rank too has a share, so that a run can be resumed on another number of ranks.
        sampler = DistributedTrainingSamplerWrapper(windows, *self._ranks())
        return self._loader(dataset, sampler, self.batch_size, loader=ResumableDataLoader)

    def val_dataloader(self) -> DataLoader[Any]:
        """Overlapping windows over all of the ``valid`` split."""
        return self._evaluation_loader("valid")

    def test_dataloader(self) -> DataLoader[Any]:
        """Overlapping windows over all of the ``test`` split."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """As :meth:`test_dataloader`."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, split: str) -> DataLoader[Any]:
        dataset = self.dataset(split)
        window_length = self.model.sequence_length
        num_replicas, rank = self._ranks()
        sampler = DistributedStitchingFixedWindowSampler(
            sampling_intervals=dataset.get_sampling_intervals(),
            window_length=window_length,
            step=self.eval_step or window_length / 2,
            batch_size=self.eval_batch_size,
            num_replicas=num_replicas,
            rank=rank,
            whole_batches=True,
        )
        return self._loader(dataset, sampler, self.eval_batch_size)

    def _loader(
        self, dataset: Dataset, sampler: Any, batch_size: int, *, loader: type[DataLoader[Any]] = DataLoader
    ) -> DataLoader[Any]:
        return loader(dataset, sampler=sampler, batch_size=batch_size, collate_fn=collate, **self.loader_settings())

    def loader_settings(self) -> dict[str, Any]:
        """How windows are loaded, as keywords of `torch.utils.data.DataLoader`."""
        settings: dict[str, Any] = {
            "num_workers": self.num_workers,
            "pin_memory": self._on_gpu() if self.pin_memory is None else self.pin_memory,
        }
        if self.num_workers:
            settings["persistent_workers"] = self.persistent_workers
            settings["prefetch_factor"] = self.prefetch_factor
            settings["multiprocessing_context"] = self.multiprocessing_context
        return settings

    @property
    def num_workers(self) -> int:
        """Loader processes of each split and rank."""
        if self._num_workers is not None:
            return self._num_workers
        if self.trainer is None or not self._on_gpu():
            return 0
        return max(min(_usable_cpus() // self.trainer.num_devices - 1, MOST_WORKERS), 0)

    @num_workers.setter
    def num_workers(self, number: int | None) -> None:
        self._num_workers = number

    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _ranks(self) -> tuple[int, int]:
        # A strategy that also splits the model counts only the ranks that have windows of their own.
        shares = None if self.trainer is None else self.trainer.distributed_sampler_kwargs
        return (1, 0) if shares is None else (shares["num_replicas"], shares["rank"])

    def _has_model(self) -> bool:
        return self._model is not None or (self.trainer is not None and self.trainer.lightning_module is not None)

    def _listing(self, split: str | None, config: ConfigurationLike | None = None) -> Dataset:
        return Dataset(self.root, config=self._given_config if config is None else config, split=split)

    def _use_statistics(self, statistics: TargetStatistics) -> None:
        self._statistics = statistics
        self._scaled_config = with_target_statistics(self._given_config, statistics)
        self._datasets.clear()

    def _specs_by_readout(self) -> Mapping[str, ModalitySpec]:
        model = self.model
        if isinstance(model, MultitaskDecoderModel):
            return model.readout_specs
        configurations = self._listing(None).get_recording_config_dict().values()
        readouts = {str(entry["readout_id"]) for one in configurations for entry in readout_entries(one)}
        return dict.fromkeys(readouts, cast("ModalitySpec", model.readout_spec))


def _usable_cpus() -> int:
    # Those that SLURM or a container leaves to this process, where the system says so.
    affinity = getattr(os, "sched_getaffinity", None)
    return (os.cpu_count() or 1) if affinity is None else len(affinity(0))


def _check_at_least_one(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name}: expected 1 or more, found {number}")

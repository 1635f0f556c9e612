"""Datasets, samplers and loaders of one decoding run, built from a folder of recordings and a configuration."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from torch.utils.data import DataLoader

from nd_data import Data, Dataset, ResumableDataLoader, collate
from nd_data.samplers import DistributedStitchingFixedWindowSampler, RandomFixedWindowSampler
from nd_data.split_domain import split_names
from nd_data.transforms import Compose, UnitDropout
from nd_models import DecoderModel, MultitaskDecoderModel
from nd_train.configured_metrics import SessionMetrics, configured_metrics

Transform = Callable[[Data], Any]
Model = DecoderModel


class NeuralDataModule(L.LightningDataModule):
    """Train on random windows of the ``train`` split; evaluate on overlapping windows of ``valid`` and ``test``.

    Args:
        root: Folder of recordings, ``<root>/<brainset>/<session>.h5``.
        config: Configuration of recordings and readouts: a path, a list or a mapping.
        batch_size: Windows in a training batch.
        eval_batch_size: Windows in an evaluation batch; `batch_size` where it is None.
        eval_step: Seconds between the starts of evaluation windows; half a window where it is None.
        unit_dropout: Arguments of `UnitDropout` in training; None drops no unit.
        train_transforms: More transforms of training windows, before tokenization.
        num_workers: Loader processes of each split.
        seed: Seed of the training windows and of the units that are dropped.

    Raises:
        ValueError: a split that is empty or unknown, or windows longer than every interval of it.
    """

    def __init__(
        self,
        root: str | Path,
        config: str | Path | list[dict[str, Any]] | dict[str, Any],
        *,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        eval_step: float | None = None,
        unit_dropout: dict[str, int] | None = None,
        train_transforms: Sequence[Transform] = (),
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root = root
        self.config = config
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.eval_step = eval_step
        self.unit_dropout = unit_dropout
        self.train_transforms = tuple(train_transforms)
        self.num_workers = num_workers
        self.seed = seed
        self._model: Model | None = None
        self._datasets: dict[str, Dataset] = {}

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

    def dataset(self, split: str) -> Dataset:
        """The windows' source of one split, tokenized; opened once."""
        if split not in self._datasets:
            transforms: list[Transform] = []
            if split == "train":
                transforms += self.train_transforms
                if self.unit_dropout is not None:
                    transforms.append(UnitDropout(**{"seed": self.seed, **cast("dict[str, Any]", self.unit_dropout)}))
            transforms.append(self.model.tokenize)
            self._datasets[split] = Dataset(self.root, config=self.config, split=split, transform=Compose(transforms))
        return self._datasets[split]

    def has_split(self, split: str) -> bool:
        """Whether every recording has this split."""
        return all(split in names for names in self._splits_of_recordings)

    @cached_property
    def _splits_of_recordings(self) -> list[list[str]]:
        # Once: it opens every recording.
        everything = Dataset(self.root, config=self.config)
        return [split_names(everything.get_recording_data(name)) for name in everything.recording_ids]

    def get_unit_ids(self) -> list[str]:
        """Ids of all units of the training recordings."""
        return self.dataset("train").get_unit_ids()

    def get_session_ids(self) -> list[str]:
        """Ids of the training recordings."""
        return self.dataset("train").get_session_ids()

    def get_metrics(self, split: str = "valid") -> SessionMetrics:
        """Metrics per session and task, as the configuration names them (see `configured_metrics`)."""
        model = self.model
        if isinstance(model, MultitaskDecoderModel):
            specs: Mapping[str, Any] = model.readout_specs
        else:
            readouts = {c["readout"]["readout_id"] for c in self.dataset(split).get_recording_config_dict().values()}
            specs = dict.fromkeys(readouts, model.readout_spec)
        return configured_metrics(self.dataset(split), specs)

    def train_dataloader(self) -> DataLoader[Any]:
        """Random windows, a new draw every epoch; a run that is resumed within an epoch takes up the rest of it."""
        dataset = self.dataset("train")
        sampler = RandomFixedWindowSampler(
            sampling_intervals=dataset.get_sampling_intervals(),
            window_length=self.model.sequence_length,
            generator=torch.Generator().manual_seed(self.seed),
        )
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
        sampler = DistributedStitchingFixedWindowSampler(
            sampling_intervals=dataset.get_sampling_intervals(),
            window_length=window_length,
            step=self.eval_step or window_length / 2,
            batch_size=self.eval_batch_size,
            num_replicas=1 if self.trainer is None else self.trainer.world_size,
            rank=0 if self.trainer is None else self.trainer.global_rank,
        )
        return self._loader(dataset, sampler, self.eval_batch_size)

    def _loader(
        self, dataset: Dataset, sampler: Any, batch_size: int, *, loader: type[DataLoader[Any]] = DataLoader
    ) -> DataLoader[Any]:
        return loader(
            dataset,
            sampler=sampler,
            batch_size=batch_size,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

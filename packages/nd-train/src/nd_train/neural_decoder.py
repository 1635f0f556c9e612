"""The LightningModule that trains and evaluates a decoder of spikes: POYO, POYO+ or a baseline of nd_models.

B windows, N_out queries (padded), D output width.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from nd_eval import DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator, StitchedTrace
from nd_models import DecoderModel, ModalitySpec, MultitaskDecoderModel, model_from_config
from nd_models.multitask_poyo_backbone import MultitaskPoyoBackbone
from nd_train.callbacks.prediction_traces import PredictionTraces
from nd_train.checkpoints.plain_checkpoint import PlainCheckpointModule
from nd_train.data_module import NeuralDataModule
from nd_train.learning_rate import SCHEDULES, Schedule, global_batch_size, rate_factor, run_length
from nd_train.loss_across_ranks import LossAcrossRanks
from nd_train.multitask_loss import in_precision_of, multitask_loss
from nd_train.optimizers import CUSTOM, OptimizerFactory, build_optimizer, check_optimizer, decoder_groups
from nd_train.precision import check_precision
from nd_train.sharding import check_whole_tensors, data_parallel_mesh, shard_model
from nd_train.target_statistics import statistics_in

_RATE = "learning_rate"  # of a checkpoint

StitchData = DataForDecodingStitchEvaluator | DataForMultiTaskDecodingStitchEvaluator


class NeuralDecoder(PlainCheckpointModule):
    """Train a decoder on windows of recordings, and hand its outputs to a stitching evaluator.

    Built from a model, or from a mapping of its constructor's arguments (``architecture`` names the class; without it,
    a mapping with ``readout_spec`` is a POYO and any other a POYO+). The checkpoint keeps that mapping as plain values,
    so that :meth:`load_from_checkpoint` needs nothing else and never runs code from the file.

    Args:
        model: A model, or the mapping of its constructor's arguments.
        lr: Peak learning rate; with `base_batch_size`, that of a batch of so many windows.
        optimizer: A name of `nd_train.optimizers.OPTIMIZERS` (``"sparse_lamb"``, ``"adamw"``, ``"sgd"``, …), or a
            callable that takes parameter groups and ``lr=``. SparseLamb steps units, sessions, tasks and readouts row
            by row: what a batch does not hold stays as it is.
        optimizer_arguments: More of the optimizer's own arguments.
        weight_decay: Of matrices only: biases, norms, and embeddings of units and sessions have none.
        base_batch_size: The peak rate grows in proportion to the windows of a step: ``lr`` times global batch (of all
            ranks and accumulated batches) over this number. 1 makes ``lr`` the ``base_lr`` of torch_brain's examples.
            None takes ``lr`` as it is.
        schedule: ``"constant"``; ``"warmup"``, a rise and then constant; ``"one_cycle"``, a rise and a descent along
            half cosines over all steps of the run; ``"cosine"``, the same with a straight rise.
        warmup: How long the rate rises: a share of the schedule's steps if below 1, else a number of steps.
        schedule_steps: Length of the schedule in optimizer steps; None takes the run's, from ``max_steps`` or
            ``max_epochs``. A resumed run keeps the length that it began with, unless it is given here. After the
            schedule the rate stays at its end.
        start_factor: Share of the peak rate that the rise begins with.
        end_factor: Share of the peak rate that the descent ends with.

    Raises:
        TypeError: `model` is neither a `nd_models.DecoderModel` nor a mapping.
        ValueError: an unknown `optimizer`, argument of it or `schedule`, or a number out of its range.
    """

    model: DecoderModel
    _across_ranks: LossAcrossRanks | None = None
    _peak_rate: float | None = None
    _schedule_steps: int | None = None
    _resumed: Mapping[str, Any] | None = None  # peak and steps of the run that is being resumed

    def __init__(
        self,
        model: nn.Module | Mapping[str, Any],
        lr: float = 1e-3,
        *,
        optimizer: str | OptimizerFactory = "sparse_lamb",
        optimizer_arguments: Mapping[str, Any] | None = None,
        weight_decay: float = 1e-4,
        base_batch_size: int | None = None,
        schedule: Schedule = "constant",
        warmup: float = 0.1,
        schedule_steps: int | None = None,
        start_factor: float = 0.04,
        end_factor: float = 4e-6,
    ) -> None:
        super().__init__()
        optimizer_arguments = dict(optimizer_arguments or {})
        check_optimizer(optimizer, optimizer_arguments)
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule: expected one of {', '.join(map(repr, SCHEDULES))}, found {schedule!r}")
        for name, value in (("warmup", warmup), ("start_factor", start_factor), ("end_factor", end_factor)):
            if not value >= 0:
                raise ValueError(f"{name}: expected 0 or more, found {value}")
        for name, count in (("base_batch_size", base_batch_size), ("schedule_steps", schedule_steps)):
            if count is not None and count < 1:
                raise ValueError(f"{name}: expected 1 or more, or None, found {count}")
        self.model = _as_model(model)
        self._optimizer = optimizer
        self._draws_after_model = torch.get_rng_state()
        self.save_hyperparameters(
            {
                "model": self.model.to_config(),
                "lr": lr,
                "optimizer": CUSTOM if callable(optimizer) else optimizer,
                "optimizer_arguments": optimizer_arguments,
                "weight_decay": weight_decay,
                "base_batch_size": base_batch_size,
                "schedule": schedule,
                "warmup": warmup,
                "schedule_steps": schedule_steps,
                "start_factor": start_factor,
                "end_factor": end_factor,
            }
        )

    def setup(self, stage: str) -> None:
        """Initialise the vocabularies from the data module, where there is one and they are not yet initialised.

        Raises:
            ValueError: the trainer's precision would round times.
        """
        check_precision(self.trainer)
        if stage == "fit":
            self._initialize_vocabularies()

    def _initialize_vocabularies(self) -> None:
        data_module = getattr(self.trainer, "datamodule", None)
        if data_module is not None:
            with self._same_draws_on_any_number_of_ranks():
                if self.model.unit_emb.is_lazy():
                    self.model.unit_emb.initialize_vocab(data_module.get_unit_ids())
                if self.model.session_emb.is_lazy():
                    self.model.session_emb.initialize_vocab(data_module.get_session_ids())

    @contextmanager
    def _same_draws_on_any_number_of_ranks(self) -> Iterator[None]:
        # Where there are several, Lightning has put torch's generator back to the run's seed since the model was made.
        if self.trainer.world_size == 1:
            yield
            return
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._draws_after_model)
            yield

    def configure_model(self) -> None:
        """Split the weights over the ranks, where the strategy is one that does.

        Whoever calls this before `setup` finds the vocabularies initialised too.

        Raises:
            ValueError: the strategy also splits single matrices.
        """
        # Without a trainer (Lightning asks for it while it loads a checkpoint) there is nothing to split for.
        if self._trainer is None:
            return
        if self.trainer.state.fn == TrainerFn.FITTING:
            # Lightning's WeightAveraging copies the module before `setup`, but calls this first.
            self._initialize_vocabularies()
        mesh = data_parallel_mesh(self.trainer.strategy)
        if mesh is not None:
            shard_model(self.model, mesh)

    def on_fit_start(self) -> None:
        """Let the model know the scale of its targets, and where there are several ranks, take losses over all batches.

        Raises:
            ValueError: the strategy hands SparseLamb flat pieces of parameters (FSDP1).
        """
        check_whole_tensors(self.trainer.strategy)
        data_module = getattr(self.trainer, "datamodule", None)
        if isinstance(data_module, NeuralDataModule):
            self.model.target_statistics = data_module.target_statistics()
        self.on_fit_end()
        if self.trainer.world_size > 1:
            self._across_ranks = LossAcrossRanks(self.model, self.trainer.world_size)

    def on_fit_end(self) -> None:
        """Leave the model as it was."""
        if self._across_ranks is not None:
            self._across_ranks.remove()
            self._across_ranks = None

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:  # noqa: ARG002
        """Leave readouts alone that no rank had a target for."""
        if self._across_ranks is not None:
            self._across_ranks.drop_absent_gradients()

    def compute_loss(self, outputs: Any, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one batch.

        Args:
            outputs: What the model returns for it with ``unpack_output=False``.
            batch: What `collate` returns.

        Returns:
            The loss and, for several tasks, each task's own.
        """
        if isinstance(self.model, MultitaskDecoderModel):
            return multitask_loss(
                outputs,
                batch["target_values"],
                batch["target_weights"],
                output_decoder_index=batch["model_inputs"]["output_decoder_index"],
                readout_specs=self.model.readout_specs,
            )
        mask = batch["model_inputs"]["output_mask"]
        targets, weights = in_precision_of(outputs, batch["target_values"][mask], batch["target_weights"][mask])
        readout = cast("ModalitySpec", self.model.readout_spec)
        return readout.loss_fn(outputs[mask], targets, weights), {}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:  # noqa: ARG002  # Lightning's
        """One step: forward, loss, logs (``train_loss`` and, for several tasks, ``train_loss/<task>``)."""
        outputs = self.model(**batch["model_inputs"], **_output_counts(self.model, batch), unpack_output=False)
        if self._across_ranks is None:
            loss, task_losses = self.compute_loss(outputs, batch)
            value = loss
        else:
            # The loss of the batch that all ranks hold together: what is logged is the same on each.
            loss, value, task_losses = self._across_ranks(outputs, batch)
        windows = len(batch["session_id"])
        self.log("train_loss", value, prog_bar=True, batch_size=windows)
        self.log_dict({f"train_loss/{task}": value for task, value in task_losses.items()}, batch_size=windows)
        # The scaler of 16-mixed refuses a step without any gradient.
        return None if loss.grad_fn is None and getattr(self.trainer.precision_plugin, "scaler", None) else loss

    def validation_step(  # type: ignore[override]  # Lightning hands any output on to callbacks
        self,
        batch: dict[str, Any],
        batch_idx: int,  # noqa: ARG002
    ) -> StitchData:
        """The windows' predictions beside their targets, for a stitching evaluator."""
        return self._evaluation_step(batch)

    def test_step(  # type: ignore[override]  # as for validation
        self,
        batch: dict[str, Any],
        batch_idx: int,  # noqa: ARG002
    ) -> StitchData:
        """As :meth:`validation_step`."""
        return self._evaluation_step(batch)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> StitchData:  # noqa: ARG002
        """As :meth:`validation_step`: the windows of one batch, which overlap with those of others.

        What they say together is known when all have been seen: :meth:`predict_traces` returns the stitched traces, and
        in a trainer of one's own `nd_train.callbacks.PredictionTraces` collects them.
        """
        return self._evaluation_step(batch)

    def predict_traces(
        self, trainer: L.Trainer, dataloaders: Any = None, *, datamodule: Any = None, ckpt_path: str | None = None
    ) -> dict[str, dict[str, StitchedTrace]]:
        """Predict, and stitch the overlapping windows of each recording into one trace a task.

        Args:
            trainer: Runs the prediction, on any devices.
            dataloaders: Batches as `nd_data.collate` makes them, of windows in any order; or give a data module.
            datamodule: As Lightning's: its ``predict_dataloader`` is used.
            ckpt_path: A checkpoint to load first.

        Returns:
            By recording and task: absolute times in seconds, ascending and each once, with predictions and targets.
            The task of a model with one readout has its name in the data module's configuration, or is ``"readout"``
            without one. On every rank those of all.

        Example (a data module as `NeuralDataModule`)::

            traces = module.predict_traces(trainer, datamodule=data)
            velocity = traces["brainset/session"]["cursor_velocity_2d"].preds
        """
        specs = self.model.readout_specs if isinstance(self.model, MultitaskDecoderModel) else {}
        collected = PredictionTraces({task: spec.id for task, spec in specs.items()})
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # it has; its annotation lacks it
        callbacks.append(collected)
        try:
            trainer.predict(
                self,
                dataloaders,
                datamodule=datamodule,
                ckpt_path=ckpt_path,
                return_predictions=False,
                weights_only=None if ckpt_path is None else True,
            )
        finally:
            callbacks.remove(collected)
        return collected.traces

    def _evaluation_step(self, batch: Mapping[str, Any]) -> StitchData:
        inputs = batch["model_inputs"]
        if isinstance(self.model, MultitaskDecoderModel):
            return DataForMultiTaskDecodingStitchEvaluator(
                timestamps=inputs["output_timestamps"],
                preds=self.model(**inputs, unpack_output=True),
                targets=batch["target_values"],
                decoder_indices=inputs["output_decoder_index"],
                eval_masks=batch["eval_mask"],
                session_ids=batch["session_id"],
                absolute_starts=batch["absolute_start"],
            )
        return DataForDecodingStitchEvaluator(
            timestamps=inputs["output_timestamps"],
            preds=self.model(**inputs, unpack_output=False),
            targets=batch["target_values"],
            eval_masks=batch["eval_mask"] & inputs["output_mask"],
            session_ids=batch["session_id"],
            absolute_starts=batch["absolute_start"],
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and its schedule where one was asked for; of a resumed run, with its length and peak.

        Raises:
            ValueError: a vocabulary is not initialised, or a schedule with an end in a run without.
        """
        for name in ("unit_emb", "session_emb"):
            if getattr(self.model, name).is_lazy():
                ids = "get_unit_ids" if name == "unit_emb" else "get_session_ids"
                raise ValueError(
                    f"the vocabulary of model.{name} is not initialised: call "
                    f"model.{name}.initialize_vocab(dataset.{ids}()) before training, or train with a NeuralDataModule"
                )
        resumed, self._resumed = self._resumed or {}, None
        self._peak_rate = resumed.get("peak") or self._scaled_rate()
        self._schedule_steps = self.hparams["schedule_steps"] or resumed.get("schedule_steps")
        schedule: Schedule = self.hparams["schedule"]
        warmup: float = self.hparams["warmup"]
        descends = schedule in ("one_cycle", "cosine")
        if self._schedule_steps is None and (descends or (schedule == "warmup" and 0 < warmup < 1)):
            self._schedule_steps = run_length(self.trainer, schedule)
        optimizer = build_optimizer(
            self._optimizer,
            decoder_groups(self.model, self.hparams["weight_decay"]),
            lr=self._peak_rate,
            arguments=self.hparams["optimizer_arguments"],
        )
        if schedule == "constant":
            return optimizer
        steps = self._schedule_steps or 0
        factor = rate_factor(
            schedule,
            total_steps=steps,
            warmup_steps=warmup if warmup >= 1 else warmup * steps,
            start_factor=self.hparams["start_factor"],
            end_factor=self.hparams["end_factor"],
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Say so where the run goes on after its schedule has ended."""
        steps = self.trainer.estimated_stepping_batches
        if (
            self.hparams["schedule"] in ("one_cycle", "cosine")
            and self._schedule_steps
            and steps > self._schedule_steps
        ):
            rank_zero_warn(
                f"the learning rate's schedule ends after {self._schedule_steps} steps, the run after {steps}: from "
                f"there on the rate stays at {self._peak_rate or 0.0:g} × {self.hparams['end_factor']:g}. A resumed "
                "run keeps the schedule that it began with; schedule_steps gives it another"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the length of the schedule, and the peak that the batch made of the rate."""
        checkpoint[_RATE] = {"peak": self._peak_rate, "schedule_steps": self._schedule_steps}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take both from the run that is resumed; from any, the scale that its targets had."""
        self.model.target_statistics = statistics_in(checkpoint)
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self._resumed = checkpoint.get(_RATE)

    def _scaled_rate(self) -> float:
        lr: float = self.hparams["lr"]
        base: int | None = self.hparams["base_batch_size"]
        return lr if base is None else lr * global_batch_size(self.trainer) / base


def _output_counts(model: DecoderModel, batch: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """What spares CUDA asking how many queries there are of each task: the targets are as many. Nothing elsewhere."""
    targets = batch["target_values"]
    takes_counts = isinstance(model, MultitaskPoyoBackbone) and set(targets) <= set(model.readout_specs)
    if not takes_counts or batch["model_inputs"]["output_decoder_index"].device.type != "cuda":
        return {}
    return {"output_counts": {task: len(values) for task, values in targets.items() if len(values)}}


def _as_model(model: nn.Module | Mapping[str, Any]) -> DecoderModel:
    if isinstance(model, Mapping):
        configuration = dict(model)
        if "architecture" not in configuration:
            configuration["architecture"] = "POYO" if "readout_spec" in configuration else "POYOPlus"
        model = model_from_config(configuration)
    if not isinstance(model, DecoderModel):
        raise TypeError(
            f"model: expected a model of nd_models or a mapping of its arguments, found {type(model).__name__}"
        )
    return model

"""The loss of a batch that several processes hold together, as exactly as if one process had held it.

Each loss is a mean: of a task's weighted time points, and over windows. The mean of the ranks' means is another number
wherever the ranks hold different numbers of outputs. So what the means divide by is added up over the ranks before the
gradients are computed.

B windows of this rank, N_t time points of task t.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from nd_models import DecoderModel, ModalitySpec, MultitaskDecoderModel
from nd_models.nn import MultitaskReadout
from nd_train.multitask_loss import in_precision_of

AddUp = Callable[[Tensor], Tensor]
"""Turns a tensor into its sum over the ranks."""


class SharedLoss(NamedTuple):
    """The loss of a batch over all ranks.

    Attributes:
        to_differentiate: This rank's part, times the number of ranks: DDP and FSDP average gradients over the ranks,
            and the average of these is the gradient of `value`. Scalar.
        value: The loss of the whole batch, the same on every rank. Scalar, detached.
        tasks: The loss of each task that occurs on any rank, likewise.
    """

    to_differentiate: Tensor
    value: Tensor
    tasks: dict[str, Tensor]


class LossAcrossRanks:
    """Losses over the batches of all ranks; one small exchange between them for each batch.

    A task that is in the batch of some ranks only is read out, of no queries, on the others. So every rank has
    gradients for the same parameters (zeros where it has no such task), as the exchange of gradients requires. A task
    that no rank has leaves its parameters without gradients, as on one process: see `drop_absent_gradients`.

    Args:
        model: What is trained.
        ranks: The number of ranks.
        add_up: How to sum over the ranks; None for torch.distributed's default group.
    """

    def __init__(self, model: DecoderModel, ranks: int, *, add_up: AddUp | None = None) -> None:
        self.model = model
        self.ranks = ranks
        self._add_up = _all_reduced if add_up is None else add_up
        self._used: set[str] = set()
        self._readouts = [module for module in model.modules() if isinstance(module, MultitaskReadout)]
        self._hooks = [readout.register_forward_hook(_read_out_all, with_kwargs=True) for readout in self._readouts]

    def __call__(self, outputs: Any, batch: Mapping[str, Any]) -> SharedLoss:
        """The loss of one batch; every rank must call it.

        Args:
            outputs: What the model returned for this rank's part of the batch, with ``unpack_output=False``.
            batch: What `collate` made of this rank's windows.

        Raises:
            ValueError: a task has predictions and no targets.
        """
        if isinstance(self.model, MultitaskDecoderModel):
            return self._of_tasks(outputs, batch, self.model.readout_specs)
        mask = batch["model_inputs"]["output_mask"]
        spec = cast("ModalitySpec", self.model.readout_spec)
        part = _Part.of(spec.loss_fn, outputs[mask], batch["target_values"][mask], batch["target_weights"][mask])
        total = self._add_up(torch.stack([part.summed(), part.weight]))
        divisor = _or_one(total[1])
        scale = self.ranks * part.weight / divisor
        return SharedLoss(part.loss * scale.to(part.loss.dtype), (total[0] / divisor).to(part.loss.dtype), {})

    def drop_absent_gradients(self) -> None:
        """Forget the gradients, all zero, of readouts of tasks that no rank had since the last optimizer step.

        An optimizer leaves a parameter without a gradient alone, and moves one whose gradient is zero: by its decay and
        its momentum. Where no rank had any target at all, none of the model's parameters has a gradient then, as on one
        process. Call it before each step.
        """
        if self._readouts and not self._used:
            for parameter in self.model.parameters():
                parameter.grad = None
        for readout in self._readouts:
            for task, projection in readout.projections.items():
                if task not in self._used:
                    for parameter in projection.parameters():
                        parameter.grad = None
        self._used.clear()

    def remove(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _of_tasks(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any], specs: Mapping[str, ModalitySpec]
    ) -> SharedLoss:
        index = batch["model_inputs"]["output_decoder_index"]
        parts: dict[str, _Part] = {}
        counts = index.new_zeros((3, len(specs) + 1), dtype=torch.float64)
        counts[0, -1] = index.shape[0]
        for column, (task, spec) in enumerate(specs.items()):
            if task not in outputs or not len(outputs[task]):
                continue
            if task not in batch["target_values"]:
                raise ValueError(
                    f"task '{task}' has predictions but no targets; targets: {sorted(batch['target_values'])}"
                )
            part = _Part.of(
                spec.loss_fn, outputs[task], batch["target_values"][task], batch["target_weights"].get(task)
            )
            parts[task] = part
            counts[:, column] = torch.stack(
                [torch.any(index == spec.id, dim=1).sum().double(), part.summed(), part.weight]
            )
        windows, sums, weights = self._add_up(counts)
        batch_size = windows[-1]
        present = [task for task, number in zip(specs, windows[:-1].tolist(), strict=True) if number]
        self._used.update(present)
        values = sums / _or_one(weights)
        # What each task's own loss counts: its share of the windows, over what its mean divides by.
        scales = self.ranks * windows / batch_size / _or_one(weights)
        dtype = next((part.loss.dtype for part in parts.values()), None)
        if dtype is None:  # of a rank without any target
            dtype = torch.promote_types(next(iter(outputs.values())).dtype, torch.float32)
        # Empty predictions add nothing, and let gradients, zeros, reach every parameter.
        total = sum((empty.sum() for empty in outputs.values() if not len(empty)), index.new_zeros((), dtype=dtype))
        for column, task in enumerate(specs):
            if task in parts:
                part = parts[task]
                total = total + part.loss * (scales[column] * part.weight).to(part.loss.dtype)
        return SharedLoss(
            total,
            (values * windows / batch_size)[:-1].sum().to(dtype),
            {task: values[column].to(dtype) for column, task in enumerate(specs) if task in present},
        )


class _Part(NamedTuple):
    """A rank's mean loss of one task, with a gradient, and the weight of the time points behind it, in float64."""

    loss: Tensor
    weight: Tensor

    @classmethod
    def of(cls, loss_fn: nn.Module, predictions: Tensor, targets: Tensor, weights: Tensor | None) -> "_Part":
        targets, weights = in_precision_of(predictions, targets, weights)
        loss = loss_fn(predictions, targets, weights)
        total_weight = getattr(loss_fn, "total_weight", None)
        if total_weight is not None:
            return cls(loss, total_weight(predictions, targets, weights).detach())
        # A loss of the user's own is a weighted mean over time points, as the contract of losses says.
        if weights is None:
            return cls(loss, predictions.new_full((), len(predictions), dtype=torch.float64))
        return cls(loss, weights.sum(dtype=torch.float64))

    def summed(self) -> Tensor:
        return self.loss.detach().double() * self.weight


def _read_out_all(readout: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any], outputs: Any) -> Any:
    """A forward hook of a readout: predictions of no queries for every task that nobody asked for."""
    if not torch.is_grad_enabled() or not isinstance(outputs, dict):
        return None
    readout = cast("MultitaskReadout", readout)
    embeddings = keywords["output_embs"] if "output_embs" in keywords else args[0]
    none = embeddings.flatten(0, 1)[:0]
    absent = {task: layer(none) for task, layer in readout.projections.items() if task not in outputs}
    return {**outputs, **absent}


def _all_reduced(values: Tensor) -> Tensor:
    torch.distributed.all_reduce(values)
    return values


def _or_one(weights: Tensor) -> Tensor:
    return torch.where(weights == 0, torch.ones_like(weights), weights)

"""Evaluation of decoders on stitched predictions, for one readout and for many: what callbacks wrap.

Shape legend: ``B`` windows, ``N_out`` output times of a window (padded), ``M`` outputs of a batch that are no padding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Generic, Self, TypeVar

import torch
import torchmetrics

from nd_eval.accumulator import StitchingAccumulator
from nd_eval.class_range import check_classes
from nd_eval.evaluation_result import EvaluationResult
from nd_eval.evaluator_data import DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator
from nd_eval.known_name import did_you_mean
from nd_eval.metrics.metric_table import build_metric
from nd_eval.scoring import MetricsByRecording, default_metrics, score_traces
from nd_eval.window_outputs import WindowOutputs, multi_task_outputs, single_task_outputs

Batch = TypeVar("Batch", DataForDecodingStitchEvaluator, DataForMultiTaskDecodingStitchEvaluator)


class _StitchEvaluation(ABC, Generic[Batch]):
    """Collects batches in a stitching accumulator and scores what it stitches."""

    def __init__(self, tolerance: float, *, in_order: bool) -> None:
        self.accumulator = StitchingAccumulator(tolerance=tolerance, in_order=in_order)
        self._default_of_classes = tuple(default_metrics(torch.empty(0, dtype=torch.int64)).values())

    def update(self, data: Batch) -> None:
        """Take in one batch; nothing of it is kept or changed. Batches may come in any order, windows more than once.

        Raises:
            ValueError: lengths differ, a time is not finite, a recording or a task is unknown, a prediction is without
                target, or a class is outside the range of the logits or of a metric. The message names recording and
                task, and nothing of the batch is taken.
            TypeError: predictions or targets change between floats and classes.
        """
        complete = list(self._outputs(data))
        for outputs in complete:
            self._check(outputs)
            if len(complete) > 1:  # taking is all or none by itself
                self.accumulator.check(outputs.recording, outputs.task, outputs.values)
        for outputs in complete:
            self.accumulator.take(outputs.recording, outputs.task, outputs.values, outputs.time_error)

    def merge(self, other: Self) -> None:
        """Add what the evaluation of another process collected."""
        self.accumulator.merge(other.accumulator)

    def reset(self) -> None:
        """Forget the batches, for the next epoch."""
        self.accumulator.reset()

    def state_dict(self) -> dict[str, Any]:
        """What was collected, as plain data and CPU tensors, to gather across processes."""
        return self.accumulator.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become what :meth:`state_dict` described."""
        self.accumulator.load_state_dict(state)

    def merge_states(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Become the sum of the states of all processes, this one among them, as ``all_gather_object`` gives them."""
        merged = StitchingAccumulator.merged(states)
        merged.in_order = self.accumulator.in_order
        self.accumulator = merged

    @abstractmethod
    def compute(self) -> EvaluationResult:
        """Stitch and score everything collected since the last reset; nothing is forgotten."""

    @abstractmethod
    def _outputs(self, data: Batch) -> Iterable[WindowOutputs]: ...

    @abstractmethod
    def _known_recordings(self) -> Iterable[str] | None: ...

    @abstractmethod
    def _metrics_of(self, recording: str, task: str) -> Iterable[torchmetrics.Metric] | None:
        """Metrics that will score a task of a recording; None: what its targets suggest."""

    def _check(self, outputs: WindowOutputs) -> None:
        self._check_recording(outputs.recording)
        if outputs.values.targets.is_floating_point():
            return
        metrics = self._metrics_of(outputs.recording, outputs.task)
        if metrics is None:
            metrics = self._default_of_classes
        try:
            check_classes(outputs.values.preds, outputs.values.targets, metrics)
        except ValueError as problem:
            raise ValueError(f"recording {outputs.recording!r}, task {outputs.task!r}: {problem}") from None

    def _check_recording(self, recording: str) -> None:
        known = self._known_recordings()
        if known is None or recording in known:
            return
        listed = sorted(known)
        hint = did_you_mean(recording, listed)
        shown = ", ".join(map(repr, listed[:10])) + (f", … ({len(listed)} in all)" if len(listed) > 10 else "")
        raise ValueError(f"recording {recording!r} is not among those to evaluate{hint}; they are {shown or 'none'}")


class DecodingStitchEvaluation(_StitchEvaluation[DataForDecodingStitchEvaluator]):
    """Evaluation of a model with one readout, such as POYO.

    Args:
        session_ids: The recordings to evaluate; a batch with another one is an error, and those without an evaluated
            time are named in the result. None takes what comes.
        metric: A metric of the table by name, a torchmetrics metric, or several by name; each recording gets its own
            copy. None scores targets that are floats by R² and classes, integers, by balanced accuracy; labels of 0 and
            1 that are kept as floats beside logits want a metric.
        task: What the readout is called in the result.
        tolerance: Times closer than this many seconds are one time.
        in_order: Whether the windows of each recording come in the order of their starts; memory then holds one value
            for each time in place of one for each window and time. See :class:`~nd_eval.StitchingAccumulator`.

    Example:
        >>> import torch
        >>> from nd_eval import DataForDecodingStitchEvaluator, DecodingStitchEvaluation
        >>> evaluation = DecodingStitchEvaluation(["monkey/day1"], metric="mse")
        >>> relative = torch.arange(10) * 0.1
        >>> evaluation.update(
        ...     DataForDecodingStitchEvaluator(
        ...         timestamps=relative.repeat(2, 1),
        ...         preds=torch.tensor([1.0, 3.0]).reshape(2, 1, 1).expand(2, 10, 1),
        ...         targets=torch.full((2, 10, 1), 2.0),
        ...         eval_masks=torch.ones(2, 10, dtype=torch.bool),
        ...         session_ids=["monkey/day1", "monkey/day1"],
        ...         absolute_starts=torch.tensor([60.0, 60.5], dtype=torch.float64),
        ...     )
        ... )
        >>> evaluation.compute().score  # 5 times are in both windows and exact, 10 are off by 1
        -0.6666666666666666
    """

    def __init__(
        self,
        session_ids: Iterable[str] | None = None,
        metric: str | torchmetrics.Metric | Mapping[str, str | torchmetrics.Metric] | None = None,
        *,
        task: str = "readout",
        tolerance: float = 1e-6,
        in_order: bool = False,
    ) -> None:
        super().__init__(tolerance, in_order=in_order)
        self.session_ids = None if session_ids is None else tuple(dict.fromkeys(session_ids))
        self.task = task
        self.metrics = _named_metrics(metric)

    def compute(self) -> EvaluationResult:
        """Stitch and score everything collected since the last reset; nothing is forgotten."""
        seen = [recording for recording, _ in self.accumulator.seen]
        recordings = [*(self.session_ids or ()), *seen]
        metrics = None if self.metrics is None else {recording: {self.task: self.metrics} for recording in recordings}
        expected = [(recording, self.task) for recording in recordings]
        return score_traces(self.accumulator.compute(), metrics=metrics, expected=expected)

    def _outputs(self, data: DataForDecodingStitchEvaluator) -> Iterable[WindowOutputs]:
        return single_task_outputs(data, self.task)

    def _known_recordings(self) -> Iterable[str] | None:
        return self.session_ids

    def _metrics_of(self, recording: str, task: str) -> Iterable[torchmetrics.Metric] | None:  # noqa: ARG002 all alike
        return None if self.metrics is None else self.metrics.values()


class MultiTaskDecodingStitchEvaluation(_StitchEvaluation[DataForMultiTaskDecodingStitchEvaluator]):
    """Evaluation of a model with one readout per task, such as POYO+.

    Args:
        metrics: Metrics by recording, task and name. A recording that is not among them is an error; a task without
            metrics is stitched but not scored. The metrics are copied, never changed. None takes what comes and scores
            targets that are floats by R² and classes, integers, by balanced accuracy.
        task_ids: The modality id of each task, as in ``decoder_indices``; 0 is padding.
        tolerance: Times closer than this many seconds are one time.
        in_order: As for :class:`DecodingStitchEvaluation`.

    Raises:
        ValueError: an id is 0 or belongs to two tasks.
    """

    def __init__(
        self,
        metrics: MetricsByRecording | None = None,
        *,
        task_ids: Mapping[str, int],
        tolerance: float = 1e-6,
        in_order: bool = False,
    ) -> None:
        super().__init__(tolerance, in_order=in_order)
        self.metrics = metrics
        self.task_ids = {task: int(number) for task, number in task_ids.items()}
        for number in self.task_ids.values():
            same = [other for other, value in self.task_ids.items() if value == number]
            if number == 0 or len(same) > 1:
                raise ValueError(f"the ids of tasks must differ and not be 0; found {number} for {', '.join(same)}")

    def compute(self) -> EvaluationResult:
        """Stitch and score everything collected since the last reset; nothing is forgotten."""
        wanted = [(recording, task) for recording, tasks in (self.metrics or {}).items() for task in tasks]
        expected = [*wanted, *self.accumulator.seen]
        return score_traces(self.accumulator.compute(), metrics=self.metrics, expected=expected)

    def _outputs(self, data: DataForMultiTaskDecodingStitchEvaluator) -> Iterable[WindowOutputs]:
        return multi_task_outputs(data, self.task_ids)

    def _known_recordings(self) -> Iterable[str] | None:
        return self.metrics

    def _metrics_of(self, recording: str, task: str) -> Iterable[torchmetrics.Metric] | None:
        return None if self.metrics is None else self.metrics.get(recording, {}).get(task, {}).values()


def _named_metrics(
    metric: str | torchmetrics.Metric | Mapping[str, str | torchmetrics.Metric] | None,
) -> dict[str, torchmetrics.Metric] | None:
    if metric is None:
        return None
    if isinstance(metric, str):
        return {metric: build_metric(metric)}
    if isinstance(metric, torchmetrics.Metric):
        return {type(metric).__name__: metric}
    return {name: build_metric(one) if isinstance(one, str) else one for name, one in metric.items()}

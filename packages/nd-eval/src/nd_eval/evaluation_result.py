"""What an evaluation found: scores, their averages, and the one number to select a model by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torchmetrics

from nd_eval.stitched_trace import StitchedTrace
from nd_eval.uncertainty.score_intervals import ConfidenceIntervals, OverRecordings, intervals_of_scores

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of stitched predictions.

    Attributes:
        scores: Score by recording, task and metric, as the metric gives it (errors are positive).
        averages: Mean over recordings by task and metric, as the metric gives it.
        score: The monitored number, larger is better: the mean over all recordings, tasks and metrics with the sign of
            errors turned. NaN where there is nothing to average, or a score is NaN for the model's own doing.
        is_mixed: Whether ``score`` puts metrics of more than one name together, whose scales differ.
        statement: What ``score`` is the mean of, in words.
        larger_is_better: By metric name; None for a metric that does not say, which ``score`` leaves out.
        left_out: Recordings of which not a single time was evaluated.
        left_out_tasks: Every (recording, task) of which not a single time was evaluated.
        undefined: Every (recording, task, metric) whose score does not exist because the targets are constant or only
            one time was evaluated. Such scores are NaN in ``scores`` and left out of ``averages`` and ``score``.
        unobserved: Number of evaluated times by (recording, task) whose target is NaN; the scores leave them out.
        traces: Stitched times, predictions and targets by recording and task, unobserved times included.
        metrics: What each score was computed by, in the layout of ``scores``.
    """

    scores: Scores
    averages: Mapping[str, Mapping[str, float]]
    score: float
    is_mixed: bool
    statement: str
    larger_is_better: Mapping[str, bool | None]
    left_out: tuple[str, ...] = ()
    left_out_tasks: tuple[tuple[str, str], ...] = ()
    undefined: tuple[tuple[str, str, str], ...] = ()
    unobserved: Mapping[tuple[str, str], int] = field(default_factory=dict)
    traces: Mapping[str, Mapping[str, StitchedTrace]] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Mapping[str, torchmetrics.Metric]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def rows(self) -> list[tuple[str, str, str, float]]:
        """Every score as (recording, task, metric, value), for a table."""
        return [
            (recording, task, metric, value)
            for recording, tasks in self.scores.items()
            for task, metrics in tasks.items()
            for metric, value in metrics.items()
        ]

    def to_log(self, prefix: str = "val") -> dict[str, float]:
        """The scores under the names that loggers and checkpoints know.

        ``{recording}/{task}/{metric}/{prefix}`` for each score; ``average_{task}_{metric}_{prefix}`` for the averages;
        ``average_{task}_{prefix}_metric`` for a task's share of the monitored score; ``average_{prefix}_metric`` for
        the monitored score. In the last two larger is better.
        """
        log = {f"{recording}/{task}/{metric}/{prefix}": value for recording, task, metric, value in self.rows()}
        for task, metrics in self.averages.items():
            for metric, value in metrics.items():
                log[f"average_{task}_{metric}_{prefix}"] = value
            log[f"average_{task}_{prefix}_metric"] = monitored_score(
                self.rows(), self.larger_is_better, self.undefined, task=task
            )
        log[f"average_{prefix}_metric"] = self.score
        return log

    def confidence_intervals(
        self,
        level: float = 0.95,
        *,
        resamples: int = 1000,
        seed: int = 0,
        block_seconds: float | None = None,
        over_recordings: OverRecordings = "fixed",
    ) -> ConfidenceIntervals:
        """Confidence intervals of every score and of every average, by a block bootstrap over stitched time.

        What neighbouring times have in common is kept by drawing them in blocks, whose length follows from the
        autocorrelation of each score; see docs/explanation/uncertainty.

        Args:
            level: Share of repetitions in which the interval is to hold the truth.
            resamples: Number of resamples of each score.
            seed: The same seed gives the same intervals, whatever other recordings there are.
            block_seconds: Length of a block; None chooses it for each score.
            over_recordings: Whether averages are to hold for these recordings (``fixed``: only time is random), or for
                recordings like these (``sampled``: Student's t over the recordings' scores, at least two).

        Raises:
            ValueError: the level is not between 0 and 1, there are fewer than 100 resamples, or a block has no length.
        """
        return intervals_of_scores(
            self.traces,
            self.metrics,
            self.undefined,
            level=level,
            resamples=resamples,
            seed=seed,
            block_seconds=block_seconds,
            over_recordings=over_recordings,
        )


def monitored_score(
    rows: list[tuple[str, str, str, float]],
    larger_is_better: Mapping[str, bool | None],
    undefined: tuple[tuple[str, str, str], ...],
    *,
    task: str | None = None,
) -> float:
    """Mean of the scores with errors negated, of one task or of all; NaN of nothing."""
    missing = set(undefined)
    turned = [
        value if larger_is_better[metric] else -value
        for recording, row_task, metric, value in rows
        if larger_is_better[metric] is not None
        and (recording, row_task, metric) not in missing
        and task in (None, row_task)
    ]
    return sum(turned) / len(turned) if turned else float("nan")

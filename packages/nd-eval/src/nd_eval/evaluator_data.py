"""What a validation step hands to an evaluation: one batch of windows with their outputs.

Shape legend: ``B`` windows, ``N_out`` output times of a window (padded), ``D`` dimensions of the output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass
class DataForDecodingStitchEvaluator:
    """A batch of a model with one readout.

    Attributes:
        timestamps: Times of the outputs, seconds from the start of their window. Shape: (B, N_out).
        preds: Predictions, (B, N_out, D) padded, or one tensor (n_i, D) per window with its first n_i outputs, as a
            model called with ``unpack_output=True`` returns them. Floats (values or logits) or class indices.
        targets: Targets in the same layout, (B, N_out, D) or (B, N_out), or one tensor per window.
        eval_masks: True where an output is evaluated, False on padding. Shape: (B, N_out).
        session_ids: Recording of each window.
        absolute_starts: Absolute start of each window in seconds, float64. Shape: (B,).
    """

    timestamps: Tensor
    preds: Tensor | Sequence[Tensor]
    targets: Tensor | Sequence[Tensor]
    eval_masks: Tensor
    session_ids: Sequence[str]
    absolute_starts: Tensor | Sequence[float]


@dataclass
class DataForMultiTaskDecodingStitchEvaluator:
    """A batch of a model with one readout per task.

    Attributes:
        timestamps: Times of the outputs, seconds from the start of their window. Shape: (B, N_out).
        preds: For each window its predictions by task, (n_i, D), in the order in which the task's outputs stand in
            ``timestamps[i]``: what a model called with ``unpack_output=True`` returns.
        targets: Targets by task, chained over the windows in their order; a window without the task adds none.
        decoder_indices: Modality of each output, 0 for padding. Shape: (B, N_out).
        eval_masks: By task, True where an output is evaluated, chained as the targets are.
        session_ids: Recording of each window.
        absolute_starts: Absolute start of each window in seconds, float64. Shape: (B,).
    """

    timestamps: Tensor
    preds: Sequence[Mapping[str, Tensor]]
    targets: Mapping[str, Tensor]
    decoder_indices: Tensor
    eval_masks: Mapping[str, Tensor]
    session_ids: Sequence[str]
    absolute_starts: Tensor | Sequence[float]

"""What a window of several readouts asks for, and what should be answered, marked for `nd_data.collate`.

Shapes: N time points of all readouts together.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nd_data.collate_marks import Chained
from nd_data.window_values import peek
from nd_models.readout import multitask_targets
from nd_models.readout_plan import ReadoutRequest

if TYPE_CHECKING:
    from nd_data import Data


def multitask_tokens(
    data: "Data", requests: Iterable[ReadoutRequest], known: Mapping[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.int64], dict[str, Any]]:
    """Queries and targets of the readouts that a window asks for.

    Args:
        data: A window of a recording.
        requests: See `nd_models.readout_plan`.
        known: What of it was read before (`nd_data.window_values.read_values`).

    Returns:
        Times in seconds from the window's start, shape (N,); the ids of the tasks asked for, shape (N,); and what
        stands beside `model_inputs` in a window's tokens: `target_values`, `target_weights` and `eval_mask`, which a
        batch chains by task, `session_id` and `absolute_start`.

    Raises:
        KeyError, ValueError: as `nd_models.prepare_for_multitask_readout`.
    """
    timestamps, values, task_index, weights, eval_mask = multitask_targets(data, requests, known)
    fields = {
        "target_values": Chained(values, allow_missing_keys=True),
        "target_weights": Chained(weights, allow_missing_keys=True),
        "session_id": peek(data, "session.id"),
        "absolute_start": data.absolute_start,
        "eval_mask": Chained(eval_mask, allow_missing_keys=True),
    }
    return timestamps, task_index, fields

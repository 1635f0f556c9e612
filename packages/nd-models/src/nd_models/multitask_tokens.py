"""What a window of several readouts asks for, and what should be answered, marked for `nd_data.collate`.

Shapes: N time points of all readouts together.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nd_data import chain
from nd_data.window_values import peek
from nd_models.modality import ModalitySpec
from nd_models.readout import prepare_for_multitask_readout

if TYPE_CHECKING:
    from nd_data import Data


def multitask_tokens(
    data: "Data", readout_specs: Mapping[str, ModalitySpec], known: Mapping[str, Any] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64], dict[str, Any]]:
    """Queries and targets of all readouts in `data.config["multitask_readout"]`.

    Args:
        data: A window of a recording, with its configuration.
        readout_specs: The readouts that the model has, by name.
        known: What of it was read before (`nd_data.window_values.read_values`).

    Returns:
        Times in seconds from the window's start, shape (N,); the ids of the tasks asked for, shape (N,); and what
        stands beside `model_inputs` in a window's tokens: `target_values`, `target_weights` and `eval_mask`, which a
        batch chains by task, `session_id` and `absolute_start`.

    Raises:
        KeyError, ValueError: as `nd_models.prepare_for_multitask_readout`.
    """
    timestamps, values, task_index, weights, eval_mask = prepare_for_multitask_readout(data, readout_specs, known=known)
    fields = {
        "target_values": chain(values, allow_missing_keys=True),
        "target_weights": chain(weights, allow_missing_keys=True),
        "session_id": peek(data, "session.id"),
        "absolute_start": data.absolute_start,
        "eval_mask": chain(eval_mask, allow_missing_keys=True),
    }
    return timestamps, task_index, fields

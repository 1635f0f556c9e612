"""Targets of many windows at once, straight into the tensors of a batch.

Shapes: B windows, N_out queries of the window with most of them, rounded up to a multiple of 8; n time points of one
task over the whole batch, C channels.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nd_data import chain, collate
from nd_data.window_values import peek
from nd_models.readout import targets
from nd_models.readout_plan import ReadoutPlan

if TYPE_CHECKING:
    from nd_data import Data
    from nd_models.nn import InfiniteVocabEmbedding


def multitask_batch(
    windows: "Sequence[Data]",
    plans: Sequence[ReadoutPlan],
    known: Sequence[Mapping[str, Any]],
    session_embedding: "InfiniteVocabEmbedding",
) -> dict[str, Any]:
    """What POYO+ asks of many windows, and the answers.

    Args:
        windows: B windows of recordings, with their configurations.
        plans: What the configuration of each asks for.
        known: What of each was read before (`nd_data.window_values.read_values`).
        session_embedding: What numbers the sessions.

    Returns:
        The batch as `nd_data.collate` makes it of the windows' tokens, but for the inputs and latents in
        `model_inputs`: `output_session_index`, `output_timestamps` and `output_decoder_index` of shape (B, N_out);
        `target_values`, `target_weights` and `eval_mask` by task, of shape (n, C) or (n,); `session_id` and
        `absolute_start`, one a window.

    Raises:
        KeyError, ValueError: as `nd_models.prepare_for_multitask_readout`.
    """
    values: dict[str, list[NDArray[Any]]] = {}
    weights: dict[str, list[NDArray[np.float32]]] = {}
    masks: dict[str, list[NDArray[np.bool_]]] = {}
    times: list[NDArray[np.float64]] = []
    ids: list[int] = []  # of each task of each window
    tasks: list[int] = []  # of each window
    for window, plan, read in zip(windows, plans, known, strict=True):
        for request in plan.requests:
            name = request.name
            timestamps, of_task, weight, mask = targets(window, request, read)
            values.setdefault(name, []).append(of_task)
            weights.setdefault(name, []).append(weight)
            masks.setdefault(name, []).append(mask)
            times.append(timestamps)
            ids.append(request.spec.id)
        tasks.append(len(plan.requests))
    sessions = [peek(window, "session.id") for window in windows]
    rows = [session_embedding.tokenizer(session) for session in sessions]
    return {
        "model_inputs": _padded_queries(times, ids, tasks, rows),
        "target_values": _chained(values),
        "target_weights": _chained(weights),
        "session_id": sessions,
        "absolute_start": collate([window.absolute_start for window in windows]),
        "eval_mask": _chained(masks),
    }


def _padded_queries(
    times: list[NDArray[np.float64]], ids: list[int], tasks: list[int], rows: list[int]
) -> dict[str, Tensor]:
    # Behind the queries of each window comes what it lacks, of task 0 and session 0 and at time 0.
    counts: list[int] = []
    lengths: list[int] = []
    for number in tasks:
        counts += map(len, times[len(counts) : len(counts) + number])
        lengths.append(sum(counts[len(counts) - number :]))
    longest = -(-max(lengths) // 8) * 8
    nothing = np.zeros(longest)
    pieces: list[NDArray[np.float64]] = []
    repeated_ids: list[int] = []
    repeated_counts: list[int] = []
    first = 0
    for number, length in zip(tasks, lengths, strict=True):
        last = first + number
        missing = longest - length
        pieces += (*times[first:last], nothing[:missing])
        repeated_ids += (*ids[first:last], 0)
        repeated_counts += (*counts[first:last], missing)
        first = last
    of_sessions = np.zeros((len(tasks), 2), dtype=np.int64)
    of_sessions[:, 0] = rows
    queries = np.array(lengths)
    arrays = {
        "output_session_index": np.repeat(of_sessions.ravel(), np.stack([queries, longest - queries], axis=1).ravel()),
        "output_timestamps": np.concatenate(pieces),
        "output_decoder_index": np.repeat(np.array(repeated_ids, dtype=np.int64), repeated_counts),
    }
    return {name: torch.from_numpy(array.reshape(len(tasks), longest)) for name, array in arrays.items()}


def _chained(arrays: dict[str, list[Any]]) -> dict[str, Tensor]:
    return {name: collate(list(map(chain, of_windows))) for name, of_windows in arrays.items()}

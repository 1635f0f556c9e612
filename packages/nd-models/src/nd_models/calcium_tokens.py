"""The input tokens of a window of calcium imaging: one a cell and frame, with the cell's value.

Shapes: B windows, F frames and U cells of a window, N = F·U tokens of it, T tokens of the longest window, rounded up to
a multiple of 8. Times are float64 seconds from the window's start.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nd_data import pad8, track_mask8
from nd_data.nearest_names import name_hint
from nd_data.window_values import peek

if TYPE_CHECKING:
    from nd_data import Data
    from nd_models.nn import InfiniteVocabEmbedding


class Traces(NamedTuple):
    """What was measured in a window.

    Attributes:
        rows: Row of the vocabulary of each cell. Shape: (U,), int64.
        times: Shape: (F,), float64.
        values: Shape: (F, U), floating point as the recording has it.
        known: Where there is a value; None where there is one everywhere. Shape: (F, U).
    """

    rows: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[Any]
    known: NDArray[np.bool_] | None

    def __len__(self) -> int:
        return self.values.size if self.known is None else int(np.count_nonzero(self.known))

    def write(self, rows: NDArray[np.int64], times: NDArray[np.float64], values: NDArray[Any]) -> None:
        """Put the tokens into arrays, frame after frame. Shapes: (N,), (N,), (N,)."""
        shape = self.values.shape
        if self.known is None:
            rows.reshape(shape)[:] = self.rows
            times.reshape(shape)[:] = self.times[:, np.newaxis]
            values.reshape(shape)[:] = self.values
        else:
            rows[:] = np.broadcast_to(self.rows, shape)[self.known]
            times[:] = np.broadcast_to(self.times[:, np.newaxis], shape)[self.known]
            values[:] = self.values[self.known]


class CalciumTokens:
    """Makes the input tokens of windows out of their calcium traces: a `nd_models.input_tokens.InputTokenMaker`.

    There are no tokens for the start and end of cells: each cell speaks in every frame. What was not measured (NaN, and
    frames that only fill a gap between runs) has no token.
    """

    paths: tuple[str, ...] = ()  # what a window has of its traces is read from the window

    def __call__(
        self,
        data: "Data",
        embedding: "InfiniteVocabEmbedding",
        known: Mapping[str, Any],  # noqa: ARG002 - see `paths`
    ) -> dict[str, Any]:
        """The tokens of a window's cells and frames.

        Args:
            data: A window with `units.id` and `calcium_traces`, a series with `df_over_f` of shape (F, U).
            embedding: What numbers the cells.
            known: Not used.

        Returns:
            `input_unit_index` and `input_timestamps`, shape (N,), and `input_values`, shape (N, 1), in the dtype of the
            recording, frame after frame, marked for padding; and `input_mask`.

        Raises:
            KeyError: a cell is not in the vocabulary, or the recording has no such traces.
            ValueError: no vocabulary yet, or values that do not fit the cells.
        """
        traces = read_traces(data, embedding)
        tokens = len(traces)
        rows, times, values = np.empty(tokens, np.int64), np.empty(tokens), np.empty(tokens, traces.values.dtype)
        traces.write(rows, times, values)
        return {
            "input_unit_index": pad8(rows),
            "input_timestamps": pad8(times),
            "input_values": pad8(values[:, np.newaxis]),
            "input_mask": track_mask8(rows),
        }

    def batch(
        self,
        windows: "Sequence[Data]",
        embedding: "InfiniteVocabEmbedding",
        known: Sequence[Mapping[str, Any]],  # noqa: ARG002 - see `paths`
    ) -> dict[str, Tensor]:
        """The tokens of many windows, padded: each value is copied once, from its window to its place in the batch.

        Args:
            windows: B windows.
            embedding: What numbers the cells.
            known: Not used.

        Returns:
            `input_unit_index`, `input_timestamps` and `input_mask` of shape (B, T), and `input_values` of shape
            (B, T, 1), as `nd_data.collate` makes them of padded tokens.

        Raises:
            KeyError, ValueError: as for one window.
        """
        parts = [read_traces(window, embedding) for window in windows]
        lengths = np.array([len(traces) for traces in parts])
        longest = -(-int(lengths.max()) // 8) * 8
        shape = len(parts), longest
        # Windows without any token do not count.
        kinds = {traces.values.dtype for traces in parts if len(traces)} or {parts[0].values.dtype}
        rows, times = np.zeros(shape, np.int64), np.zeros(shape)
        values = np.zeros(shape, np.result_type(*kinds).newbyteorder("="))
        for number, (traces, length) in enumerate(zip(parts, lengths.tolist(), strict=True)):
            traces.write(rows[number, :length], times[number, :length], values[number, :length])
        arrays = {
            "input_unit_index": rows,
            "input_timestamps": times,
            "input_values": values[..., np.newaxis],
            "input_mask": np.arange(longest) < lengths[:, np.newaxis],
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def read_traces(data: "Data", embedding: "InfiniteVocabEmbedding") -> Traces:
    """The calcium traces of a window.

    Raises:
        KeyError: a cell is not in the vocabulary, or the recording has no such traces.
        ValueError: no vocabulary yet, or values that do not fit the cells.
    """
    rows = np.asarray(embedding.tokenizer(peek(data, "units.id")), dtype=np.int64)
    times, values, known = measured_values(data, len(rows))
    return Traces(rows, times, values, None if known.all() else known)


def measured_values(data: "Data", cells: int) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.bool_]]:
    """ΔF/F of a window, and where it was measured.

    Args:
        data: A window with `calcium_traces`.
        cells: U.

    Returns:
        Times, shape (F,), values, shape (F, U), and whether there is one, shape (F, U): not where it is NaN, nor in
        frames that only fill a gap.

    Raises:
        KeyError: the recording has no such traces.
        ValueError: the values do not fit the cells.
    """
    series = _member(data, data, "calcium_traces")
    values = np.asarray(_member(data, series, "df_over_f"))
    if values.dtype.kind != "f" or values.shape[1:] != (cells,):
        raise ValueError(
            f"recording {data.session.id!r}: calcium_traces.df_over_f must be floating point with one column for each "
            f"of {cells} units, got {values.dtype} of shape {values.shape}"
        )
    known = ~np.isnan(values)
    if hasattr(series, "is_gappy") and series.is_gappy():
        known &= series.index_mask()[:, np.newaxis]
    return series.timestamps, values, known


def _member(data: "Data", holder: Any, name: str) -> Any:
    try:
        return getattr(holder, name)
    except AttributeError:
        raise KeyError(
            f"recording {data.session.id!r} has no calcium_traces.df_over_f, which a calcium model reads; "
            f"{name_hint(name, list(holder.keys()), noun='known')}"
        ) from None

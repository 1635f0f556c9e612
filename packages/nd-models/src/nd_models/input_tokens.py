"""The input tokens of a window, from what depends on the recording alone and what changes with every window.

Shapes: B windows, U units, N spikes of the window, T tokens of the longest window, rounded up to a multiple of 8.
Times are float64 seconds from the window's start.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nd_data.collate_marks import Padded
from nd_data.constant_array import constant_array
from nd_data.window_values import peek
from nd_models.filled import all_true
from nd_models.nn.recent_arrays import ConstantArrays
from nd_models.tokens import TokenType, create_start_end_unit_tokens

if TYPE_CHECKING:
    from nd_data import Data
    from nd_models.nn import InfiniteVocabEmbedding

_REMEMBERED_NUMBERS_OF_UNITS = 256


class InputTokenMaker(Protocol):
    """What makes the input tokens of windows: names of `forward`'s arguments to their arrays.

    Attributes:
        paths: What is read of every window.
    """

    paths: tuple[str, ...]

    def __call__(self, data: "Data", embedding: "InfiniteVocabEmbedding", known: Mapping[str, Any]) -> dict[str, Any]:
        """The tokens of a window, marked for `nd_data.collate`."""

    def batch(
        self, windows: "Sequence[Data]", embedding: "InfiniteVocabEmbedding", known: Sequence[Mapping[str, Any]]
    ) -> dict[str, Tensor]:
        """What `nd_data.collate` makes of the tokens of many windows."""


class UnitTokens(NamedTuple):
    """The tokens that every window of a recording begins with: a start and an end of each unit.

    Attributes:
        vocabulary: The vocabulary that the rows refer to.
        row_of_unit: Row of the vocabulary of each unit. Shape: (U,), int64.
        rows: Row of each token. Shape: (2·U,), int64.
        times: Shape: (2·U,), float64.
    """

    vocabulary: "OrderedDict[str, int] | None"
    row_of_unit: NDArray[np.int64]
    rows: NDArray[np.int64]
    times: NDArray[np.float64]


class InputTokens:
    """Makes the input tokens of windows out of their spikes: an `InputTokenMaker`.

    What follows from the unit ids alone is kept for those that can never change, as the ids of a dataset's recordings
    are, and found again as long as the vocabulary stays the same.

    Args:
        sequence_length: Length of a window in seconds.
    """

    paths: tuple[str, ...] = ("spikes.timestamps", "spikes.unit_index")

    def __init__(self, sequence_length: float) -> None:
        self.sequence_length = sequence_length
        self._known: ConstantArrays[UnitTokens] = ConstantArrays()
        self._types: dict[int, NDArray[np.int64]] = {}
        self._layouts: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}

    def __call__(self, data: "Data", embedding: "InfiniteVocabEmbedding", known: Mapping[str, Any]) -> dict[str, Any]:
        """The tokens of a window's units and spikes.

        Args:
            data: A window with `units.id`, `spikes.timestamps` and `spikes.unit_index`.
            embedding: What numbers the units.
            known: What of it was read before (`nd_data.window_values.read_values`).

        Returns:
            `input_unit_index`, `input_timestamps` and `input_token_type`, each of shape (2·U + N,), marked for padding:
            the units' tokens, then the spikes; and `input_mask`. The types cannot be written to: windows share them.

        Raises:
            KeyError: a unit is not in the vocabulary.
            ValueError: no vocabulary yet, or a spike of a unit that there is not.
        """
        units, rows_of_spikes, times_of_spikes = self._of_window(data, embedding, known)
        rows = np.concatenate((units.rows, rows_of_spikes))
        times = np.concatenate((units.times, times_of_spikes))
        return {
            "input_unit_index": Padded(rows, 8),
            "input_timestamps": Padded(times, 8),
            "input_token_type": Padded(self._token_types(len(units.row_of_unit), len(rows)), 8),
            "input_mask": Padded(all_true(len(rows)), 8),
        }

    def batch(
        self,
        windows: "Sequence[Data]",
        embedding: "InfiniteVocabEmbedding",
        known: Sequence[Mapping[str, Any]],
    ) -> dict[str, Tensor]:
        """The tokens of many windows, padded: each spike is copied once, from its window to its place in the batch.

        Args:
            windows: B windows.
            embedding: What numbers the units.
            known: What of each was read before.

        Returns:
            `input_unit_index`, `input_timestamps`, `input_token_type` and `input_mask`, each of shape (B, T), as
            `nd_data.collate` makes them of padded tokens.

        Raises:
            KeyError: a unit is not in the vocabulary.
            ValueError: no vocabulary yet, or a spike of a unit that there is not.
        """
        parts = [self._of_window(window, embedding, read) for window, read in zip(windows, known, strict=True)]
        lengths = [len(units.rows) + len(rows) for units, rows, _ in parts]
        longest = -(-max(lengths) // 8) * 8
        no_row = np.zeros(longest - min(lengths), dtype=np.int64)
        no_time = np.zeros(longest - min(lengths))
        all_rows: list[NDArray[np.int64]] = []
        all_times: list[NDArray[np.float64]] = []
        all_types: list[NDArray[np.int64]] = []
        for (units, rows, times), length in zip(parts, lengths, strict=True):
            missing = longest - length
            all_rows += (units.rows, rows, no_row[:missing])
            all_times += (units.times, times, no_time[:missing])
            # Padding has the type of a spike.
            all_types.append(self._token_types(len(units.rows) // 2, longest))
        mask = np.arange(longest) < np.array(lengths)[:, np.newaxis]
        arrays = {
            "input_unit_index": np.concatenate(all_rows).reshape(len(parts), longest),
            "input_timestamps": np.concatenate(all_times).reshape(len(parts), longest),
            "input_token_type": np.concatenate(all_types).reshape(len(parts), longest),
            "input_mask": mask,
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _of_window(
        self, data: "Data", embedding: "InfiniteVocabEmbedding", known: Mapping[str, Any]
    ) -> "tuple[UnitTokens, NDArray[np.int64], NDArray[np.float64]]":
        # The tokens of the units, and rows and times of the spikes.
        units = self._unit_tokens(peek(data, "units.id"), embedding)
        if "spikes.timestamps" in known and "spikes.unit_index" in known:
            times, unit_index = known["spikes.timestamps"], known["spikes.unit_index"]
        else:
            spikes = data.spikes
            times, unit_index = spikes.timestamps, np.asarray(spikes.unit_index)
        if unit_index.dtype != np.int64:
            unit_index = unit_index.astype(np.int64)
        try:
            return units, units.row_of_unit.take(unit_index), times
        except IndexError:
            raise ValueError(
                f"recording {data.session.id!r}: spikes.unit_index holds {unit_index.max()} but there are only "
                f"{len(units.row_of_unit)} units"
            ) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.sequence_length,)  # what is kept is of no use in another process

    def _token_types(self, units: int, tokens: int) -> NDArray[np.int64]:
        # They depend on two numbers only, so that one array for each number of units has those of all windows.
        longest = self._types.get(units)
        if longest is None or len(longest) < tokens:
            if len(self._types) >= _REMEMBERED_NUMBERS_OF_UNITS:
                self._types.clear()
            types = np.full(max(2 * tokens, 1024), TokenType.DEFAULT, dtype=np.int64)
            types[: 2 * units] = create_start_end_unit_tokens(range(units), 0.0, 0.0)[0]
            longest = self._types[units] = constant_array(types)
        return longest[:tokens]

    def _layout(self, units: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        # Unit and time of each unit token, for a number of units.
        layout = self._layouts.get(units)
        if layout is None:
            if len(self._layouts) >= _REMEMBERED_NUMBERS_OF_UNITS:
                self._layouts.clear()
            _, index, times = create_start_end_unit_tokens(range(units), 0.0, self.sequence_length)
            layout = self._layouts[units] = constant_array(index), constant_array(times)
        return layout

    def _unit_tokens(self, unit_ids: Any, embedding: "InfiniteVocabEmbedding") -> UnitTokens:
        known = self._known.find(unit_ids)
        if known is not None and known.vocabulary is embedding.vocab:
            return known
        units, times = self._layout(len(unit_ids))
        row_of_unit = np.asarray(embedding.tokenizer(unit_ids), dtype=np.int64)
        tokens = UnitTokens(embedding.vocab, row_of_unit, row_of_unit[units], times)
        if isinstance(unit_ids, np.ndarray):
            self._known.keep(unit_ids, tokens)
        return tokens

"""How many tokens the windows of a plan come to, counted for all of them at once and without cutting one.

Shape legend: W windows.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nd_data.samplers.window_plan import WindowPlan

TokenCounts = Callable[[WindowPlan], NDArray[np.int64]]
"""Takes the windows of an epoch, returns the number of tokens of each, int64, shape (W,)."""


class OpensRecordings(Protocol):
    """What spikes are counted in; `nd_data.Dataset` is one."""

    def open_recording(self, recording_id: str) -> Any:
        """A whole recording, a `Data`."""


class SpikeCounts:
    """Count the spikes of windows by searching the spike times of their recordings, where they are mapped from disk.

    It takes some 0.3 µs a window, so counting all windows of an epoch costs less than cutting one in a hundred.

    Args:
        spikes: The dataset whose recordings have spikes; or recording ids to spike times in seconds, sorted.
        field: Path of the spikes in a recording, an `IrregularTimeSeries`.
        tokens_per_unit: Tokens that a window has for each unit of its recording besides those of spikes; 2 for POYO's
            start and end tokens.

    Raises:
        ValueError: when called, a recording has no such series, or ``tokens_per_unit`` is above 0 without a dataset.
        KeyError: when called, a recording is not there.

    Example:
        >>> from nd_data.samplers import SequentialFixedWindowSampler
        >>> counts = SpikeCounts({"a/1": np.array([0.1, 0.2, 1.5])})
        >>> counts(SequentialFixedWindowSampler({"a/1": [(0.0, 3.0)]}, 1.0).plan())
        array([2, 1, 0])
    """

    def __init__(
        self,
        spikes: OpensRecordings | Mapping[str, NDArray[np.float64]],
        *,
        field: str = "spikes",
        tokens_per_unit: int = 0,
    ) -> None:
        if tokens_per_unit and isinstance(spikes, Mapping):
            raise ValueError("tokens_per_unit needs a dataset, which knows how many units a recording has")
        self.spikes = spikes
        self.field = field
        self.tokens_per_unit = tokens_per_unit

    def __call__(self, windows: WindowPlan) -> NDArray[np.int64]:
        """Count the tokens of each window. Shape: (W,)."""
        out = np.empty(len(windows), dtype=np.int64)
        order = np.argsort(windows.recording_index, kind="stable")
        recordings, begins = np.unique(windows.recording_index[order], return_index=True)
        for recording, rows in zip(recordings.tolist(), np.split(order, begins[1:]), strict=True):
            # Searching for sorted times walks through memory once.
            rows = rows[np.argsort(windows.start[rows], kind="stable")]
            out[rows] = self._count(windows.recording_ids[recording], windows.start[rows], windows.end[rows])
        return out

    def _count(self, recording_id: str, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.int64]:
        if isinstance(self.spikes, Mapping):
            times = self.spikes[recording_id]
            return (times.searchsorted(end) - times.searchsorted(start)).astype(np.int64, copy=False)
        recording = self.spikes.open_recording(recording_id)
        series = recording.get_nested_attribute(self.field) if recording.has_nested_attribute(self.field) else None
        if series is None or not hasattr(series, "count_between"):
            found = "nothing" if series is None else f"a {type(series).__name__}"
            raise ValueError(
                f"recording {recording_id!r}: spikes are counted in an IrregularTimeSeries at {self.field!r}, where "
                f"there is {found}"
            )
        counts: NDArray[np.int64] = series.count_between(start, end)
        return counts + self.tokens_per_unit * len(recording.units) if self.tokens_per_unit else counts

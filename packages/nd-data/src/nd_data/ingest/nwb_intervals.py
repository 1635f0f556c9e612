"""Trials, epochs and other tables of intervals or events of an NWB file, and series that mark starts and ends.

Shape legend: N intervals or events.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nd_data.array_dict import ArrayDict
from nd_data.ingest.attribute_names import class_names
from nd_data.ingest.nwb_columns import table_columns
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries

_TIME_COLUMNS = ("_time", "_times", "_timestamp", "_timestamps")


class ReadIntervals(NamedTuple):
    """Intervals, and what a report should say about them."""

    intervals: Interval
    remarks: list[str]


def read_intervals(table: Any) -> ReadIntervals:
    """Read a ``TimeIntervals`` table, in order of time.

    ``start_time`` and ``stop_time`` become ``start`` and ``end``; the other columns keep their names. Rows that have no
    finite start and end, or end before they start, are dropped, and said so. A column of times of events (``…_time``)
    moves with the origin when all its times lie near their own row.

    Args:
        table: The table.

    Raises:
        ValueError: there is no ``start_time`` or ``stop_time``.
    """
    for required in ("start_time", "stop_time"):
        if required not in table.colnames:
            raise ValueError(f"it has no column {required!r}, only {', '.join(map(str, table.colnames))}")
    start = np.asarray(table["start_time"].data[:], dtype=np.float64)
    end = np.asarray(table["stop_time"].data[:], dtype=np.float64)
    columns = table_columns(table, skip=("start_time", "stop_time"), taken=class_names(Interval) | {"start", "end"})
    remarks = columns.remarks()
    usable = np.isfinite(start) & np.isfinite(end) & (end >= start)
    if not usable.all():
        remarks.insert(0, f"{int((~usable).sum())} rows without a start before a finite end dropped")
    rows = np.flatnonzero(usable)
    order = np.lexsort((end[rows], start[rows]))
    if (order != np.arange(len(order))).any():
        remarks.insert(0, "sorted by time")
    rows = rows[order]
    start, end = start[rows], end[rows]
    arrays = {name: values[rows] for name, values in columns.arrays.items()}
    timekeys = [name for name, values in arrays.items() if _are_times(name, values, start, end)]
    if timekeys:
        remarks.append(f"times that move with the origin: {', '.join(timekeys)}")
    return ReadIntervals(Interval(start, end, timekeys=timekeys, **arrays), remarks)


def _are_times(name: str, values: NDArray[Any], start: NDArray[np.float64], end: NDArray[np.float64]) -> bool:
    # Times of events lie in their trial or at most its length beside it; durations such as reaction times do not.
    if not name.endswith(_TIME_COLUMNS) or values.dtype.kind != "f" or values.ndim != 1:
        return False
    known = np.isfinite(values)
    length = end - start
    near = (values >= start - length) & (values <= end + length)
    return bool(known.any() and near[known].all())


def read_interval_series(series: Any) -> ReadIntervals:
    """Turn an ``IntervalSeries``, in which ``k`` marks a start and ``-k`` the end of that kind, into intervals.

    Args:
        series: The series.

    Returns:
        The intervals, with the kinds in ``kind`` where there is more than one.

    Raises:
        ValueError: starts and ends do not take turns.
    """
    marks = np.asarray(series.data[:]).astype(np.int64)
    times = np.asarray(series.timestamps[:], dtype=np.float64)
    if marks.ndim != 1 or marks.shape != times.shape or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError("its marks and sorted times do not belong together")
    starts, ends, kinds = [], [], []
    for kind in np.unique(np.abs(marks[marks != 0])):
        mine = np.abs(marks) == kind
        of_kind, at = marks[mine], times[mine]
        if len(of_kind) % 2 or (of_kind[::2] < 0).any() or (of_kind[1::2] > 0).any():
            raise ValueError(f"starts ({kind}) and ends ({-kind}) do not take turns")
        starts.append(at[::2])
        ends.append(at[1::2])
        kinds.append(np.full(len(at) // 2, kind))
    start, end = (np.concatenate(parts) if parts else np.zeros(0) for parts in (starts, ends))
    order = np.lexsort((end, start))
    arrays = {"kind": np.concatenate(kinds)[order]} if len(kinds) > 1 else {}
    return ReadIntervals(Interval(start[order], end[order], **arrays), [])


def read_events(table: Any) -> tuple[IrregularTimeSeries, list[str]]:
    """Read an ``EventsTable``, in order of time, and say what a report should say about it.

    ``timestamp`` becomes ``timestamps``; the other columns keep their names. Events whose time is NaN or infinite are
    dropped, and said so.

    Raises:
        ValueError: there is no ``timestamp``, or no event with a time.
    """
    if "timestamp" not in table.colnames:
        raise ValueError(f"it has no column 'timestamp', only {', '.join(map(str, table.colnames))}")
    times = np.asarray(table["timestamp"].data[:], dtype=np.float64)
    columns = table_columns(table, skip=("timestamp",), taken=class_names(IrregularTimeSeries) | {"timestamps"})
    remarks = columns.remarks()
    rows = np.flatnonzero(np.isfinite(times))
    if len(rows) == 0:
        raise ValueError("it holds no event with a time")
    if len(rows) < len(times):
        remarks.insert(0, f"{len(times) - len(rows)} events whose time is NaN or infinite dropped")
    rows = rows[np.argsort(times[rows], kind="stable")]
    domain = Interval(float(times[rows[0]]), float(np.nextafter(times[rows[-1]], np.inf)))
    arrays = {name: values[rows] for name, values in columns.arrays.items()}
    return IrregularTimeSeries(times[rows], domain=domain, **arrays), remarks


def read_table(table: Any, *, skip: tuple[str, ...] = ()) -> tuple[ArrayDict, list[str]]:
    """Read any other table, with ``id``, as an array dictionary; and what a report should say about it."""
    columns = table_columns(table, skip=skip, taken=class_names(ArrayDict) | {"id"})
    return ArrayDict(id=np.asarray(table.id.data[:]), **columns.arrays), columns.remarks()


__all__ = ["ReadIntervals", "read_events", "read_interval_series", "read_intervals", "read_table"]

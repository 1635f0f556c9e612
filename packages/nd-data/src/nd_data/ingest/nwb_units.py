"""Sorted units of an NWB file: their spikes in one series, what is known of each, and when they were observed.

Shape legend: U units, S spikes.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nd_data.array_dict import ArrayDict
from nd_data.ingest.attribute_names import class_names, unique_names
from nd_data.ingest.nwb_columns import TEXT_SEPARATOR, list_ends, plain_array, table_columns
from nd_data.interval import Interval
from nd_data.interval_union import merged
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.samplers.interval_table import TIME_TOLERANCE


@dataclass(slots=True)
class SortedUnits:
    """What a units table holds.

    Attributes:
        units: One row a unit, silent ones included. Shape of each array: (U, ...).
        timestamps: Sorted spike times in seconds. Shape: (S,).
        spike_arrays: ``unit_index``, and what else the table has for each spike. Shape of each: (S, ...).
        observed: When any unit was observed, or None where the table does not say.
        observed_by_unit: The observation intervals with their ``unit_index``, where units differ in them.
        remarks: For the report.
    """

    units: ArrayDict
    timestamps: NDArray[np.float64]
    spike_arrays: dict[str, NDArray[Any]]
    observed: Interval | None = None
    observed_by_unit: Interval | None = None
    remarks: list[str] = field(default_factory=list)

    def spikes(self, domain: Interval) -> IrregularTimeSeries:
        """The spikes as a series."""
        return IrregularTimeSeries(timestamps=self.timestamps, domain=domain, **self.spike_arrays)


def read_units(table: Any) -> SortedUnits:
    """Read an NWB units table that has spike times.

    ``units.id`` is ``unit_<id>``, ``units.nwb_id`` the number itself; the other columns keep their names. A column with
    one value for each spike (amplitudes, depths) becomes an array of the spikes. Spike times that are NaN or infinite
    are dropped, and said so.
    """
    count = len(table.id)
    ends = list_ends(table["spike_times"])
    spike_count = int(ends[-1]) if count else 0
    unit_index = np.repeat(np.arange(count, dtype=np.int64), np.diff(ends, prepend=0))
    times = np.asarray(table["spike_times"].target.data[:spike_count], dtype=np.float64)
    remarks = []
    finite = np.isfinite(times)
    if not finite.all():
        remarks.append(f"{int((~finite).sum())} spike times that are NaN or infinite dropped")
    rows = np.flatnonzero(finite)
    rows = rows[np.argsort(times[rows], kind="stable")]

    per_spike = [name for name in table.colnames if name != "spike_times" and _is_per_spike(table[name], ends)]
    names = unique_names(per_spike, class_names(IrregularTimeSeries) | {"timestamps", "unit_index"})
    spike_arrays: dict[str, NDArray[Any]] = {"unit_index": unit_index[rows]}
    for column, name in zip(per_spike, names, strict=True):
        spike_arrays[name] = np.asarray(table[column].target.data[:spike_count])[rows]
        remarks.append(f"column {column!r} is spikes.{name}")

    units, unit_remarks = _unit_arrays(table, skip=("spike_times", "obs_intervals", *per_spike))
    silent = int((np.bincount(unit_index[rows], minlength=count) == 0).sum())
    if silent:
        remarks.append(f"{silent} of {count} units have no spike")
    out = SortedUnits(units, times[rows], spike_arrays, remarks=[*remarks, *unit_remarks])
    if "obs_intervals" in table.colnames:
        _read_observed(table, out)
    return out


def _is_per_spike(column: Any, ends: NDArray[np.int64]) -> bool:
    if type(column).__name__ != "VectorIndex" or type(column.target).__name__ == "VectorIndex":
        return False
    dtype = getattr(column.target.data, "dtype", None)
    return (
        isinstance(dtype, np.dtype)
        and dtype.kind in "biuf"
        and len(column.data) == len(ends)
        # Waveform-like columns with one row a unit would fit where each unit has one spike.
        and bool((ends != np.arange(1, len(ends) + 1)).any())
        and bool((np.asarray(column.data[:]).astype(np.int64) == ends).all())
    )


def _unit_arrays(table: Any, skip: tuple[str, ...]) -> tuple[ArrayDict, list[str]]:
    ids = np.asarray(table.id.data[:]).astype(np.int64)
    remarks = []
    unit_ids = unique_names([f"unit_{number}" for number in ids])
    if len(set(ids.tolist())) < len(ids):
        remarks.append("units share ids: those that come again are told apart by _2, _3 and so on")
    arrays: dict[str, NDArray[Any]] = {"id": np.array(unit_ids, dtype=np.str_), "nwb_id": ids}
    columns = table_columns(table, skip=(*skip, "electrodes"), taken=class_names(ArrayDict) | set(arrays))
    arrays |= columns.arrays
    remarks += columns.remarks()
    if "electrodes" in table.colnames:
        remarks += _add_electrodes(table, arrays)
    if "electrode_group" in table.colnames and "electrode_group_location" not in arrays:
        groups = list(table["electrode_group"].data[:])
        if groups and all(isinstance(getattr(group, "location", None), str) for group in groups):
            arrays["electrode_group_location"] = np.array([group.location for group in groups], dtype=np.str_)
    return ArrayDict(**arrays), remarks


def _add_electrodes(table: Any, arrays: dict[str, NDArray[Any]]) -> list[str]:
    # Which electrodes each unit was found on: rows of the electrodes table, and the names of places and groups there.
    index = table["electrodes"]
    region = index.target if hasattr(index, "target") else index
    rows = np.asarray(region.data[:]).astype(np.int64)
    ends = list_ends(index) if hasattr(index, "target") else np.arange(1, len(rows) + 1)
    rows_of_unit = np.split(rows[: int(ends[-1])], ends[:-1]) if len(ends) else []
    remarks = []
    counts = {len(part) for part in rows_of_unit}
    if len(counts) == 1 and counts != {0}:
        stacked = np.stack(rows_of_unit)
        arrays["electrodes"] = stacked[:, 0] if stacked.shape[1] == 1 else stacked
        remarks.append("units.electrodes are rows of the electrodes")
    elif counts:
        remarks.append("column 'electrodes' not mapped as numbers: units differ in how many they have")
    for column, name in (("location", "electrode_location"), ("group_name", "electrode_group_name")):
        if column in region.table.colnames and name not in arrays and len(rows_of_unit):
            texts = plain_array(region.table[column].data).astype(np.str_)
            joined = [TEXT_SEPARATOR.join(dict.fromkeys(texts[part].tolist())) for part in rows_of_unit]
            arrays[name] = np.array(joined, dtype=np.str_)
    return remarks


def _read_observed(table: Any, out: SortedUnits) -> None:
    index = table["obs_intervals"]
    bounds = np.asarray(index.target.data[:], dtype=np.float64).reshape(-1, 2)
    ends = list_ends(index)
    unit_index = np.repeat(np.arange(len(ends), dtype=np.int64), np.diff(ends, prepend=0))
    bounds = bounds[: len(unit_index)]
    usable = np.isfinite(bounds).all(axis=1) & (bounds[:, 1] > bounds[:, 0])
    if not usable.all():
        out.remarks.append(f"{int((~usable).sum())} observation intervals that are empty or not finite dropped")
    bounds, unit_index = bounds[usable], unit_index[usable]
    if len(bounds) == 0:
        out.remarks.append("no unit has an observation interval")
        return
    out.observed = merged(Interval(bounds[:, 0], bounds[:, 1])).coalesce(TIME_TOLERANCE)
    of_units = [bounds[unit_index == unit] for unit in range(len(ends))]
    if any(not np.array_equal(one, of_units[0]) for one in of_units):
        order = np.lexsort((unit_index, bounds[:, 1], bounds[:, 0]))
        out.observed_by_unit = Interval(bounds[order, 0], bounds[order, 1], unit_index=unit_index[order])
        out.remarks.append("units differ in when they were observed: the domain is the union, obs_intervals has each")
    start, end = out.observed.start, out.observed.end
    # A spike on the very end of an interval counts as inside it.
    row = np.clip(np.searchsorted(start, out.timestamps, side="right") - 1, 0, None)
    outside = int(((out.timestamps < start[row]) | (out.timestamps > end[row])).sum())
    if outside:
        out.remarks.append(f"{outside} spikes lie outside the observation intervals and are kept")


__all__ = ["SortedUnits", "read_units"]

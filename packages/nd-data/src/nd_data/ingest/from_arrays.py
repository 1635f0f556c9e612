"""A recording from arrays and data frames: spike times, units, time series and intervals.

Shape legend: U units, S spikes, N samples or rows.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nd_data.array_dict import ArrayDict
from nd_data.data import Data
from nd_data.from_dataframe import dataframe_arrays
from nd_data.ingest.splits import Splits, set_splits
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.nearest_names import name_hint
from nd_data.regular_time_series import RegularTimeSeries
from nd_data.time_keys import check_times

if TYPE_CHECKING:
    import pandas as pd

    #: Arrays of one length by name, or the columns of a data frame.
    Columns = Mapping[str, Any] | pd.DataFrame
    SeriesLike = Columns | pd.Series[Any] | IrregularTimeSeries | RegularTimeSeries


_ROOT_NAMES = ("brainset", "session", "subject", "spikes", "units", "domain")


def recording_from_arrays(
    *,
    brainset: str,
    session: str | Mapping[str, Any],
    subject: str | Mapping[str, Any] | None = None,
    spike_times: "ArrayLike | Sequence[ArrayLike] | Mapping[str, ArrayLike] | None" = None,
    spike_units: ArrayLike | None = None,
    units: "Columns | None" = None,
    series: "Mapping[str, SeriesLike] | None" = None,
    intervals: "Mapping[str, Columns | Interval] | None" = None,
    domain: Interval | tuple[float, float] | None = None,
    splits: Splits | None = None,
) -> Data:
    """Make a recording of what is in memory, ready for ``save_recording``. Times are seconds throughout.

    Args:
        brainset: The name of the group of recordings that this one belongs to.
        session: The recording's name; or a mapping with its ``id`` and whatever else is to be kept of it.
        subject: The subject's name, or a mapping likewise. None for the recording's name.
        spike_times: One of

            - a list with the spike times of each unit,
            - a mapping from unit id to its spike times,
            - the times of all spikes, shape (S,), with ``spike_units``.

            They need not be sorted.
        spike_units: The unit of each spike: its id, or without ``units`` any label. Shape: (S,).
        units: What is known of each unit: arrays of shape (U, ...), of which ``id`` names them. It gives the order of
            the units, and may name silent ones. None for ``unit_0``, ``unit_1``, … or the ids and labels above.
        series: Name to behaviour or any other signal, each one of

            - ``{"timestamps": …, name: values, …}``, values of shape (N, ...),
            - ``{"sampling_rate": …, "start": 0.0, name: values, …}``, for signals at a fixed rate,
            - a data frame with a column ``timestamps``, or whose index is the times,
            - a pandas series whose index is the times, which becomes the array ``data``,
            - a container.

        intervals: Name to trials, epochs, movement periods: mappings or data frames with ``start`` and ``end``, or
            ``start_time`` and ``stop_time``, and whatever else there is for each.
        domain: Where the recording has data. None for the first to the last time of anything in it.
        splits: How to split it into training, validation and test time. None for no splits.

    Returns:
        The recording. Samples and intervals are in order of time; ``units.id`` is text.

    Raises:
        ValueError: lengths differ, a time is NaN or infinite, a unit is unknown, or a name is taken; the message names
            what.

    Example:
        >>> data = recording_from_arrays(
        ...     brainset="mine",
        ...     session="monday",
        ...     spike_times=[[0.2, 1.4], [], [0.9]],
        ...     series={"cursor": {"sampling_rate": 10.0, "vel": np.zeros((20, 2))}},
        ...     intervals={"trials": {"start": [0.0, 1.0], "end": [1.0, 2.0], "target": [3, 5]}},
        ... )
        >>> data.spikes.timestamps, data.spikes.unit_index, data.units.id.tolist()
        (array([0.2, 0.9, 1.4]), array([0, 2, 0]), ['unit_0', 'unit_1', 'unit_2'])
        >>> data.slice(1.0, 2.0).trials.target
        array([5])
    """
    session_values = _identified("session", session)
    parts: dict[str, Any] = {}
    for name, value in (series or {}).items():
        parts[name] = _named(name, parts, _series, value)
    for name, one in (intervals or {}).items():
        parts[name] = _named(name, parts, _intervals, one)
    times = unit_arrays = None
    unit_index = np.zeros(0, dtype=np.int64)
    if spike_times is not None:
        times, unit_index, unit_arrays = _spikes(spike_times, spike_units, units)
    elif spike_units is not None or units is not None:
        raise ValueError("there are units but no spike_times")
    covered = _domain(domain, times, parts)
    if times is not None:
        order = np.argsort(times, kind="stable")
        parts["units"] = ArrayDict(**(unit_arrays or {}))
        parts["spikes"] = IrregularTimeSeries(times[order], unit_index=unit_index[order], domain=covered)
    data = Data(
        brainset=Data(id=brainset),
        session=Data(**session_values),
        subject=Data(**_identified("subject", session_values["id"] if subject is None else subject)),
        **parts,
        domain=covered,
    )
    if splits is not None:
        set_splits(data, splits)
    return data


def save_recording(data: Data, out: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a recording where a :class:`~nd_data.Dataset` looks for it: ``<out>/<brainset.id>/<session.id>.h5``.

    Args:
        data: The recording.
        out: The folder of the data, made where it does not exist.
        overwrite: Whether a recording that exists is replaced.

    Returns:
        The file.

    Raises:
        FileExistsError: it exists, and ``overwrite`` is False.
        ValueError: ``brainset.id`` or ``session.id`` is missing, or is no file name.
    """
    names = []
    for holder in ("brainset", "session"):
        if not data.has_nested_attribute(f"{holder}.id"):
            raise ValueError(f"the recording has no {holder}.id, which gives its file a name")
        name = str(data.get_nested_attribute(f"{holder}.id"))
        if Path(name).name != name or name.startswith("."):
            raise ValueError(f"{holder}.id {name!r} is no file name")
        names.append(name)
    path = Path(out) / names[0] / f"{names[1]}.h5"
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: pass overwrite=True to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save(path)
    return path


def _named(name: str, parts: Mapping[str, Any], build: Any, value: Any) -> Any:
    if name in parts or name in _ROOT_NAMES:
        raise ValueError(f"{name!r} is the name of another part of the recording: choose another")
    if not name.isidentifier() or name.startswith("_") or hasattr(Data, name):
        raise ValueError(f"{name!r} cannot name a part of a recording: use letters, digits and underscores")
    try:
        return build(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r}: {error}") from error


def _identified(what: str, value: str | Mapping[str, Any]) -> dict[str, Any]:
    values = dict(value) if isinstance(value, Mapping) else {"id": value}
    if not isinstance(values.get("id"), str) or not values["id"]:
        raise ValueError(f"{what} needs an id of text, got {values.get('id')!r}")
    return values


def _columns(value: Any) -> dict[str, Any]:
    if hasattr(value, "columns"):
        return dict(dataframe_arrays(value))
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a mapping of arrays or a data frame, got {type(value).__name__}")
    return {str(name): array for name, array in value.items()}


def _series(value: Any) -> IrregularTimeSeries | RegularTimeSeries:
    if isinstance(value, IrregularTimeSeries | RegularTimeSeries):
        return value
    if hasattr(value, "to_frame"):
        value = value.to_frame("data")
    columns = _columns(value)
    if hasattr(value, "columns") and "timestamps" not in columns:
        columns["timestamps"] = _index_times(value)
    if "sampling_rate" in columns:
        if "timestamps" in columns:
            raise ValueError("give either sampling_rate or timestamps, not both")
        rate, start = columns.pop("sampling_rate"), columns.pop("start", 0.0)
        if not columns:
            raise ValueError("it has no arrays beside the sampling_rate")
        return RegularTimeSeries(sampling_rate=rate, domain_start=start, **columns)
    if "timestamps" not in columns:
        raise ValueError(f"it needs timestamps or a sampling_rate, found {', '.join(columns) or 'nothing'}")
    times = _finite("timestamps", columns.pop("timestamps"))
    if len(times) == 0:
        raise ValueError("it has no samples")
    order = np.argsort(times, kind="stable")
    times = times[order]
    steps = np.diff(times)
    steps = steps[steps > 0]
    # Intervals are half-open: the last sample is inside when the domain ends a step behind it.
    end = times[-1] + float(np.median(steps)) if len(steps) else float(np.nextafter(times[-1], np.inf))
    out = IrregularTimeSeries(times, domain=Interval(float(times[0]), float(end)))
    for name, values in columns.items():
        array = np.asarray(values)
        if array.shape[:1] != times.shape:
            raise ValueError(f"{name!r} has shape {array.shape}, expected one row for each of {len(times)} timestamps")
        setattr(out, name, array[order])
    return out


def _index_times(frame: Any) -> NDArray[np.float64]:
    index = frame.index.to_numpy()
    if index.dtype.kind != "f":
        raise ValueError(
            f"the data frame has neither a column 'timestamps' nor seconds as its index, which holds {index.dtype}; it "
            f"has the columns {', '.join(map(str, frame.columns))}: rename one, or set the index"
        )
    return np.asarray(index, dtype=np.float64)


def _intervals(value: Any) -> Interval:
    if isinstance(value, Interval):
        return value
    columns = _columns(value)
    for name, other in (("start", "start_time"), ("end", "stop_time")):
        if name not in columns:
            if other not in columns:
                raise ValueError(f"intervals need {name!r} or {other!r}, found {', '.join(columns) or 'nothing'}")
            columns[name] = columns.pop(other)
    start, end = (_finite(name, columns.pop(name)) for name in ("start", "end"))
    backwards = np.flatnonzero(end[: len(start)] < start[: len(end)])
    if len(backwards):
        row = int(backwards[0])
        raise ValueError(f"interval {row} ends before it starts: [{start[row]:.9g}, {end[row]:.9g})")
    out = Interval(start, end, **columns)
    order = np.lexsort((end, start))
    return Interval(**{name: getattr(out, name)[order] for name in out.array_shapes()})


def _finite(name: str, values: Any) -> NDArray[np.float64]:
    times = check_times(name, values)
    if not np.isfinite(times).all():
        row = int(np.argmin(np.isfinite(times)))
        raise ValueError(f"{name!r} holds {times[row]} in row {row}, expected seconds")
    return times


def _spikes(
    spike_times: Any, spike_units: ArrayLike | None, units: Any
) -> tuple[NDArray[np.float64], NDArray[np.int64], dict[str, Any]]:
    # Times and units of all spikes, not sorted yet, and the arrays of the units.
    arrays = {} if units is None else _columns(units)
    if units is not None and "id" not in arrays:
        raise ValueError(f"units needs 'id', which names them, found {', '.join(arrays) or 'nothing'}")
    known = None if units is None else _unit_ids(arrays["id"])
    if spike_units is not None:
        times, labels = _finite("spike_times", spike_times), np.asarray(spike_units)
        if labels.shape != times.shape:
            raise ValueError(
                f"spike_units has shape {labels.shape}, spike_times {times.shape}: expected one unit for each spike"
            )
        present, inverse = np.unique(labels, return_inverse=True)
        names = _unit_ids(present)
        ids = names if known is None else known
        position = _positions(names, ids)
        unit_index = position[inverse.reshape(-1)]
    else:
        if isinstance(spike_times, Mapping):
            names, lists = _unit_ids(list(spike_times)), list(spike_times.values())
            ids = names if known is None else known
            position = _positions(names, ids)
        else:
            lists = list(spike_times)
            if lists and np.ndim(lists[0]) == 0:
                raise ValueError("spike_times is one list of times: pass the unit of each spike as spike_units")
            ids = [f"unit_{unit}" for unit in range(len(lists))] if known is None else known
            if len(ids) != len(lists):
                raise ValueError(f"spike_times has {len(lists)} lists, but units has {len(ids)} ids")
            position = np.arange(len(lists), dtype=np.int64)
        checked = [_finite(f"spike_times of {ids[at]}", times) for at, times in zip(position, lists, strict=True)]
        times = np.concatenate([np.zeros(0), *checked])
        unit_index = np.repeat(position, [len(one) for one in checked])
    arrays = {**arrays, "id": np.array(ids, dtype=np.str_)}
    return times, unit_index.astype(np.int64), {"id": arrays.pop("id"), **arrays}


def _unit_ids(labels: Any) -> list[str]:
    values = np.asarray(labels)
    ids = [str(label) if isinstance(label, str) else f"unit_{label}" for label in values.tolist()]
    twice = sorted({one for one in ids if ids.count(one) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise ValueError(f"unit ids must differ, {twice[0]!r} comes twice")
    return ids


def _positions(names: Sequence[str], ids: Sequence[str]) -> NDArray[np.int64]:
    row_of = {one: row for row, one in enumerate(ids)}
    for name in names:
        if name not in row_of:
            raise ValueError(f"there are spikes of unit {name!r}, which is not in units; {name_hint(name, ids)}")
    return np.array([row_of[name] for name in names], dtype=np.int64)


def _domain(
    domain: Interval | tuple[float, float] | None, times: NDArray[np.float64] | None, parts: Mapping[str, Any]
) -> Interval:
    if domain is not None:
        return domain if isinstance(domain, Interval) else Interval(float(domain[0]), float(domain[1]))
    covered = [part if isinstance(part, Interval) else part.domain for part in parts.values()]
    starts = [float(one.start.min()) for one in covered if len(one)]
    ends = [float(one.end.max()) for one in covered if len(one)]
    if times is not None and len(times):
        starts.append(float(times.min()))
        ends.append(float(np.nextafter(times.max(), np.inf)))
    if not starts:
        raise ValueError("nothing in the recording has a time: pass a domain")
    return Interval(min(starts), max(ends))


__all__ = ["recording_from_arrays", "save_recording"]

"""Time series of an NWB file, still on disk: their clock, their conversion to units, and what else has a row a sample.

Shape legend: T samples.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nd_data.ingest.attribute_names import class_names, unique_names
from nd_data.ingest.nwb_columns import plain_array
from nd_data.ingest.streamed_series import StreamedArray, StreamedSeries
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.regular_time_series import RegularTimeSeries

_NOT_SAMPLES = ("data", "timestamps", "channel_conversion")


class ReadSeries(NamedTuple):
    """A series to write, and what a report should say about it."""

    series: StreamedSeries
    remarks: list[str]


def read_time_series(series: Any) -> ReadSeries:
    """Read the clock of a ``TimeSeries``; its values are read when they are written.

    A series with a rate is regular, one with timestamps irregular. Values are ``data * conversion + offset``, with one
    conversion a channel where there is one; they keep their dtype where this changes nothing, become float32 where
    they came as float32 or as integers of at most 16 bits, and float64 otherwise. Samples whose time is NaN or infinite
    are dropped, samples that are not in order of time are sorted; both are said.

    Args:
        series: A ``pynwb.TimeSeries``.

    Raises:
        ValueError: it has no samples, no clock, or no form as an array; the message says why.
    """
    data = series.data
    shape = getattr(data, "shape", None) or (len(data) if data is not None else 0,)
    if data is None or shape[0] == 0:
        raise ValueError("it holds no samples")
    arrays = {"data": converted_array(series)}
    remarks = []
    extra = _sample_fields(series, shape[0])
    names = unique_names(list(extra), class_names(IrregularTimeSeries) | class_names(RegularTimeSeries) | set(arrays))
    for (original, values), name in zip(extra.items(), names, strict=True):
        arrays[name] = stored_array(values)
        remarks.append(f"also {name}" if name == original else f"also {name}, which was {original!r}")
    if series.timestamps is None:
        return ReadSeries(_regular(series, arrays, shape[0]), remarks)
    times = np.asarray(series.timestamps[:], dtype=np.float64)
    if times.shape != (shape[0],):
        raise ValueError(f"it has {shape[0]} samples but timestamps of shape {times.shape}")
    rows = None
    finite = np.isfinite(times)
    if not finite.all():
        if not finite.any():
            raise ValueError("none of its timestamps is finite")
        rows = np.flatnonzero(finite)
        times = times[rows]
        remarks.append(f"{int((~finite).sum())} samples whose time is NaN or infinite dropped")
    if (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        rows = order if rows is None else rows[order]
        times = times[order]
        remarks.append("sorted by time")
    # Intervals are half-open: the last sample is inside when the domain ends a step behind it.
    steps = np.diff(times)
    steps = steps[steps > 0]
    end = times[-1] + float(np.median(steps)) if len(steps) else np.nextafter(times[-1], np.inf)
    domain = Interval(float(times[0]), float(end))
    return ReadSeries(StreamedSeries(arrays, domain, timestamps=times, rows=rows), remarks)


def _regular(series: Any, arrays: dict[str, StreamedArray], count: int) -> StreamedSeries:
    rate = series.rate
    if rate is None or not 0 < float(rate) < np.inf:
        raise ValueError(f"it has no timestamps, and the rate {rate} is not a positive number")
    start = 0.0 if series.starting_time is None else float(series.starting_time)
    if not np.isfinite(start):
        raise ValueError(f"its starting time is {start}")
    rate = float(rate)
    return StreamedSeries(arrays, Interval(start, start + count / rate), sampling_rate=rate)


def converted_array(series: Any) -> StreamedArray:
    """The values of a series in the unit that it names, read piece by piece.

    Raises:
        ValueError: they are neither numbers nor text.
    """
    data = series.data
    conversion, offset = (
        float(default if value is None else value)
        for value, default in ((series.conversion, 1.0), (series.offset, 0.0))
    )
    channels = getattr(series, "channel_conversion", None)
    raw = stored_array(data)
    if channels is None and conversion == 1.0 and offset == 0.0:
        return raw
    if raw.dtype.kind not in "biuf":
        raise ValueError(f"it has a conversion or an offset, but its data are {raw.dtype}")
    scale: float | NDArray[np.float64] = conversion
    if channels is not None:
        # Channels are the second axis; what lies behind it (samples of a waveform) shares their factor.
        factors = np.asarray(channels[:], dtype=np.float64)
        if len(raw.shape) < 2 or factors.shape != (raw.shape[1],):
            raise ValueError(f"it has {factors.shape} channel conversions for data of shape {raw.shape}")
        scale = conversion * factors.reshape(-1, *(1,) * (len(raw.shape) - 2))
    narrow = raw.dtype == np.float32 or raw.dtype.itemsize <= 2
    dtype = np.dtype(np.float32 if narrow else np.float64)

    def read(first: int, last: int) -> NDArray[Any]:
        return (raw.read(first, last).astype(np.float64) * scale + offset).astype(dtype)

    return StreamedArray(raw.shape, dtype, read, raw.piece_rows)


def stored_array(data: Any) -> StreamedArray:
    """An array as it is stored: numbers are read piece by piece, text at once.

    Raises:
        ValueError: it holds neither numbers nor text.
    """
    dtype = getattr(data, "dtype", None)
    shape = getattr(data, "shape", None)
    if not isinstance(dtype, np.dtype) or shape is None or dtype.kind not in "biufc":
        return StreamedArray.of(plain_array(data))
    native = dtype.newbyteorder("=")

    def read(first: int, last: int) -> NDArray[Any]:
        return np.asarray(data[first:last]).astype(native, copy=False)

    chunks = getattr(data, "chunks", None)
    return StreamedArray(tuple(shape), native, read, chunks[0] if chunks else 1)


def _sample_fields(series: Any, count: int) -> dict[str, Any]:
    # What subclasses add with one row a sample, for instance the confidence of a tracked point.
    found = {}
    for name, value in sorted(series.fields.items()):
        dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
        is_array = isinstance(dtype, np.dtype) and dtype.kind in "biuf" and not hasattr(value, "neurodata_type")
        if is_array and name not in _NOT_SAMPLES and shape and shape[0] == count:
            found[str(name)] = value
    return found


__all__ = ["ReadSeries", "converted_array", "read_time_series", "stored_array"]

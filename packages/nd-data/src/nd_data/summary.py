"""A recording in words: its parts, their shapes, rates and durations, and its splits."""

from nd_data.array_dict import ArrayDict
from nd_data.data import Data
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.regular_time_series import RegularTimeSeries


def summary(data: Data) -> str:
    """Say what a recording holds, one line a part, indented below the part that it belongs to.

    Args:
        data: A recording, or any part of one. What is on disk stays there, but for times and intervals.

    Example:
        >>> print(summary(Data(session=Data(id="monday"), taps=Interval([0.0, 2.0], [1.0, 2.5]), domain="auto")))
        domain: 2 intervals, 1.500 s from 0.000 to 2.500 s
        session:
          id: 'monday'
        taps: 2 intervals, 1.500 s from 0.000 to 2.500 s
          start: (2,) float64
          end: (2,) float64
    """
    return "\n".join(data_lines(data, ""))


def data_lines(data: Data, indent: str) -> list[str]:
    """The lines of one Data object."""
    lines = []
    if data.domain is not None:
        lines.append(f"{indent}domain: {covered(data.domain)}")
    names = data.keys()
    for name in names:
        value = getattr(data, name)
        if isinstance(value, Data):
            lines += [f"{indent}{name}:", *data_lines(value, indent + "  ")]
        elif isinstance(value, ArrayDict):
            lines += [f"{indent}{name}: {described(value)}", *array_lines(value, indent + "  ")]
        elif hasattr(value, "shape") and value.shape:
            lines.append(f"{indent}{name}: {value.shape} {value.dtype}")
        else:
            lines.append(f"{indent}{name}: {value.item() if hasattr(value, 'item') else value!r}")
    return lines


def described(value: ArrayDict) -> str:
    """What kind of container it is, how much is in it, and when."""
    if isinstance(value, Interval):
        return covered(value)
    rows = len(value) if value.keys() else 0
    if isinstance(value, RegularTimeSeries):
        return f"{rows} samples at {value.sampling_rate:g} Hz, {covered(value.domain)}"
    if isinstance(value, IrregularTimeSeries):
        duration = float((value.domain.end - value.domain.start).sum())
        rate = f" ({rows / duration:.2f} a second)" if duration > 0 else ""
        return f"{rows} events{rate}, {covered(value.domain)}"
    return f"{rows} rows"


def covered(intervals: Interval) -> str:
    """How many intervals, and how much time."""
    count = len(intervals)
    if count == 0:
        return "no intervals"
    total = float((intervals.end - intervals.start).sum())
    noun = "interval" if count == 1 else "intervals"
    return f"{count} {noun}, {total:.3f} s from {intervals.start.min():.3f} to {intervals.end.max():.3f} s"


def array_lines(value: ArrayDict, indent: str) -> list[str]:
    """Shape and dtype of each array."""
    return [f"{indent}{name}: {shape} {dtype}" for name, (shape, dtype) in value.array_shapes().items()]


__all__ = ["summary"]

"""Go through everything in an NWB file, each object once, and say what each becomes in a recording."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from nd_data.array_dict import ArrayDict
from nd_data.data import Data
from nd_data.ingest.attribute_names import class_names, unique_names
from nd_data.ingest.conversion_report import RecordingReport, counted
from nd_data.ingest.nwb_intervals import read_events, read_interval_series, read_intervals, read_table
from nd_data.ingest.nwb_time_series import read_time_series
from nd_data.ingest.streamed_series import StreamedSeries
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries

#: Which electrical series to take: none, those in processing modules (LFP, filtered), or raw acquisitions as well.
ElectricalSeries = Literal["none", "processed", "all"]

#: Parts of every recording, which nothing else in the root may be called.
ROOT_NAMES = ("brainset", "electrodes", "obs_intervals", "session", "spikes", "subject", "units")


@dataclass(slots=True)
class NwbParts:
    """What an NWB file becomes, by path: the names from the root on.

    Attributes:
        values: Containers without much in them, arrays and texts.
        series: Time series, still on disk.
        sources: The source, kind and remarks of each series, for the report.
    """

    values: dict[tuple[str, ...], Any] = field(default_factory=dict)
    series: dict[tuple[str, ...], StreamedSeries] = field(default_factory=dict)
    sources: dict[tuple[str, ...], tuple[str, str, list[str]]] = field(default_factory=dict)

    def look_up(self, path: str) -> Any:
        """What a path with dots leads to.

        Raises:
            AttributeError: nothing; the message lists what there is.
        """
        key = tuple(path.split("."))
        if key in self.series:
            return self.series[key]
        if key in self.values:
            return self.values[key]
        with_times = (Interval, IrregularTimeSeries, StreamedSeries)
        existing = sorted(
            ".".join(key) for key, one in (self.values | self.series).items() if isinstance(one, with_times)
        )
        raise AttributeError(f"there is no {path!r}; intervals and series: {', '.join(existing) or 'none'}")


class NwbWalk:
    """Collects the intervals, tables and series of an NWB file, and reports on every object.

    Args:
        nwb: The ``pynwb.NWBFile``.
        report: Gets a line for each object but the series that were mapped, which are reported once written.
        electrical_series: Which electrical series to take.
    """

    def __init__(self, nwb: Any, report: RecordingReport, *, electrical_series: ElectricalSeries = "none") -> None:
        self.nwb = nwb
        self.report = report
        self.electrical_series = electrical_series
        self.parts = NwbParts()
        self._seen: set[str] = set()
        self._taken: dict[tuple[str, ...], set[str]] = {}  # the names in each place, also of what comes later

    def collect(self) -> NwbParts:
        """Go through intervals, acquisition, events, stimuli, processing modules, analysis and scratch."""
        roots = list(self._roots())
        taken = {*class_names(Data), *ROOT_NAMES, "domain", "train_domain", "valid_domain", "test_domain"}
        names = unique_names([original for original, _, _ in roots], taken)
        for name, (_, source, content) in zip(names, roots, strict=True):
            if isinstance(content, dict):
                self._children(list(content.values()), source, (name,))
            else:
                self._object(content, source, (name,))
        return self.parts

    def mark(self, *objects: Any) -> None:
        """Note that objects are accounted for."""
        self._seen.update(one.object_id for one in objects if one is not None)

    def report_others(self) -> None:
        """Report what was never come across: devices, electrode groups, imaging planes and the like."""
        others = []
        for one in self.nwb.objects.values():
            is_part = one.parent is not None and (one.parent.object_id in self._seen or hasattr(one.parent, "colnames"))
            if one is self.nwb or one.object_id in self._seen or (is_part and "DynamicTable" not in kinds_of(one)):
                continue  # it has its line, or is a column or another part of something that has
            others.append((path_of(one), one.neurodata_type))
        for source, kind in sorted(others):
            self.report.add(source, kind, None, "has no counterpart in a recording")

    def _roots(self) -> Iterator[tuple[str, str, Any]]:
        nwb = self.nwb
        tables = dict(nwb.intervals or {})
        for name in ("trials", "epochs", "invalid_times"):
            if getattr(nwb, name) is not None:
                tables[name] = getattr(nwb, name)
        for name in sorted(tables):
            yield name, f"intervals/{name}", tables[name]
        for attribute, name, source in (
            ("acquisition", "acquisition", "acquisition"),
            ("events", "events", "events"),
            ("stimulus", "stimulus", "stimulus/presentation"),
            ("stimulus_template", "stimulus_templates", "stimulus/templates"),
            ("analysis", "analysis", "analysis"),
            ("scratch", "scratch", "scratch"),
        ):
            if getattr(nwb, attribute, None):
                yield name, source, dict(getattr(nwb, attribute))
        for name in sorted(nwb.processing or {}):
            self.mark(nwb.processing[name])
            yield name, f"processing/{name}", {child.name: child for child in nwb.processing[name].children}

    def _children(self, children: list[Any], source: str, path: tuple[str, ...]) -> None:
        children = sorted(children, key=lambda child: str(child.name))
        names = unique_names([str(child.name) for child in children], class_names(Data))
        self._taken[path] = {*class_names(Data), *names}
        for name, child in zip(names, children, strict=True):
            self._object(child, f"{source}/{child.name}", (*path, name))

    def _object(self, one: Any, source: str, path: tuple[str, ...]) -> None:
        if one.object_id in self._seen:
            return
        self.mark(one)
        kind, kinds = one.neurodata_type, kinds_of(one)
        try:
            if kinds & {"ImageSeries", "Images", "Image", "BaseImage"}:
                raise ValueError("images and video are not mapped")
            if "TimeSeries" in kinds:
                self._time_series(one, source, path)
            elif "Units" in kinds:
                raise ValueError("a units table beside that of the file is not mapped")
            elif "TimeIntervals" in kinds:
                intervals, remarks = read_intervals(one)
                self._add(path, intervals, source, kind, [counted(len(intervals), "interval"), *remarks])
            elif "EventsTable" in kinds:
                events, remarks = read_events(one)
                self._add(path, events, source, kind, [counted(len(events), "event"), *remarks])
            elif "DynamicTable" in kinds:
                table, remarks = read_table(one)
                self._add(path, table, source, kind, [counted(len(table), "row"), *remarks])
            elif getattr(one, "children", ()):
                self._children(list(one.children), source, path)
            else:
                raise ValueError("it is empty, or of a type that is not known here")
        except ValueError as error:
            self.report.add(source, kind, None, str(error))

    def _time_series(self, one: Any, source: str, path: tuple[str, ...]) -> None:
        kind, kinds = one.neurodata_type, kinds_of(one)
        if "ElectricalSeries" in kinds:
            is_raw = not source.startswith("processing/")
            if self.electrical_series == "none" or (self.electrical_series == "processed" and is_raw):
                wanted = "all" if is_raw else "processed"
                raise ValueError(f"electrical series are left out; ask for electrical_series={wanted!r} to keep it")
        if "IntervalSeries" in kinds:
            intervals, remarks = read_interval_series(one)
            self._add(path, intervals, source, kind, [counted(len(intervals), "interval"), *remarks])
            return
        series, remarks = read_time_series(one)
        self.parts.series[path] = series
        unit = str(one.unit or "").strip()
        self.parts.sources[path] = (source, kind, [*([f"in {unit}"] if unit else []), *remarks])
        if unit:
            self._beside(path, "unit", unit)
        for region in ("rois", "electrodes"):
            table_region = getattr(one, region, None)
            if table_region is not None and hasattr(table_region, "table"):
                self.mark(table_region)
                self._beside(path, region, table_region.data[:])
        for child in sorted(one.children, key=lambda child: str(child.name)):
            if "DynamicTable" in kinds_of(child):
                self.mark(child)
                table, table_remarks = read_table(child)
                target = self._beside(path, str(child.name), table)
                self.report.add(f"{source}/{child.name}", child.neurodata_type, target, "; ".join(table_remarks))

    def _beside(self, path: tuple[str, ...], suffix: str, value: Any) -> str:
        # What describes a series is kept beside it, as <series>_<suffix>: a series itself has a row for each sample.
        taken = self._taken[path[:-1]]
        (name,) = unique_names([f"{path[-1]}_{suffix}"], taken)
        taken.add(name)
        self.parts.values[(*path[:-1], name)] = value
        return ".".join((*path[:-1], name))

    def _add(self, path: tuple[str, ...], value: ArrayDict, source: str, kind: str, remarks: list[str]) -> None:
        self.parts.values[path] = value
        self.report.add(source, kind, ".".join(path), "; ".join(remarks))


def kinds_of(one: Any) -> set[str]:
    """The names of the types that an object is of, which stay the same over versions and extensions of pynwb."""
    return {kind.__name__ for kind in type(one).__mro__}


def path_of(one: Any) -> str:
    """Where an object is, by the names of what holds it."""
    names = []
    while one is not None and one.neurodata_type != "NWBFile":
        names.append(str(one.name))
        one = one.parent
    return "/".join(reversed(names))


__all__ = ["ElectricalSeries", "NwbParts", "NwbWalk"]

"""NWB files to recordings on disk: ``<out>/<brainset>/<session>.h5``, with a report beside each."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nd_data.data import Data
from nd_data.ingest.conversion_report import ConversionReport, RecordingReport, counted
from nd_data.ingest.nwb_file import open_nwb
from nd_data.ingest.nwb_intervals import read_table
from nd_data.ingest.nwb_metadata import session_values, subject_values
from nd_data.ingest.nwb_objects import ElectricalSeries, NwbParts, NwbWalk
from nd_data.ingest.nwb_units import SortedUnits, read_units
from nd_data.ingest.splits import FractionSplits, Splits
from nd_data.ingest.streamed_series import StreamedSeries
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.storage.writing import write_recording

_PATH_LIKE = (str, os.PathLike)
_ELECTRICAL_SERIES = ("none", "processed", "all")


def convert_nwb(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    brainset: str,
    session_id: str | None = None,
    subject_id: str | None = None,
    splits: Splits | None = FractionSplits(),  # noqa: B008 it is frozen
    electrical_series: ElectricalSeries = "none",
    require_units: bool = True,
    overwrite: bool = False,
) -> ConversionReport:
    """Convert NWB files to recordings that a :class:`~nd_data.Dataset` reads. Needs the extra ``nwb``.

    What is mapped, and how, is told in the how-to "Convert NWB files". Each recording is complete once it has its name;
    beside it lies its report, ``<session>.conversion.json``. Time series are copied a few megabytes at a time.

    Args:
        paths: One NWB 2 file, or several: each becomes a recording.
        out: The folder of the data, made where it does not exist.
        brainset: The brainset that the recordings belong to, and the name of their folder.
        session_id: The recording's name, for a single file. None for the file's name without its ending.
        subject_id: The subject, instead of the one that the file names. A file that names none gets the recording's
            name.
        splits: How to split each recording; None for no splits. By default 70 % of the time to train, the next 10 % to
            validate, the last 20 % to test.
        electrical_series: Which electrical series to take: "none", "processed" for those of processing modules (LFP),
            or "all", raw acquisitions included.
        require_units: Whether a file without sorted units is refused. Without units there are no ``units`` and no
            ``spikes``.
        overwrite: Whether recordings that exist are replaced.

    Returns:
        What was mapped and what was not; printed, it is a table.

    Raises:
        FileNotFoundError: a file does not exist.
        FileExistsError: a recording exists, and ``overwrite`` is False. Nothing was written.
        ImportError: pynwb is not installed.
        ValueError: a file is no NWB file, has no units or no times, cannot be split this way, or two files would become
            the same recording. Files before it are converted; of this one nothing is written.
    """
    sources = [Path(path) for path in ([paths] if isinstance(paths, _PATH_LIKE) else paths)]
    if electrical_series not in _ELECTRICAL_SERIES:
        raise ValueError(f"electrical_series must be one of {', '.join(_ELECTRICAL_SERIES)}, got {electrical_series!r}")
    reports = plan(sources, Path(out), brainset, session_id, overwrite=overwrite)
    for report in reports:
        try:
            with open_nwb(report.source) as (nwb, warnings):
                report.notes += warnings
                _convert(
                    nwb,
                    report,
                    subject_id=subject_id,
                    splits=splits,
                    electrical_series=electrical_series,
                    require_units=require_units,
                )
        except ValueError as error:
            message = str(error)
            raise ValueError(message if str(report.source) in message else f"{report.source}: {message}") from error
    return ConversionReport(tuple(reports))


def plan(
    sources: Sequence[Path], out: Path, brainset: str, session_id: str | None, *, overwrite: bool
) -> list[RecordingReport]:
    """Say which file becomes which recording, and refuse what cannot be before anything is read.

    Raises:
        FileExistsError: a recording exists that must not be replaced.
        ValueError: there are no files, names are no file names, or two recordings would have the same.
    """
    if not sources:
        raise ValueError("there is no file to convert")
    if session_id is not None and len(sources) > 1:
        raise ValueError(f"session_id names one recording, but there are {len(sources)} files: leave it out")
    for what, name in (("brainset", brainset), ("session_id", session_id)):
        if name is not None and name != file_name(name):
            raise ValueError(f"{what} {name!r} is no file name: use letters, digits, '_', '-', '+', '=' and '.'")
    reports: list[RecordingReport] = []
    for source in sources:
        session = session_id or file_name(source.stem)
        path = out / brainset / f"{session}.h5"
        for other in reports:
            if other.path == path:
                raise ValueError(f"{other.source} and {source} would both become {path}: convert one with session_id")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists: ask to overwrite it, or choose another session_id")
        reports.append(RecordingReport(f"{brainset}/{session}", source, path))
    return reports


def file_name(text: str) -> str:
    """A text as a file name that needs no quotes anywhere."""
    return re.sub(r"[^A-Za-z0-9_.+=-]+", "_", text).strip(".") or "recording"


def _convert(
    nwb: Any,
    report: RecordingReport,
    *,
    subject_id: str | None,
    splits: Splits | None,
    electrical_series: ElectricalSeries,
    require_units: bool,
) -> None:
    walk = NwbWalk(nwb, report, electrical_series=electrical_series)
    walk.mark(nwb.units, nwb.subject, nwb.electrodes)
    units = _units(nwb, report, require_units=require_units)
    parts = walk.collect()
    if nwb.electrodes is not None:
        electrodes, remarks = read_table(nwb.electrodes)
        parts.values["electrodes",] = electrodes
        report.add("electrodes", "electrodes", "electrodes", "; ".join([counted(len(electrodes), "row"), *remarks]))
    walk.report_others()
    domain = _domain(units, parts, report)
    for value in parts.values.values():
        if isinstance(value, IrregularTimeSeries):
            value.domain = domain  # where there are no events there were none
    if units is not None:
        parts.values["units",] = units.units
        parts.values["spikes",] = units.spikes(domain)
        if units.observed_by_unit is not None:
            parts.values["obs_intervals",] = units.observed_by_unit
    _add_ids(nwb, report, parts, subject_id)
    report.domain = _pairs(domain)
    if splits is not None:
        if splits.exclude is None and ("invalid_times",) in parts.values:
            report.notes.append("times in invalid_times belong to no split")
        for name, interval in splits.domains(parts.look_up, domain).items():
            parts.values[f"{name}_domain",] = interval
            report.splits[name] = _pairs(interval)
    report.path.parent.mkdir(parents=True, exist_ok=True)
    _write(report, parts, domain)
    report.save()


def _units(nwb: Any, report: RecordingReport, *, require_units: bool) -> SortedUnits | None:
    table = nwb.units
    problem = None
    if table is None:
        problem = "it has no units table"
    elif "spike_times" not in table.colnames:
        problem = f"its units table has no spike_times, only {', '.join(map(str, table.colnames)) or 'ids'}"
    elif len(table.id) == 0:
        problem = "its units table is empty"
    if problem is None:
        units = read_units(table)
        count = f"{counted(len(units.units), 'unit')}, {counted(len(units.timestamps), 'spike')}"
        report.add("units", table.neurodata_type, "units and spikes", "; ".join([count, *units.remarks]))
        return units
    if require_units:
        raise ValueError(
            f"{report.source} has no sorted units to decode from: {problem}. Convert it without units "
            "(require_units=False, --allow-no-units) if you decode from something else"
        )
    report.add("units", "Units", None, problem)
    return None


def _domain(units: SortedUnits | None, parts: NwbParts, report: RecordingReport) -> Interval:
    # Where units were observed; or, where the file does not say, from the first to the last time of anything.
    if units is not None and units.observed is not None:
        return units.observed
    starts, ends = [], []
    if units is not None and len(units.timestamps):
        starts.append(float(units.timestamps[0]))
        ends.append(float(np.nextafter(units.timestamps[-1], np.inf)))
    for part in (*parts.series.values(), *parts.values.values()):
        covered = part if isinstance(part, Interval) else getattr(part, "domain", None)
        if isinstance(covered, Interval) and len(covered):
            starts.append(float(covered.start.min()))
            ends.append(float(covered.end.max()))
    if not starts:
        raise ValueError(f"{report.source} has no times: no spikes, no time series and no intervals")
    report.notes.append(
        "the file has no observation intervals: the domain runs from the first to the last time of anything in it"
    )
    return Interval(min(starts), max(ends))


def _add_ids(nwb: Any, report: RecordingReport, parts: NwbParts, subject_id: str | None) -> None:
    brainset, _, session = report.recording_id.partition("/")
    parts.values["brainset",] = Data(id=brainset)
    values, remarks = session_values(nwb)
    parts.values["session",] = Data(id=session, **values)
    report.add("/", "NWBFile", "session", "; ".join([", ".join(values), *remarks]))
    values, remarks = subject_values(nwb)
    if subject_id is not None:
        values["id"] = subject_id
    elif "id" not in values:
        values["id"] = session
        report.notes.append(f"the file names no subject: subject.id is the recording's name, {session!r}")
    parts.values["subject",] = Data(**values)
    if nwb.subject is not None:
        report.add("subject", "Subject", "subject", "; ".join([", ".join(values), *remarks]))


def _write(report: RecordingReport, parts: NwbParts, domain: Interval) -> None:
    root = Data(domain=domain)
    for path, value in parts.values.items():
        setattr(_holder(root, path[:-1], domain), path[-1], value)
    for path in parts.series:
        _holder(root, path[:-1], domain)
    with write_recording(report.path) as file:
        root.to_hdf5(file)
        for path, series in parts.series.items():
            missing = series.write(file.create_group("/".join(path)))
            source, kind, remarks = parts.sources[path]
            remarks = [*remarks, *(f"{count} samples of {name} with NaN, kept" for name, count in missing.items())]
            report.add(source, kind, ".".join(path), "; ".join([_described(series), *remarks]))


def _holder(root: Data, path: tuple[str, ...], domain: Interval) -> Data:
    data = root
    for name in path:
        if name not in data:
            setattr(data, name, Data(domain=domain))
        data = getattr(data, name)
    return data


def _described(series: StreamedSeries) -> str:
    shape = (len(series), *series.arrays["data"].shape[1:])
    clock = "timestamps" if series.sampling_rate is None else f"{series.sampling_rate:g} Hz"
    return f"{clock}, data {shape} {series.arrays['data'].dtype}"


def _pairs(interval: Interval) -> list[tuple[float, float]]:
    return [(float(start), float(end)) for start, end in interval]


__all__ = ["convert_nwb"]

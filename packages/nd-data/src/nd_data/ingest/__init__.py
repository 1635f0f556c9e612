"""Recordings from elsewhere: NWB files, arrays and data frames, with ways to split them."""

from nd_data.ingest.conversion_report import ConversionReport, RecordingReport, ReportLine
from nd_data.ingest.from_arrays import recording_from_arrays, save_recording
from nd_data.ingest.nwb_conversion import convert_nwb
from nd_data.ingest.splits import FractionSplits, NamedSplits, Splits, TrialSplits, set_splits

__all__ = [
    "ConversionReport",
    "FractionSplits",
    "NamedSplits",
    "RecordingReport",
    "ReportLine",
    "Splits",
    "TrialSplits",
    "convert_nwb",
    "recording_from_arrays",
    "save_recording",
    "set_splits",
]

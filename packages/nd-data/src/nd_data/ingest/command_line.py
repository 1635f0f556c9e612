"""The part ``convert`` of the command ``nd-data``."""

import argparse
from typing import Any

from nd_data.ingest.splits import FractionSplits, NamedSplits, Splits, TrialSplits

_FRACTIONS = (0.7, 0.1, 0.2)


def add_convert_parser(commands: Any) -> None:
    """Add ``convert`` to the parts of a command.

    Args:
        commands: What ``ArgumentParser.add_subparsers`` returned.
    """
    convert = commands.add_parser(
        "convert", help="convert files of other formats", description="Convert files of other formats to recordings."
    )
    formats = convert.add_subparsers(dest="format", required=True)
    nwb = formats.add_parser(
        "nwb",
        help="convert NWB files",
        description=(
            "Convert NWB files: units, time series, intervals, subject and session. Prints what was mapped and what "
            "was not, and keeps it beside each recording as <session>.conversion.json."
        ),
        epilog=(
            "PATH leads to intervals or to a series of the recording, as the report names them; "
            "PATH:COLUMN=VALUE keeps the intervals with this value."
        ),
    )
    nwb.add_argument("inputs", nargs="+", metavar="IN.nwb", help="NWB file; each becomes a recording")
    nwb.add_argument("out", metavar="OUT", help="folder of the data: OUT/BRAINSET/SESSION.h5 is written")
    nwb.add_argument("--brainset", required=True, help="name of the brainset")
    nwb.add_argument("--session-id", help="name of the recording, for one file (default: the file's name)")
    nwb.add_argument("--subject-id", help="the subject (default: as the file says)")
    nwb.add_argument("--overwrite", action="store_true", help="replace recordings that exist")
    nwb.add_argument("--allow-no-units", action="store_true", help="convert files without sorted units, too")
    nwb.add_argument(
        "--electrical-series",
        choices=("none", "processed", "all"),
        default="none",
        help="keep LFP and other processed electrical series, or raw ones as well (default: none)",
    )
    splits = nwb.add_argument_group("splits")
    splits.add_argument(
        "--splits",
        choices=("fractions", "trials", "intervals", "none"),
        default="fractions",
        help="by fractions of the time, by whole trials, or by intervals of the file (default: fractions)",
    )
    splits.add_argument(
        "--fractions",
        nargs=3,
        type=float,
        metavar=("TRAIN", "VALID", "TEST"),
        help=f"shares of the time or of the trials (default: {' '.join(map(str, _FRACTIONS))})",
    )
    splits.add_argument("--within", metavar="PATH", help="fractions: split these times only")
    splits.add_argument("--trials", metavar="PATH", help="trials: which intervals (default: trials)")
    splits.add_argument("--shuffle-seed", type=int, metavar="SEED", help="trials: at random, not in order of time")
    for name in ("train", "valid", "test"):
        splits.add_argument(f"--{name}", nargs="+", metavar="PATH", help=f"intervals: the times of {name}")
    splits.add_argument("--gap", type=float, default=0.0, help="seconds between splits (default: 0)")
    splits.add_argument("--exclude", nargs="+", metavar="PATH", help="times of no split (default: invalid_times)")


def run_convert(options: argparse.Namespace) -> str:
    """Convert, and return the report to print.

    Raises:
        OSError: a file does not exist, or a recording does already.
        ImportError: a package is missing.
        ValueError: options do not belong together, or a file cannot be converted.
    """
    from nd_data.ingest.nwb_conversion import convert_nwb

    report = convert_nwb(
        options.inputs,
        options.out,
        brainset=options.brainset,
        session_id=options.session_id,
        subject_id=options.subject_id,
        splits=chosen_splits(options),
        electrical_series=options.electrical_series,
        require_units=not options.allow_no_units,
        overwrite=options.overwrite,
    )
    return str(report)


def chosen_splits(options: argparse.Namespace) -> Splits | None:
    """The splits that the options describe.

    Raises:
        ValueError: an option belongs to another way to split.
    """
    belongs = {
        "fractions": ("fractions", "within"),
        "trials": ("fractions", "trials", "shuffle_seed"),
        "intervals": ("train", "valid", "test"),
        "none": (),
    }
    kind = options.splits
    for name in sorted({name for names in belongs.values() for name in names} - set(belongs[kind])):
        if getattr(options, name) is not None:
            fitting = " or ".join(f"--splits {other}" for other, names in belongs.items() if name in names)
            raise ValueError(f"--{name.replace('_', '-')} goes with {fitting}, not with --splits {kind}")
    if kind == "none":
        return None
    if kind == "intervals":
        return NamedSplits(
            train=options.train or (),
            valid=options.valid or (),
            test=options.test or (),
            gap=options.gap,
            exclude=options.exclude,
        )
    train, valid, test = options.fractions or _FRACTIONS
    if kind == "trials":
        return TrialSplits(
            train=train,
            valid=valid,
            test=test,
            trials=options.trials or "trials",
            shuffle_seed=options.shuffle_seed,
            gap=options.gap,
            exclude=options.exclude,
        )
    return FractionSplits(
        train=train, valid=valid, test=test, within=options.within, gap=options.gap, exclude=options.exclude
    )


__all__ = ["add_convert_parser", "chosen_splits", "run_convert"]

"""``nd-train report RUN_DIR``: the command."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

FORMATS = ("html", "png", "pdf")

STAGES = ("test", "val", "predict")
"""Whose scores and traces are looked for, in this order."""


def main(arguments: Sequence[str]) -> int:
    """Write the report and say where it lies."""
    options = _parser().parse_args(arguments)
    # Behind the parser: its help comes at once.
    from nd_train.report.report_card import write_report
    from nd_train.report.run_folder import find_run_folder

    folder = find_run_folder(Path(options.run))
    output = None if options.output is None else Path(options.output)
    try:
        written = write_report(
            folder, output, format=options.format, stage=options.stage, baselines=not options.no_baselines
        )
    except ImportError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    for path in written:
        print(f"report: {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nd-train report", description="Write the report card of a run: one HTML file, or figures for a paper."
    )
    parser.add_argument("run", metavar="RUN_DIR", help="folder of a run, or one above it (then its newest run)")
    parser.add_argument("--format", choices=FORMATS, default="html", help="the page, or figures (default: html)")
    parser.add_argument("--output", "-o", help="file of the page, or folder of the figures")
    parser.add_argument("--stage", choices=STAGES, help="whose scores (default: test, else val)")
    parser.add_argument("--no-baselines", action="store_true", help="do not fit ridge regression to compare with")
    return parser

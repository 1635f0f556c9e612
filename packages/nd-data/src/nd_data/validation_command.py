"""The command ``nd-data validate``: all problems of all files at once."""

import argparse
from collections import Counter
from typing import Any

from nd_data.validation import Problem, as_json, validate_recordings


def add_validate_command(commands: Any) -> None:
    """Add the command to those of ``nd-data``.

    Args:
        commands: What ``ArgumentParser.add_subparsers`` returned.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "validate",
        help="find all that is wrong with recordings",
        description="Find all that is wrong with recordings. The status is 1 if there are errors, otherwise 0.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="recording file, or folder with recordings")
    parser.add_argument("--json", action="store_true", help="print one JSON document, for programs")
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    parser.add_argument("--quiet", action="store_true", help="leave out notes")


def run_validate(options: argparse.Namespace) -> int:
    """Run the command.

    Args:
        options: What the parser made of the command line.

    Returns:
        The exit status.
    """
    files, found = 0, []
    for _, problems in validate_recordings(options.paths):
        files += 1
        shown = [problem for problem in problems if not (options.quiet and problem.severity == "note")]
        found += shown
        if not options.json:
            for problem in shown:
                print(problem, flush=True)
    if options.json:
        print(as_json(files, found))
    else:
        print(_total(files, found))
    fatal = ("error", "warning") if options.strict else ("error",)
    return int(any(problem.severity in fatal for problem in found))


def _total(files: int, problems: list[Problem]) -> str:
    counts = Counter(problem.severity for problem in problems)
    wrong = len({problem.file for problem in problems if problem.severity == "error"})
    parts = [f"{counts[word]} {word}{'' if counts[word] == 1 else 's'}" for word in ("error", "warning", "note")]
    return f"{files} file{'' if files == 1 else 's'}, {wrong} with errors: " + ", ".join(parts)


__all__ = ["add_validate_command", "run_validate"]

"""``nd-train doctor``: checks a configuration against the data, before an expensive run.

It takes the words of ``nd-train fit`` and changes nothing: what it trains for a few steps, to measure them, is thrown
away.
"""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nd_train.doctor.findings import Findings


def main(arguments: Sequence[str]) -> int:
    """Check, and print a table.

    Args:
        arguments: The words of ``nd-train fit``, and the doctor's own options.

    Returns:
        0, or 1 where there is a problem.
    """
    options, words = _parser().parse_known_args(arguments)
    # Behind the parser: its help comes at once.
    from nd_train.doctor.examination import examine
    from nd_train.doctor.findings import figures_table, findings_table
    from nd_train.results_table import results_console

    findings = examine(words, recordings=options.recordings, steps=options.steps)
    if options.json:
        print(json.dumps(findings.to_json(), indent=2))
    else:
        console = results_console()
        console.print(findings_table(findings))
        if findings.figures:
            console.print(figures_table(findings.figures))
        console.print(_verdict(findings))
    return 1 if findings.count("problem") else 0


def _verdict(findings: "Findings") -> str:
    problems, warned = findings.count("problem"), findings.count("warning")
    if not problems and not warned:
        return "Nothing found: go ahead."
    return f"{problems} problems, {warned} warnings." + ("" if problems else " The run can go ahead.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nd-train doctor",
        allow_abbrev=False,
        description="Check a configuration against the data before an expensive run. All other words are those of "
        "nd-train fit: nd-train doctor --config poyo_plus --data.root ROOT --data.config FILE",
        epilog="exit code: 0, or 1 where there is a problem. nd-train fit --help lists the words of fit.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument(
        "--recordings", type=int, default=20, help="read spikes and targets of so many, spread over all (20)"
    )
    parser.add_argument("--steps", type=int, default=4, help="training steps to measure; 0 measures none (4)")
    return parser

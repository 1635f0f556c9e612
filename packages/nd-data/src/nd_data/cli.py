"""The command ``nd-data``: simulate, convert and check recordings, and say what a recording holds."""

import argparse
from collections.abc import Sequence

from nd_data.__about__ import __version__
from nd_data.data import Data
from nd_data.ingest.command_line import add_convert_parser, run_convert
from nd_data.simulate import SimulatedRecording, simulate_recordings
from nd_data.summary import summary
from nd_data.validation_command import add_validate_command, run_validate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; from the command line where None.

    Returns:
        The exit status: 0, also after the help that is printed where nothing is asked for, or 1 after an error that was
        reported in one line.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        if options.command == "simulate":
            recordings = simulate_recordings(
                options.out,
                sessions=options.sessions,
                minutes=options.minutes,
                units=options.units,
                seed=options.seed,
                brainset=options.brainset,
                mean_rate=options.mean_rate,
                kept_units=options.kept_units,
                tuning_depth=options.tuning_depth,
                time_constant=options.time_constant,
            )
            print(table(recordings))
        elif options.command == "convert":
            print(run_convert(options))
        elif options.command == "validate":
            return run_validate(options)
        else:
            for path in options.files:
                print(f"{path}\n{summary(Data.load(path))}")
    except (ImportError, OSError, TypeError, ValueError) as error:
        parser.exit(1, f"nd-data {options.command}: {error}\n")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The options of the command and of its parts."""
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(prog="nd-data", description="Recordings on disk.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command")

    simulate = commands.add_parser(
        "simulate",
        help="write simulated recordings",
        description="Write simulated recordings, and report how well an ideal decoder could do on each.",
        formatter_class=formatter,
    )
    simulate.add_argument("out", metavar="OUT", help="folder of the data")
    simulate.add_argument("--sessions", type=int, default=4, help="number of recordings")
    simulate.add_argument("--minutes", type=float, default=5.0, help="length of each")
    simulate.add_argument("--units", type=int, default=60, help="number of units in each")
    simulate.add_argument("--seed", type=int, default=0, help="the same seed gives the same recordings")
    simulate.add_argument("--brainset", default="simulated", help="name of the brainset")
    simulate.add_argument("--mean-rate", type=float, default=8.0, help="mean rate of the units in spikes a second")
    simulate.add_argument(
        "--kept-units", type=float, default=0.7, help="share of units that the next session still sees"
    )
    simulate.add_argument("--tuning-depth", type=float, default=0.6, help="standard deviation of the log rates")
    simulate.add_argument(
        "--time-constant", type=float, default=0.3, help="lag in seconds at which the velocity's autocorrelation is 1/e"
    )

    add_convert_parser(commands)

    inspect = commands.add_parser("inspect", help="say what recordings hold", formatter_class=formatter)
    inspect.add_argument("files", nargs="+", metavar="FILE", help="recording file")

    add_validate_command(commands)
    return parser


def table(recordings: Sequence[SimulatedRecording]) -> str:
    """One line a recording, below a line of headings."""
    rows = [("recording", "units", "spikes", "minutes", "ceiling R2", "file")]
    rows += [
        (one.recording_id, str(one.units), str(one.spikes), f"{one.minutes:g}", f"{one.ideal_r2:.3f}", str(one.path))
        for one in recordings
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *numbers, last = (*row,)
        cells = [
            first.ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True)),
        ]
        lines.append("  ".join([*cells, last]))
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())

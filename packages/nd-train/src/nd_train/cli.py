"""The command line ``nd-train``: a table of words, each run by a module that is imported when it is asked for."""

import importlib
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from nd_train.__about__ import __version__
from nd_train.commands.command_help import overview
from nd_train.commands.usage_errors import UsageError
from nd_train.freed_memory import keep_freed_memory

USER_ERRORS = (ValueError, KeyError, TypeError, FileNotFoundError, FileExistsError, PermissionError)

_LIGHTNING = "nd_train.commands.lightning_commands"

COMMANDS = {
    "fit": _LIGHTNING,
    "validate": _LIGHTNING,
    "test": _LIGHTNING,
    "predict": _LIGHTNING,
    "finetune": "nd_train.commands.finetune",
    "export": "nd_train.commands.export",
    "doctor": "nd_train.doctor",
    "report": "nd_train.report",
    "quickstart": "nd_train.commands.quickstart",
}
"""The module of each word; its ``main`` takes the words behind it and returns the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors that a user can mend are a line or two, a trace comes with ``--debug``.

    Returns:
        0 where all went well, 1 for an error, 2 for words that make no sense.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # the process is ours
        keep_freed_memory()
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview(), end="")
        return 0
    if given[0] == "--version":
        print(f"nd-train {__version__}")
        return 0
    word = given[0]
    try:
        _quieten()
        if word not in COMMANDS and not word.startswith("-"):
            from nd_data.nearest_names import nearest_names

            near = nearest_names(word, COMMANDS)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise UsageError(f"unknown command {word!r}{meant}; commands are {', '.join(COMMANDS)}")
        module = COMMANDS.get(word, _LIGHTNING)
        exit_code: int = _module(word, module).main(given if module == _LIGHTNING else given[1:])
    except UsageError as error:
        if debug:
            raise
        command = f"nd-train {word}" if word in COMMANDS else "nd-train"
        print(f"error: {error}\n(options: {command} --help)", file=sys.stderr)
        return 2
    except USER_ERRORS as error:
        if debug:
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
        print(f"error: {message}{notes}\n(the trace comes with --debug)", file=sys.stderr)
        return 1
    return exit_code


def _module(word: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(f"this installation of nd-train has no {word!r}: {name} is missing") from None


def _quieten() -> None:
    """Leave out what neither tells of the run nor can be changed by who runs it."""
    # Lightning's advertisements and its list of accelerators.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    # Of a checkpoint that is tested into another folder.
    warnings.filterwarnings("ignore", message="The dirpath has changed from")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    warnings.filterwarnings("ignore", message="The '.*_dataloader' does not have many workers")
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")

"""``nd-train fit | validate | test | predict``: the words that Lightning's command line runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from nd_train.commands.command_help import HELP_ALL, PAGES, page
from nd_train.commands.ready_configurations import with_ready_configurations

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningCLI

_FORECASTING = "longitudinal"


def main(arguments: Sequence[str]) -> int:
    """Run one of the four commands.

    Args:
        arguments: Its words, the command's own first.
    """
    words = with_ready_configurations(arguments)
    if not _shows_help(words):
        words = [words[0], *_with_checkpoint(words[1:])] if words[0] != "fit" else words
        command_line_of(words)(args=["--help" if word == HELP_ALL else word for word in words])
    return 0


def _shows_help(words: Sequence[str]) -> bool:
    if words[0] not in PAGES or not {"-h", "--help"} & set(words):
        return False
    print(page(words[0], forecasting=_system(words) == _FORECASTING), end="")
    return True


def _with_checkpoint(words: Sequence[str]) -> list[str]:
    # A first word that is no option is the checkpoint.
    first = words[:1]
    return [f"--ckpt_path={word}" for word in first if not word.startswith("-")] + [
        word for place, word in enumerate(words) if place or word.startswith("-")
    ]


def command_line_of(arguments: Sequence[str]) -> "type[LightningCLI]":
    """The command line that the arguments ask for: ``--system``, or ``system:`` in the last configuration that has it.

    Args:
        arguments: Words with files in place of the names of ready configurations.
    """
    if _system(arguments) == _FORECASTING:
        from nd_train.longitudinal.command_line import LongitudinalCommandLine

        return LongitudinalCommandLine
    from nd_train.commands.decoder_command_line import DecoderCommandLine

    return DecoderCommandLine


def _system(arguments: Sequence[str]) -> str:
    system = "decoding"
    for position, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if not equals and position + 1 < len(arguments):
            value = arguments[position + 1]
        if option == "--system":
            system = value
        elif option in ("--config", "-c"):
            system = _configured_system(value) or system
    return system


def _configured_system(configuration: str) -> str | None:
    text = Path(configuration).read_text() if Path(configuration).is_file() else configuration
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return None  # The parser says what is wrong with it.
    found = content.get("system") if isinstance(content, dict) else None
    return found if isinstance(found, str) else None

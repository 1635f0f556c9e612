"""Lightning's parser of a command line, with errors for people."""

from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from nd_train.commands.usage_errors import UsageError, option_names, readable


class ReadableParser(LightningArgumentParser):
    """Lightning's parser, whose errors are exceptions of one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong.

        Raises:
            UsageError: always.
        """
        parser = getattr(ex, "subcommand_parser", None) or self
        raise UsageError(readable(message, option_names(parser))) from ex

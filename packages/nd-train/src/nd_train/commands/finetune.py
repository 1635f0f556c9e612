"""``nd-train finetune``: a pretrained model learns new animals, units, sessions and tasks."""

from collections.abc import Sequence

from nd_train.commands.command_help import HELP_ALL, page
from nd_train.commands.ready_configurations import with_ready_configurations


def main(arguments: Sequence[str]) -> int:
    """Adapt a pretrained model to other recordings, and test it as ``fit`` does.

    Args:
        arguments: The pretrained model's checkpoint or folder, and options.
    """
    words = list(arguments)
    if {"-h", "--help"} & set(words):
        print(page("finetune"), end="")
        return 0
    from nd_train.commands.finetune_command_line import FinetuneCommandLine

    if words and not words[0].startswith("-"):
        words[0] = f"--pretrained={words[0]}"
    words = ["--help" if word == HELP_ALL else word for word in words]
    FinetuneCommandLine(["fit", *with_ready_configurations(words)], command=["nd-train", "finetune", *arguments])
    return 0

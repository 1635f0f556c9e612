"""The run configurations that come with the package, known by name."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path


def ready_configurations() -> dict[str, Path]:
    """The configurations that come with the package, by name."""
    folder = Path(str(resources.files("nd_train"))) / "configurations"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def with_ready_configurations(arguments: Sequence[str]) -> list[str]:
    """Replace the name of a ready configuration after ``--config`` or ``-c`` by its file.

    Raises:
        FileNotFoundError: a name that is neither a file nor a ready configuration.
    """
    known = ready_configurations()
    replaced: list[str] = []
    for position, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in ("--config", "-c") and equals:
            replaced.append(f"{option}={_configuration_file(value, known)}")
        elif position and arguments[position - 1] in ("--config", "-c"):
            replaced.append(_configuration_file(argument, known))
        else:
            replaced.append(argument)
    return replaced


def _configuration_file(name: str, known: dict[str, Path]) -> str:
    # A folder may bear the name of a ready configuration, as the quickstart's own output does.
    if Path(name).is_file() or name.lstrip().startswith("{"):
        return name
    if name in known:
        return str(known[name])
    # Only now: help must come without loading anything.
    from nd_data.nearest_names import nearest_names

    near = nearest_names(name, known)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise FileNotFoundError(
        f"--config {name}: no such file, nor a ready configuration{meant}; ready are {', '.join(known)}"
    )

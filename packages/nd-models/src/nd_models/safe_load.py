"""Read PyTorch files without running code from them, also where they hold objects of classes (see decision 0008)."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from nd_models.foreign_objects import DICTIONARIES, ForeignObject, stand_in

_logger = logging.getLogger(__name__)

# What settings are usually made of, and paths; it is no news that these were not loaded as such.
_USUAL = ("omegaconf.", "pathlib.", "typing.")
_USUAL_TYPES = DICTIONARIES | {
    f"builtins.{kind.__name__}"
    for kind in (bool, bytes, dict, float, frozenset, int, list, object, range, slice, str, tuple)
}

# What no file of weights and settings has a use for: processes, files, the interpreter. That these are named is only a
# matter of clear words; they would be as inert as any other name.
_HOSTILE_MODULES = frozenset(
    (
        *("bdb", "code", "codeop", "commands", "ctypes", "imp", "importlib", "io", "marshal", "multiprocessing", "nt"),
        *("os", "pdb", "pickle", "pip", "platform", "posix", "pty", "runpy", "shutil", "signal", "socket"),
        *("subprocess", "sys", "threading", "timeit", "webbrowser", "_io", "_pickle", "_posixsubprocess", "_thread"),
    )
)
_HOSTILE_BUILTINS = frozenset(
    ("__import__", "breakpoint", "compile", "eval", "exec", "execfile", "globals", "input", "open")
)


def safe_load(path: Path) -> Any:
    """What `torch.save` wrote into a file, with stand-ins for all but tensors and plain values.

    The file is read by PyTorch's own reader of weights, which knows a fixed table of harmless types; for every other
    name in the file it gets a class that only takes down what it is given (`nd_models.foreign_objects`). Nothing that
    the file names is imported or called. What was passed over is logged, once.

    Args:
        path: The file; it is not altered.

    Returns:
        Its contents on CPU.

    Raises:
        ValueError: it is no such file, is damaged, or asks for what only an attack would.
        OSError: it cannot be read.
    """
    foreign = _foreign_names(path)
    hostile = [name for name in foreign if _is_hostile(name)]
    if hostile:
        raise ValueError(
            f"{path}: calls {', '.join(hostile)} when it is loaded, which no checkpoint needs. Nothing of it was run "
            "or loaded; do not open this file with other programs"
        )
    try:
        with safe_globals([(stand_in(name), name) for name in foreign]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:
        # A file of something else fails in any way: the reader pops from empty stacks and unpacks too few bytes.
        # What a KeyError of a damaged file holds is a stray number.
        reason = "" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        holds = f"; it holds objects of {', '.join(foreign[:5])}, of which nothing was run" if foreign else ""
        raise ValueError(
            f"{path}: not a readable PyTorch checkpoint ({reason or type(error).__name__}){holds}"
        ) from None
    unusual = [name for name in foreign if name not in _USUAL_TYPES and not name.startswith(_USUAL)]
    if unusual:
        more = f" and {len(unusual) - 5} more" if len(unusual) > 5 else ""
        _logger.warning(
            "%s holds objects of %s%s: they were passed over, and nothing of them was run",
            path,
            ", ".join(unusual[:5]),
            more,
        )
    return content


def first_foreign(value: Any, path: str) -> str | None:
    """Where in nested mappings and lists the first stand-in is, and for what; None where there is none."""
    return next(_foreign(value, path), None)


def _foreign(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, ForeignObject) or (isinstance(value, type) and issubclass(value, ForeignObject)):
        yield f"{path} is a {value.foreign_name}"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _foreign(inner, f"{path}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _foreign(inner, f"{path}[{number}]")


def _foreign_names(path: Path) -> list[str]:
    try:
        return sorted(get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:
        # Damaged files and those of other programs fail here in many ways, and the error of reading them says more.
        return []


def _is_hostile(name: str) -> bool:
    module, _, rest = name.partition(".")
    return module in _HOSTILE_MODULES or (module in ("builtins", "__builtin__") and rest in _HOSTILE_BUILTINS)

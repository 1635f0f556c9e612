"""Names from elsewhere turned into attribute names: the same ones every time, and no two alike."""

import keyword
import re
import unicodedata
from collections.abc import Iterable, Sequence


def attribute_name(original: str) -> str:
    """The nearest name that Python, HDF5 and paths with dots can all hold.

    Letters lose their accents, runs of anything but ASCII letters, digits and underscores become one underscore, and
    underscores at either end go. What would begin with a digit gets an ``x`` before it, and a keyword of Python an
    underscore behind it. A name that is valid stays as it is.

    Args:
        original: Any text.

    Example:
        >>> attribute_name("pupil area (mm²)"), attribute_name("2p"), attribute_name("lick_times")
        ('pupil_area_mm2', 'x2p', 'lick_times')
    """
    if original.isidentifier() and original.isascii() and not original.startswith("_"):
        name = original
    else:
        ascii_only = unicodedata.normalize("NFKD", original).encode("ascii", "ignore").decode("ascii")
        name = re.sub(r"[^A-Za-z0-9_]+", "_", ascii_only).strip("_") or "unnamed"
    if name[0].isdigit():
        name = f"x{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def unique_names(originals: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """An attribute name for each original, no two alike and none of those taken.

    Names that are valid as they are keep theirs; those that must be changed give way with ``_2``, ``_3`` and so on.

    Args:
        originals: Names that belong together; one may come twice.
        taken: Names that are not free.

    Returns:
        One name for each original, in their order.

    Example:
        >>> unique_names(["a b", "a_b", "start"], taken=["start"])
        ['a_b_2', 'a_b', 'start_2']
    """
    used = set(taken)
    wanted = [attribute_name(original) for original in originals]
    names = [""] * len(originals)
    for must_change in (False, True):
        for position, (original, name) in enumerate(zip(originals, wanted, strict=True)):
            if (name != original) is must_change:
                names[position] = _free(name, used)
                used.add(names[position])
    return names


def _free(name: str, used: set[str]) -> str:
    candidate, number = name, 1
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def class_names(cls: type) -> set[str]:
    """The public names that a container needs for itself, and that no part of it can have."""
    return {name for name in dir(cls) if not name.startswith("_")}


__all__ = ["attribute_name", "class_names", "unique_names"]

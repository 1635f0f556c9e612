"""Words for a name that does not exist: what exists, and the nearest to what was asked."""

import difflib
from collections.abc import Collection

_MOST_NAMES_LISTED = 12


def nearest_name(name: str, known: Collection[str]) -> str | None:
    """The known name most like `name`, or None where nothing comes near.

    >>> nearest_name("cursor_velocity", ["cursor_velocity_2d", "running_speed"])
    'cursor_velocity_2d'
    """
    # difflib compares slowly; a vocabulary may hold 100,000 names, so look first at those of similar length.
    candidates = [word for word in known if abs(len(word) - len(name)) <= max(3, len(name) // 3)]
    found = difflib.get_close_matches(name, candidates[:5000], n=1, cutoff=0.5)
    return found[0] if found else None


def describe_known(name: str, known: Collection[str]) -> str:
    """A half sentence for an error: the nearest name, and the names that exist (the first dozen of many).

    >>> describe_known("b", ["a", "bb"])
    "nearest: 'bb'; known (2): 'a', 'bb'"
    """
    nearest = nearest_name(name, known)
    listed = ", ".join(repr(word) for word in list(known)[:_MOST_NAMES_LISTED])
    more = ", …" if len(known) > _MOST_NAMES_LISTED else ""
    beginning = f"nearest: {nearest!r}; " if nearest is not None else ""
    return f"{beginning}known ({len(known)}): {listed or 'none'}{more}"

"""The end of an error about an unknown name: the nearest ones, and those that exist."""

import difflib
from collections.abc import Iterable

_MOST_LISTED = 20


def name_hint(name: str, existing: Iterable[str], *, noun: str = "existing") -> str:
    """Say which names exist and which of them come nearest.

    Args:
        name: The name that was not found.
        existing: The names that could have been meant.
        noun: What to call them.

    Example:
        >>> name_hint("vald", ["train", "valid"], noun="existing splits")
        "did you mean 'valid'? existing splits: 'train', 'valid'"
    """
    names = sorted(existing)
    listed = ", ".join(map(repr, names[:_MOST_LISTED]))
    if len(names) > _MOST_LISTED:
        listed += f" and {len(names) - _MOST_LISTED} more"
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    meant = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
    return f"{meant}{noun}: {listed or 'none'}"

"""The end of an error about an unknown name: the nearest ones, and those that exist."""

import difflib
from collections.abc import Iterable

_MOST_LISTED = 20

# difflib compares slowly, and a vocabulary may hold 100,000 names.
_MOST_COMPARED = 5000


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
    nearest = nearest_names(name, names)
    meant = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
    return f"{meant}{noun}: {listed or 'none'}"


def nearest_names(name: str, existing: Iterable[str], *, most: int = 3) -> list[str]:
    """The names that come nearest, best first; none where nothing comes near.

    Args:
        name: The name that was not found.
        existing: The names that could have been meant.
        most: How many to return at most.

    Example:
        >>> nearest_names("cursor_velocity", ["cursor_velocity_2d", "running_speed"])
        ['cursor_velocity_2d']
    """
    # Those of similar length first: with a large vocabulary not all are compared.
    reach = max(3, len(name) // 3)
    candidates = [word for word in existing if abs(len(word) - len(name)) <= reach]
    return difflib.get_close_matches(name, candidates[:_MOST_COMPARED], n=most, cutoff=0.5)

"""Names of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ClassNames = Sequence[str] | Mapping[int, str]


def class_labels(classes: Sequence[int], names: ClassNames | None) -> list[str]:
    """The name of each class; its number where there are no names.

    Raises:
        ValueError: a class has no name.
    """
    if names is None:
        return [str(label) for label in classes]
    named = dict(names) if isinstance(names, Mapping) else dict(enumerate(names))
    nameless = [label for label in classes if label not in named]
    if nameless:
        raise ValueError(f"class {nameless[0]} has no name; names are given for {_listed(sorted(named))}")
    return [named[label] for label in classes]


def _listed(labels: Sequence[int]) -> str:
    return f"{labels[0]} … {labels[-1]}" if len(labels) > 8 else ", ".join(map(str, labels)) or "none"

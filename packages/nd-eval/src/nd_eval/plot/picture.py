"""A drawn figure, made without pyplot and its global state, and the way to a file.

Everything else in this folder draws onto matplotlib Axes that come from here or from the caller.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nd_eval.whole_file import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")

# Wong (2011, Nature Methods 8:441): told apart with every common form of colour blindness, and in print.
TRUE_COLOR = "0.55"
PREDICTED_COLOR = "#0072B2"
ACCENT_COLOR = "#D55E00"
FAINT_COLOR = "0.9"

_UNDATED = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


@dataclass(frozen=True)
class Picture:
    """A figure and the panels that were drawn.

    Attributes:
        figure: The matplotlib Figure; pyplot does not know it.
        axes: The panels, in reading order.
    """

    figure: Figure
    axes: tuple[Axes, ...]

    def save(self, path: str | Path, *, dpi: float = 200.0) -> Path:
        """Write the picture, whole or not at all; the same picture gives the same PNG.

        Args:
            path: Where to; the suffix chooses between png, pdf and svg. Folders that lack are made.
            dpi: Dots per inch, of a png and of dense parts in the others.

        Returns:
            The path.

        Raises:
            ValueError: the suffix is none of the three.
        """
        path = Path(path)
        kind = path.suffix.lower().removeprefix(".")
        if kind not in FORMATS:
            raise ValueError(
                f"a picture is saved as {', '.join('.' + known for known in FORMATS)}; found {path.name!r}"
            )
        with whole_file(path) as unfinished:
            self.figure.savefig(unfinished, format=kind, dpi=dpi, metadata=_UNDATED[kind])
        return path

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        written = io.BytesIO()
        self.figure.savefig(written, format="png", dpi=110)
        return written.getvalue()


def panels(
    axes: Axes | Sequence[Axes] | None,
    rows: int,
    columns: int,
    *,
    size: tuple[float, float],
    share_times: bool = False,
    square: bool = False,
) -> Picture:
    """The panels to draw on: the caller's, or those of a new figure.

    Args:
        axes: The caller's, one for each panel, or None.
        rows: Rows of panels in a new figure.
        columns: Columns of panels in a new figure.
        size: Width and height of a new figure in inches.
        share_times: Whether the panels of a column share their horizontal axis.
        square: Whether the panels keep a fixed shape.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the caller's Axes are too few or too many.
    """
    try:
        from matplotlib.axes import Axes
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise ImportError("pictures need matplotlib: pip install 'nd-eval[plot]'") from problem
    if axes is None:
        figure = Figure(figsize=size, layout="compressed" if square else "constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False, sharex="col" if share_times else False)
        return Picture(figure, tuple(grid.flat))
    given = (axes,) if isinstance(axes, Axes) else tuple(axes)
    if len(given) != rows * columns:
        raise ValueError(f"this picture has {rows * columns} panels, but {len(given)} Axes were given")
    root = given[0].get_figure(root=True)
    if root is None:
        raise ValueError("the Axes belong to no figure any more")
    return Picture(root, given)


def plain(axes: Axes) -> None:
    """Take away what says nothing, and write ticks as they are."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def with_unit(name: str, unit: str | None) -> str:
    """Such as ``velocity (cm/s)``."""
    return f"{name} ({unit})" if unit else name


def shortened(name: str, length: int) -> str:
    """The name, its middle left out where it is longer than this."""
    if len(name) <= length:
        return name
    kept = max(2, length - 1)
    return f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"


def shortened_names(names: Sequence[str], length: int) -> list[str]:
    """The names, shortened as far as they stay distinct."""
    longest = max(map(len, names), default=0)
    while length < longest:
        short = [shortened(name, length) for name in names]
        if len(set(short)) == len(set(names)):
            return short
        length += 4
    return list(names)


def quantity_text(value: float, unit: str | None) -> str:
    """A value with its unit, such as ``3.2 cm/s`` or ``12°``."""
    return score_text(value) + (f"{'' if unit == '°' else ' '}{unit}" if unit else "")


def score_text(value: float) -> str:
    """A score in as few digits as tell something."""
    if value != value:
        return "undefined"
    size = abs(value)
    text = f"{value:.2f}" if size == 0.0 or 0.095 <= size < 100.0 else f"{value:.3g}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")

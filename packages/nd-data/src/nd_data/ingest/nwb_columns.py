"""The columns of NWB tables as arrays: numbers, text, references by name, and lists of one length.

Shape legend: N rows of the table.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nd_data.ingest.attribute_names import unique_names

#: What joins texts where a row has a list of them.
TEXT_SEPARATOR = "; "

_MASKS = ("image_mask", "pixel_mask", "voxel_mask")


class Columns(NamedTuple):
    """The columns of a table.

    Attributes:
        arrays: Attribute name to array, each of shape (N, ...).
        renamed: Column to the attribute name it got, where that is another.
        left_out: Column to the reason why it has no array.
    """

    arrays: dict[str, NDArray[Any]]
    renamed: dict[str, str]
    left_out: dict[str, str]

    def remarks(self) -> list[str]:
        """What a report should say about columns that are not as they were."""
        return [
            *(f"column {column!r} is {name!r}" for column, name in self.renamed.items()),
            *(f"column {column!r} not mapped: {reason}" for column, reason in self.left_out.items()),
        ]


def table_columns(table: Any, *, skip: tuple[str, ...] = (), taken: set[str] | frozenset[str] = frozenset()) -> Columns:
    """Read the columns of an ``hdmf`` dynamic table, in their order.

    Args:
        table: The table.
        skip: Columns to leave out without a word.
        taken: Names that an array cannot have.
    """
    read: dict[str, NDArray[Any]] = {}
    left_out: dict[str, str] = {}
    for column in table.colnames:
        if str(column) in skip:
            continue
        try:
            read[str(column)] = column_array(table, str(column))
        except ValueError as error:
            left_out[str(column)] = str(error)
    names = dict(zip(read, unique_names(list(read), taken), strict=True))
    return Columns(
        {names[column]: values for column, values in read.items()},
        {column: name for column, name in names.items() if column != name},
        left_out,
    )


def column_array(table: Any, name: str) -> NDArray[Any]:
    """One column.

    Raises:
        ValueError: it has no form as an array; the message says why.
    """
    column = table[name]
    kind = type(column).__name__
    if name in _MASKS:
        raise ValueError("images are not mapped")
    if kind == "TimeSeriesReferenceVectorData" or type(getattr(column, "target", None)).__name__ == (
        "TimeSeriesReferenceVectorData"
    ):
        raise ValueError("references into time series are not mapped")
    if kind == "VectorIndex":
        values = _list_column(column)
    elif kind == "EnumData":
        values = plain_array(column.elements.data)[np.asarray(column.data[:], dtype=np.intp)]
    else:
        values = plain_array(column.data)
    if len(values) != len(table.id):
        raise ValueError(f"it has {len(values)} rows, the table has {len(table.id)}")
    return values


def _list_column(index: Any) -> NDArray[Any]:
    # One list a row: an array where all lists have one length, joined where they hold text.
    target = index.target
    if type(target).__name__ == "VectorIndex":
        raise ValueError("its rows are lists of lists")
    ends = list_ends(index)
    lengths = np.diff(ends, prepend=0)
    same_length = len(lengths) > 0 and bool((lengths == lengths[0]).all()) and lengths[0] > 0
    if not same_length and len(lengths) and _first_kind(target.data) not in "OSU":
        raise ValueError(f"its rows are lists of {lengths.min()} to {lengths.max()} numbers")
    values = plain_array(target.data)[: int(ends[-1]) if len(ends) else 0]
    if not same_length:
        texts = [TEXT_SEPARATOR.join(map(str, part)) for part in np.split(values, ends[:-1])] if len(ends) else []
        return np.array(texts, dtype=np.str_)
    if lengths[0] == 1:
        return values
    return values.reshape(len(lengths), int(lengths[0]), *values.shape[1:])


def list_ends(index: Any) -> NDArray[np.int64]:
    """Where the list of each row ends in the flat column. Shape: (N,).

    Raises:
        ValueError: the ends decrease, or lie beyond the column.
    """
    ends = np.asarray(index.data[:]).astype(np.int64)
    length = len(index.target.data)
    if len(ends) and ((np.diff(ends, prepend=0) < 0).any() or int(ends[-1]) > length):
        raise ValueError(f"its index is damaged: it must increase up to at most {length}")
    return ends


def _first_kind(data: Any) -> str:
    dtype = getattr(data, "dtype", None)
    if isinstance(dtype, np.dtype):
        return dtype.kind
    return "O" if len(data) == 0 else np.asarray(data[0]).dtype.kind


def plain_array(data: Any) -> NDArray[Any]:
    """The values of a column or of a series as numbers or text.

    Args:
        data: An h5py dataset, an array, or a list.

    Raises:
        ValueError: they are neither numbers, nor text, nor references to named objects.
    """
    dtype = getattr(data, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.names is not None:
        raise ValueError(f"its rows are records of {', '.join(dtype.names)}")
    values = data[:]
    if isinstance(values, np.ndarray) and values.dtype.kind in "biufcU":
        return values
    items = list(np.asarray(values, dtype=object).ravel()) if isinstance(values, np.ndarray) else list(values)
    if items and all(hasattr(item, "neurodata_type") for item in items):
        return np.array([str(item.name) for item in items], dtype=np.str_)
    if all(isinstance(item, str | bytes) for item in items):
        texts = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in items]
        out = np.array([text.rstrip("\0") for text in texts], dtype=np.str_)
        return out.reshape(values.shape) if isinstance(values, np.ndarray) else out
    try:
        plain = np.array(items)
    except ValueError:
        plain = np.array(items, dtype=object)
    if plain.dtype.kind not in "biufc":
        kinds = sorted({type(item).__name__ for item in items})
        raise ValueError(f"it holds {', '.join(kinds)}, expected numbers or text")
    return plain


__all__ = ["Columns", "column_array", "list_ends", "plain_array", "table_columns"]

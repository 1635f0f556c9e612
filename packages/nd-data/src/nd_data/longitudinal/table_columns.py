"""Tables and their columns: read, found, and turned into numbers or one clear error."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nd_data.longitudinal.time_axis import TimeAxis, axis_of_dates
from nd_data.nearest_names import name_hint

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = {".csv": ",", ".txt": ",", ".tsv": "\t"}


def read_table(table: "pd.DataFrame | str | PathLike[str]") -> "pd.DataFrame":
    """A data frame as it is, or the one that a file holds.

    Args:
        table: A data frame, or the path of a `.csv`, `.txt` (comma), `.tsv` or `.parquet` file; compressed text
            (`.csv.gz`) too.

    Raises:
        ImportError: pandas, or for parquet pyarrow, is not installed.
        FileNotFoundError: no such file.
        ValueError: another kind of file, or one that cannot be read.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("tables need pandas: pip install 'nd-data[pandas]'") from error
    if isinstance(table, pd.DataFrame):
        return table
    path = Path(table)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = (
        suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in {".gz", ".bz2", ".xz", ".zip"} else "".join(suffixes[-1:])
    )
    if kind not in {*_SEPARATORS, ".parquet"}:
        raise ValueError(f"{path} is none of .csv, .txt, .tsv, .parquet; read it with pandas and give the data frame")
    if not path.is_file():
        raise FileNotFoundError(f"no table at {path}")
    try:
        if kind == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep=_SEPARATORS[kind])
    except ImportError as error:
        raise ImportError(f"{path} needs pyarrow: pip install 'nd-data[parquet]'") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as {kind}: {error}") from error


def as_names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """One name, several or none."""
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def check_columns(table: "pd.DataFrame", names: Iterable[str], role: str) -> None:
    """Refuse a name that is no column, or is several.

    Raises:
        KeyError: no such column; says which exist and which come nearest.
        ValueError: the name stands for more than one column.
    """
    existing = [str(column) for column in table.columns]
    for name in names:
        count = existing.count(name)
        if count == 0:
            raise KeyError(f"no {role} column {name!r}; {name_hint(name, existing, noun='columns')}")
        if count > 1:
            raise ValueError(f"{count} columns are called {name!r}; the {role} column needs a name of its own")


def number_columns(table: "pd.DataFrame", names: Sequence[str], role: str) -> NDArray[np.float64]:
    """Columns of numbers or booleans, missing ones as NaN. Shape: (rows, columns).

    Raises:
        ValueError: a column holds text, dates or anything else, or an infinite value; names the first.
    """
    numbers = np.empty((len(table), len(names)), dtype=np.float64)
    for position, name in enumerate(names):
        numbers[:, position] = _numbers(table[name], f"{role} column {name!r}")
    return numbers


def whole_numbers(column: "pd.Series", role: str) -> NDArray[np.int64]:
    """A column of whole numbers without missing values. Shape: (rows,).

    Raises:
        ValueError: a value that is missing or not whole.
    """
    numbers = _numbers(column, role)
    _refuse_missing(np.isnan(numbers), role)
    odd = numbers != np.trunc(numbers)
    if odd.any():
        raise ValueError(f"{role} holds {numbers[odd][0]} in row {int(np.argmax(odd))}, expected whole numbers")
    return numbers.astype(np.int64)


def names_of_rows(column: "pd.Series", role: str) -> tuple[NDArray[np.int64], list[Any]]:
    """Number each row's name in the order of first appearance.

    Returns:
        The numbers, shape (rows,), and the names: int where all are whole numbers, else text.

    Raises:
        ValueError: a name is missing.
    """
    import pandas as pd

    codes, found = pd.factorize(column, use_na_sentinel=True)
    _refuse_missing(codes < 0, role)
    names = list(found)
    whole = all(isinstance(name, int | np.integer) and not isinstance(name, bool) for name in names)
    whole = whole or all(isinstance(name, float | np.floating) and float(name).is_integer() for name in names)
    return np.asarray(codes, dtype=np.int64), [int(name) if whole else str(name) for name in names]


def step_numbers(
    table: "pd.DataFrame", time: str | Mapping[str, int], time_step: Any
) -> tuple[NDArray[np.int64], TimeAxis | None]:
    """The step of every row, and the axis that turns it back into a time.

    Args:
        table: With the columns that `time` names.
        time: A column of step numbers, times or dates; or columns of whole numbers with the steps each counts for.
        time_step: Length of a step; None where the column counts steps.

    Raises:
        ValueError: times that are missing, no times, or that need `time_step`.
    """
    import pandas as pd

    if isinstance(time, Mapping):
        if time_step is not None:
            raise ValueError("time_step is for one column of times; a mapping of columns to steps says the same itself")
        parts = [int(steps) * whole_numbers(table[name], f"time column {name!r}") for name, steps in time.items()]
        return np.sum(parts, axis=0, dtype=np.int64), None
    column, role = table[time], f"time column {time!r}"
    _refuse_missing(column.isna().to_numpy(), role)
    is_text = pd.api.types.is_string_dtype(column) or column.dtype == object
    if not is_text and not pd.api.types.is_datetime64_any_dtype(column):
        if time_step is None:
            return whole_numbers(column, role), None
        if isinstance(time_step, bool | str) or not time_step > 0:
            raise ValueError(f"{role} counts in numbers: time_step must be a number above zero, got {time_step!r}")
        axis = TimeAxis(0.0, float(time_step))
        return axis.ids_of(_numbers(column, role)), axis
    if time_step is None:
        raise ValueError(
            f"{role} holds {'text' if is_text else 'dates'}: give the length of a step, e.g. time_step='1D'"
        )
    try:
        # Of a zone, the clock on the wall counts: days begin at midnight where the person is.
        dates = (pd.to_datetime(column, format="ISO8601") if is_text else column).dt.tz_localize(None)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{role} cannot be read as dates such as 2024-03-01 or 2024-03-01T18:30 of one time zone ({error}); "
            "convert it with pandas.to_datetime first"
        ) from error
    axis = axis_of_dates(dates, time_step)
    return axis.ids_of(dates.to_numpy(dtype="datetime64[ns]")), axis


def _numbers(column: "pd.Series", role: str) -> NDArray[np.float64]:
    import pandas as pd

    if pd.api.types.is_complex_dtype(column) or not (
        pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or column.dtype == object
    ):
        raise ValueError(f"{role} holds {_what(column)}, expected numbers; leave it out or encode it as numbers")
    if column.dtype == object:
        number = column.map(lambda value: isinstance(value, bool | int | float | np.number | np.bool_))
        odd = ~(number | column.isna()).to_numpy(dtype=bool)
        if odd.any():
            row = int(np.argmax(odd))
            raise ValueError(
                f"{role} holds {column.iloc[row]!r} in row {row}, expected numbers; missing values stay empty"
            )
    numbers: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        raise ValueError(f"{role} holds an infinite value in row {int(np.argmax(np.isinf(numbers)))}")
    return numbers


def _what(column: "pd.Series") -> str:
    there = column.dropna()
    return f"{column.dtype}, such as {there.iloc[0]!r}" if len(there) else str(column.dtype)


def _refuse_missing(missing: NDArray[np.bool_], role: str) -> None:
    if missing.any():
        raise ValueError(
            f"{role} lacks a value in {int(missing.sum())} rows, the first being row {int(np.argmax(missing))}"
        )

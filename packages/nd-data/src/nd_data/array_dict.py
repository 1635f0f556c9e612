"""A dictionary of arrays that share their first dimension, for instance one row a unit."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nd_data.nearest_names import name_hint
from nd_data.storage.layout import StoredGroup, layout_of
from nd_data.storage.writing import write_arrays, write_names
from nd_data.stored_rows import StoredArrays

if TYPE_CHECKING:
    import pandas as pd


#: Methods that an array may hide: files have such arrays ("split" in a trial table), and nothing here calls them.
MAY_HIDE_METHODS = frozenset(
    {"arange", "coalesce", "difference", "dilate", "from_dataframe", "from_list", "linspace", "split", "subdivide"}
)


class ArrayDict:
    """Arrays that share their first dimension, held as attributes.

    Args:
        **kwargs: Arrays, or what NumPy makes arrays of, each of shape (N, ...).

    Raises:
        ValueError: an array has no dimension, or its first dimension differs from that of the others.

    Example:
        >>> units = ArrayDict(id=["a", "b", "c"], rate=[4.0, 11.0, 7.5])
        >>> len(units), units.keys()
        (3, ['id', 'rate'])
        >>> units.select_by_mask(units.rate > 5.0).id
        array(['b', 'c'], dtype='<U1')
    """

    # Whether it is cut when what holds it is.
    _is_timed: ClassVar[bool] = False

    def __init__(self, **kwargs: ArrayLike) -> None:
        for name, value in kwargs.items():
            setattr(self, name, value)

    def keys(self) -> list[str]:
        """The names of all arrays."""
        return [name for name in self.__dict__ if not name.startswith("_")]

    def __len__(self) -> int:
        length = self._first_dimension()
        if length is None:
            raise ValueError(f"this {type(self).__name__} is empty: it has no arrays, and so no length")
        return length

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            value = self._checked(name, value)
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise_missing(self, name, () if name.startswith("_") else self.keys())

    def __repr__(self) -> str:
        lines = [f"  {name}={[len(self), *self._trailing_shape(name)]}" for name in self.keys()]
        return f"{type(self).__name__}(\n" + ",\n".join(lines) + "\n)"

    def array_shapes(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of each array, without reading any."""
        return {name: ((len(self), *self._trailing_shape(name)), self._dtype(name)) for name in self.keys()}

    def select_by_mask(self, mask: NDArray[np.bool_]) -> Self:
        """Keep the rows where a mask is True.

        Args:
            mask: One flag a row, of dtype bool. Shape: (N,).

        Returns:
            A new object; nothing is shared with this one.

        Raises:
            ValueError: the mask is not a Boolean array of shape (N,).
        """
        self._check_mask(mask)
        return self._with_arrays({name: self.__dict__[name][mask] for name in self.keys()})

    @classmethod
    def from_dataframe(cls, df: "pd.DataFrame", unsigned_to_long: bool = True, **kwargs: Any) -> Self:
        """Take the columns of a pandas data frame as arrays.

        Args:
            df: Columns of numbers, of text, or of NumPy arrays of one shape, which are stacked.
            unsigned_to_long: Whether unsigned integers become int64.
            **kwargs: Further arguments of the constructor.

        Raises:
            ValueError: a column has the name of a method, or holds what no array can hold.
        """
        from nd_data.from_dataframe import dataframe_arrays

        for column in df.columns:
            if hasattr(cls, str(column)):
                raise ValueError(f"column '{column}' has the name of an attribute of {cls.__name__}: rename the column")
        return cls(**{**kwargs, **dataframe_arrays(df, unsigned_to_long=unsigned_to_long)})

    def to_hdf5(self, file: h5py.Group) -> None:
        """Write all arrays, and what kind of object this is, to an HDF5 file or group.

        Args:
            file: Open for writing, and empty.

        Raises:
            TypeError: an array has a dtype that HDF5 cannot hold.
        """
        text_keys = write_arrays(file, {name: self._current(name) for name in self.keys()})
        write_names(file, "_unicode_keys", text_keys)
        file.attrs["object"] = "ArrayDict"

    @classmethod
    def from_hdf5(cls, file: h5py.Group) -> Self:
        """Read an object from an HDF5 file or group.

        :class:`ArrayDict` and its kin read everything at once; their lazy forms read each array when it is first used.

        Args:
            file: What :meth:`to_hdf5` wrote.

        Raises:
            ValueError: the group holds another kind of object, or does not follow the layout.
        """
        return cls.from_stored(layout_of(file))

    @classmethod
    def from_stored(cls, stored: StoredGroup) -> Self:
        """Build the object from the layout of its group (see :func:`nd_data.storage.read_layout`)."""
        check_kind(stored, "ArrayDict")
        arrays = {name: array.read() for name, array in stored.arrays.items()}
        try:
            return cls(**arrays)
        except ValueError as error:
            raise ValueError(f"{stored.where()}: {error}") from None

    def materialize(self) -> Self:
        """Read everything that is still only on disk into memory.

        Returns:
            This object.
        """
        for name in self.keys():
            getattr(self, name)
        return self

    def __copy__(self) -> Self:
        out = object.__new__(type(self))
        out.__dict__.update(self.__dict__)
        return out

    def _first_dimension(self) -> int | None:
        for name, value in self.__dict__.items():
            if not name.startswith("_"):
                return int(value.shape[0])
        return None

    def _trailing_shape(self, name: str) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.__dict__[name].shape
        return shape[1:]

    def _dtype(self, name: str) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.__dict__[name].dtype
        return dtype

    def _current(self, name: str) -> NDArray[Any]:
        # The array without keeping it in memory where it was only on disk.
        values: NDArray[Any] = self.__dict__[name]
        return values

    def _checked(self, name: str, value: Any) -> NDArray[Any]:
        check_name(type(self), name)
        values = np.asarray(value)
        if values.ndim == 0:
            raise ValueError(f"'{name}' must have at least one dimension, got the scalar {value!r}")
        length = self._first_dimension()
        if length is not None and values.shape[0] != length:
            raise ValueError(
                f"'{name}' has {values.shape[0]} rows, but the arrays {self.keys()} of this {type(self).__name__} "
                f"have {length}: all arrays must have the same first dimension"
            )
        return values

    def _check_mask(self, mask: Any) -> None:
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 1:
            found = f"{mask.dtype} of shape {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise ValueError(f"the mask must be a one-dimensional NumPy array of dtype bool, got {found}")
        if len(mask) != len(self):
            raise ValueError(f"the mask has {len(mask)} flags, but this {type(self).__name__} has {len(self)} rows")

    def _private_state(self, domain: Any = None) -> dict[str, Any]:  # noqa: ARG002 for those that have one
        # What a selection of rows keeps besides the arrays; with its domain, where it has one and it becomes another.
        return {}

    def _with_arrays(self, arrays: dict[str, NDArray[Any]], domain: Any = None) -> Self:
        out = object.__new__(type(self))
        out.__dict__.update(arrays)
        out.__dict__.update(self._private_state(domain))
        return out


class LazyArrayDict(StoredArrays, ArrayDict):
    """An :class:`ArrayDict` in a file: each array is read when it is first used.

    It comes from ``LazyArrayDict.from_hdf5`` or ``Data.load``, and becomes an :class:`ArrayDict` once all was read.
    """

    _eager_class = ArrayDict
    _kind = "ArrayDict"


def check_kind(stored: StoredGroup, kind: str) -> None:
    """Raise if a group holds another kind of object than the one asked for."""
    if stored.kind != kind:
        raise ValueError(f"{stored.where()} holds an object of kind {stored.kind}, expected {kind}")


def check_name(cls: type, name: str) -> bool:
    """Raise if an array cannot have a name because the class needs it; otherwise tell whether it hides a method."""
    if not any(name in base.__dict__ for base in cls.__mro__):
        return False
    if name not in MAY_HIDE_METHODS:
        raise ValueError(f"'{name}' is an attribute of every {cls.__name__} and cannot name an array: use another name")
    return True


def raise_missing(owner: object, name: str, existing: Iterable[str]) -> NoReturn:
    """Raise an AttributeError that lists what there is, and the nearest name."""
    names = list(existing)
    hint = f"; {name_hint(name, names, noun='it has')}" if names else ""
    raise AttributeError(f"{type(owner).__name__} has no attribute '{name}'{hint}", name=name, obj=None)


__all__ = ["ArrayDict", "LazyArrayDict"]

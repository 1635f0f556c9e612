"""Constant arrays: nobody can write to them, and they are told from arrays that someone can."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from nd_data.constant_array import constant_array, is_constant


@given(hnp.arrays(hnp.scalar_dtypes() | hnp.unicode_string_dtypes(), hnp.array_shapes(min_dims=0, min_side=0)))
def test_a_constant_array_is_an_equal_copy(values):
    constant = constant_array(values)
    assert constant.dtype == values.dtype
    assert constant.shape == values.shape
    assert constant.tobytes() == values.tobytes()
    assert is_constant(constant)


def test_writing_to_the_original_or_setting_flags_changes_nothing():
    values = np.array(["a", "b"])
    constant = constant_array(values)
    values[0] = "z"
    assert constant.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="read-only"):
        constant[0] = "z"
    with pytest.raises(ValueError, match="WRITEABLE"):
        constant.flags.writeable = True


def test_nothing_else_is_taken_for_constant():
    constant = constant_array(np.arange(4))
    read_only = np.arange(4)
    read_only.flags.writeable = False
    over_writable_bytes = np.frombuffer(bytearray(32), dtype=np.int64)
    over_writable_bytes.flags.writeable = False
    for other in (
        np.arange(4),
        read_only,
        over_writable_bytes,
        constant[1:],
        constant.copy(),
        copy.deepcopy(constant),
        pickle.loads(pickle.dumps(constant)),  # noqa: S301
    ):
        assert not is_constant(other)


def test_arrays_of_objects_cannot_be_constant():
    with pytest.raises(ValueError, match="holds Python objects"):
        constant_array(np.array([[]], dtype=object))

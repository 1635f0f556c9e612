"""ArrayDict: arrays that share their first dimension."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data import ArrayDict


def make_units():
    return ArrayDict(id=["a", "b", "c"], rate=[4.0, 11.0, 7.5], waveform=np.arange(12.0).reshape(3, 4))


def test_arrays_are_attributes_in_the_order_given():
    units = make_units()
    assert units.keys() == ["id", "rate", "waveform"]
    assert len(units) == 3
    assert "rate" in units
    assert "depth" not in units
    assert units.waveform.shape == (3, 4)


def test_an_array_of_another_length_is_refused_with_both_lengths_named():
    units = make_units()
    with pytest.raises(ValueError, match=r"'depth' has 2 rows.*have 3"):
        units.depth = np.zeros(2)
    assert "depth" not in units


def test_a_scalar_is_no_array():
    with pytest.raises(ValueError, match="'id' must have at least one dimension"):
        ArrayDict(id="a")


def test_an_array_cannot_take_the_name_of_a_method_that_is_needed():
    with pytest.raises(ValueError, match="'keys' is an attribute of every ArrayDict"):
        ArrayDict(keys=np.zeros(3))


def test_a_missing_array_is_reported_with_the_nearest_name():
    with pytest.raises(AttributeError, match=r"no attribute 'rates'.*did you mean 'rate'"):
        _ = make_units().rates


def test_an_empty_dictionary_has_no_length():
    with pytest.raises(ValueError, match="empty"):
        len(ArrayDict())


@given(st.lists(st.booleans(), min_size=3, max_size=3))
def test_selecting_by_mask_keeps_exactly_the_rows_where_it_is_true(flags):
    units = make_units()
    mask = np.array(flags)
    kept = units.select_by_mask(mask)
    for name in ("id", "rate", "waveform"):
        assert np.array_equal(getattr(kept, name), getattr(units, name)[mask])


def test_a_selection_shares_nothing_with_its_source():
    units = make_units()
    kept = units.select_by_mask(np.ones(3, dtype=bool))
    kept.rate[:] = -1
    assert units.rate.tolist() == [4.0, 11.0, 7.5]


@pytest.mark.parametrize(
    "mask", [[True, False, True], np.array([0, 1, 1]), np.ones((3, 1), dtype=bool), np.ones(4, dtype=bool)]
)
def test_a_mask_that_is_none_is_refused(mask):
    with pytest.raises(ValueError, match="mask"):
        make_units().select_by_mask(mask)


def test_a_shallow_copy_can_be_given_other_arrays():
    units = make_units()
    other = copy.copy(units)
    other.rate = np.zeros(3)
    other.depth = np.ones(3)
    assert units.rate.tolist() == [4.0, 11.0, 7.5]
    assert "depth" not in units


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])  # noqa: S301
def test_deep_copies_and_pickles_are_equal_and_independent(duplicate):
    units = make_units()
    other = duplicate(units)
    assert other.keys() == units.keys()
    other.waveform[:] = 0
    assert units.waveform.sum() == 66


def test_data_frames_give_numbers_text_and_stacked_arrays():
    frame = pd.DataFrame(
        {
            "count": np.array([1, 2], dtype=np.uint16),
            "name": ["a", "é"],
            "score": [0.5, np.nan],
            "trace": [np.arange(3), np.arange(3, 6)],
        }
    )
    found = ArrayDict.from_dataframe(frame)
    assert found.keys() == ["count", "name", "score", "trace"]
    assert found.count.dtype == np.int64
    assert found.name.tolist() == ["a", "é"]
    assert found.name.dtype.kind == "U"
    assert np.array_equal(found.trace, [[0, 1, 2], [3, 4, 5]])
    assert ArrayDict.from_dataframe(frame, unsigned_to_long=False).count.dtype == np.uint16


@pytest.mark.parametrize(
    "column", [["a", None], [np.zeros(2), np.zeros(3)], [{"a": 1}, {"b": 2}], [pd.Timestamp(0), pd.Timestamp(1)]]
)
def test_a_column_that_cannot_become_an_array_is_named(column):
    with pytest.raises(ValueError, match="column 'odd'"):
        ArrayDict.from_dataframe(pd.DataFrame({"odd": pd.Series(column, dtype=object)}))


def test_a_column_named_like_a_method_is_refused():
    with pytest.raises(ValueError, match="column 'keys'"):
        ArrayDict.from_dataframe(pd.DataFrame({"keys": [1]}))

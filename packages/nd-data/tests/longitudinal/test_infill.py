"""Gaps: found, filled, and masked (case I01; defects DM:99-116 of the original)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data.longitudinal import carry_forward, fill_gaps, find_gaps


def test_gaps_are_filled_as_the_specification_says(case):
    one = case("I01_infill")
    filled = fill_gaps(one["inputs"])
    for key, expected in one["expected"].items():
        np.testing.assert_array_equal(filled[key], np.array(expected), err_msg=key)


def test_only_the_steps_without_a_row_are_marked_missing():
    filled = fill_gaps({"time_ids": [2, 3, 6], "embeddings": np.ones((3, 2)), "outcomes": [1.0, 2.0, 3.0]})
    assert filled["time_ids"].tolist() == [2, 3, 4, 5, 6]
    assert filled["mask"].tolist() == [False, False, True, True, False]
    assert filled["outcomes_mask"][:, 0].tolist() == [True, True, False, False, True]


def test_a_filled_outcome_is_not_observed_and_a_true_zero_is():
    filled = fill_gaps({"time_ids": [0, 2, 3], "outcomes": [[np.nan], [0.0], [np.nan]]})
    assert filled["outcomes_mask"][:, 0].tolist() == [False, False, True, False]
    assert filled["outcomes"][:, 0].tolist() == [0.0, 0.0, 0.0, 0.0]


def test_unsorted_steps_take_all_their_values_along():
    filled = fill_gaps(
        {
            "time_ids": [9, 5, 6],
            "embeddings": [[9.0], [5.0], [6.0]],
            "outcomes": [90.0, 50.0, 60.0],
            "query_ids": [109, 105, 106],
            "oots_mask": [1, 0, 0],
        }
    )
    assert filled["time_ids"].tolist() == [5, 6, 7, 8, 9]
    assert filled["embeddings"][:, 0].tolist() == [5.0, 6.0, 6.0, 6.0, 9.0]
    assert filled["outcomes"][:, 0].tolist() == [50.0, 60.0, 60.0, 60.0, 90.0]
    assert filled["query_ids"].tolist() == [105, 106, -1, -1, 109]
    assert filled["oots_mask"].tolist() == [False, False, False, False, True]


def test_each_kind_of_mask_says_missing_in_a_gap():
    given_masks = {"infill_lang_mask": [0, 0], "infill_mask": [0, 0], "mask_mood": [0, 1]}
    filled = fill_gaps({"time_ids": [0, 2], "embeddings_mood": [[1.0], [2.0]], **given_masks})
    assert filled["infill_lang_mask"].tolist() == [False, True, False]
    assert filled["infill_mask"].tolist() == [False, True, False]
    assert filled["mask_mood"].tolist() == [False, True, True]


def test_filling_gaps_changes_nothing_that_was_given():
    sequence = {
        "time_ids": np.array([7, 5]),
        "embeddings": np.array([[np.nan], [2.0]]),
        "outcomes": np.array([[np.nan], [1.0]]),
    }
    before = {key: value.copy() for key, value in sequence.items()}
    fill_gaps(sequence)
    assert sequence.keys() == before.keys()
    for key, value in before.items():
        np.testing.assert_array_equal(sequence[key], value)


def test_steps_in_seconds_are_refused_before_they_fill_the_memory():
    with pytest.raises(ValueError, match=r"86,401 of them, with a jump from 0 to 86400.*time_step"):
        fill_gaps({"time_ids": [0, 86_400], "outcomes": [1.0, 2.0]}, most_steps=1000)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=20, unique=True))
def test_the_gaps_are_what_lies_between_first_and_last_and_is_not_there(steps):
    expected = [step for step in range(min(steps), max(steps) + 1) if step not in steps]
    assert find_gaps(steps).tolist() == expected
    filled = fill_gaps({"time_ids": steps, "embeddings": np.arange(len(steps))[:, None]})
    assert filled["time_ids"][filled["mask"]].tolist() == expected


def test_no_steps_have_no_gaps():
    assert find_gaps([]).tolist() == []


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 3))
def test_what_is_carried_forward_is_the_last_observation_column_by_column(seed, steps, columns):
    rng = np.random.default_rng(seed)
    values, observed = rng.normal(size=(steps, columns)), rng.random((steps, columns)) < 0.5
    expected = np.full((steps, columns), -7.0)
    for column in range(columns):
        last = -7.0
        for step in range(steps):
            last = values[step, column] if observed[step, column] else last
            expected[step, column] = last
    spoiled = np.where(observed, values, np.nan)
    np.testing.assert_array_equal(carry_forward(spoiled, observed, initial=-7.0), expected)


def test_one_flag_a_step_counts_for_all_columns():
    carried = carry_forward([[1.0, 2.0], [3.0, 4.0]], [True, False])
    assert carried.tolist() == [[1.0, 2.0], [1.0, 2.0]]
    with pytest.raises(ValueError, match=r"observed has shape \(3,\), expected \(2,\)"):
        carry_forward([1.0, 2.0], [True, True, False])

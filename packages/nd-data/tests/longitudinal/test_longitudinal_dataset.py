"""Datasets from dictionaries: what an item holds, what is refused, what never changes."""

import copy
import pickle

import numpy as np
import pytest
import torch

from nd_data.longitudinal import LongitudinalDataset


def test_an_item_has_the_keys_and_dtypes_of_the_contract(sequences):
    item = LongitudinalDataset(sequences)[0]
    steps = len(sequences[0]["embeddings"])
    shapes = {key: (value.shape, str(value.dtype)) for key, value in item.items() if isinstance(value, np.ndarray)}
    assert shapes == {
        "embeddings": ((steps, 3), "float32"),
        "mask": ((steps,), "bool"),
        "outcomes": ((steps, 2), "float32"),
        "outcomes_mask": ((steps, 2), "bool"),
        "time_ids": ((steps,), "int64"),
        "query_ids": ((steps,), "int64"),
        "oots_mask": ((steps,), "bool"),
        "seq_embeddings_person": ((4,), "float32"),
    }
    assert (item["seq_id"], item["ooss_mask"]) == (0, 0)


def test_missing_outcomes_carry_the_last_observed_one(sequences):
    dataset = LongitudinalDataset(sequences)
    for item, given in zip((dataset[row] for row in range(len(dataset))), sequences, strict=True):
        np.testing.assert_array_equal(item["outcomes_mask"], ~np.isnan(given["outcomes"]))
        for column in range(2):
            last = np.float32(0.0)
            for step, value in enumerate(given["outcomes"][:, column].astype(np.float32)):
                last = last if np.isnan(value) else value
                assert item["outcomes"][step, column] == last


def test_neither_the_callers_data_nor_the_dataset_can_be_changed_through_each_other():
    columns = {"embeddings": [np.ones((2, 1)), np.ones((3, 1))], "outcomes": [[1.0, 2.0], [3.0, 4.0, 5.0]]}
    before = copy.deepcopy(columns)
    dataset = LongitudinalDataset.from_sequences(columns)
    assert columns.keys() == before.keys()
    columns["embeddings"][0][:] = 7.0
    assert (dataset[0]["embeddings"] == 1.0).all()
    with pytest.raises(ValueError, match="read-only"):
        dataset[0]["embeddings"][:] = 5.0
    item = dataset[0]
    item["embeddings"] = None
    assert dataset[0]["embeddings"] is not None


def test_text_ids_are_numbered_and_the_names_come_back():
    dataset = LongitudinalDataset.from_sequences({"seq_id": ["zoe", "ann"], "outcomes": [[1.0], [2.0]]})
    assert dataset.sequence_names == ("zoe", "ann")
    assert [dataset.name_of(dataset[row]["seq_id"]) for row in range(2)] == ["zoe", "ann"]
    part = dataset.select([1])
    assert part.sequence_names == ("ann",)
    assert part.name_of(part[0]["seq_id"]) == "ann"
    with pytest.raises(KeyError, match="no sequence has the number 5"):
        dataset.name_of(5)


def test_numbers_stay_the_ids_that_they_are():
    dataset = LongitudinalDataset.from_sequences(
        {"seq_id": [torch.tensor(40), np.array([7])], "outcomes": [[1.0], [2.0]]}
    )
    assert [dataset[row]["seq_id"] for row in range(2)] == [40, 7]


def test_gaps_are_filled_unless_told_otherwise():
    columns = {"time_ids": [[3, 5]], "outcomes": [[1.0, 2.0]]}
    assert LongitudinalDataset.from_sequences(columns)[0]["time_ids"].tolist() == [3, 4, 5]
    assert LongitudinalDataset.from_sequences(columns, fill_gaps=False)[0]["time_ids"].tolist() == [3, 5]


def test_tensors_lists_and_arrays_give_the_same_dataset(sequences):
    as_tensors = [{k: torch.as_tensor(v) for k, v in one.items()} for one in sequences]
    as_lists = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in one.items()} for one in sequences]
    for other in (as_tensors, as_lists):
        for item, same in zip(LongitudinalDataset(sequences), LongitudinalDataset(other), strict=True):
            assert item.keys() == same.keys()
            for key in item:
                np.testing.assert_array_equal(item[key], same[key], err_msg=key)


def test_none_in_a_list_is_a_missing_value():
    item = LongitudinalDataset([{"outcomes": [[1.0, None], [None, 2.0]]}])[0]
    assert item["outcomes_mask"].tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(("treatment", "names"), [("keep", ("a", "b", "c")), ("drop", ("a", "c"))])
def test_sequences_without_observations_are_kept_or_dropped(treatment, names):
    columns = {"seq_id": ["a", "b", "c"], "outcomes": [[1.0], [np.nan], [2.0]]}
    dataset = LongitudinalDataset.from_sequences(columns, without_observations=treatment)
    assert dataset.sequence_names == names
    assert all(np.isfinite(item["outcomes"]).all() for item in dataset)


def test_a_sequence_without_observations_can_be_an_error():
    columns = {"seq_id": ["a", "b"], "outcomes": [[1.0], [np.nan]]}
    with pytest.raises(ValueError, match=r"1 sequences have no observed outcome, the first being 'b'"):
        LongitudinalDataset.from_sequences(columns, without_observations="error")
    with pytest.raises(ValueError, match="none of the 1 sequences has an observed outcome"):
        LongitudinalDataset([{"outcomes": [np.nan]}])
    with pytest.raises(ValueError, match="'keep', 'drop' or 'error'"):
        LongitudinalDataset.from_sequences(columns, without_observations="ignore")


def test_sizes_and_names_are_known():
    dataset = LongitudinalDataset(
        [
            {
                "embeddings": [[1.0, 2.0]],
                "embeddings_mood": [[3.0]],
                "seq_embeddings": [1.0, 2.0, 3.0],
                "outcomes": [[1, 2]],
            }
        ],
        outcome_names=["pcl", "phq"],
    )
    assert dataset.feature_sizes == {"embeddings": 2, "embeddings_mood": 1, "seq_embeddings": 3}
    assert (dataset.num_features, dataset.num_outcomes, dataset.outcome_names) == (2, 2, ("pcl", "phq"))
    assert dataset.lengths.tolist() == [1]
    with pytest.raises(ValueError, match="1 outcome names for 2 outcomes"):
        LongitudinalDataset([{"outcomes": [[1, 2]]}], outcome_names=["pcl"])


def test_a_dataset_can_be_pickled_and_be_empty(sequences):
    dataset = LongitudinalDataset(sequences)
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - what a worker process does
    np.testing.assert_array_equal(again[2]["embeddings"], dataset[2]["embeddings"])
    assert len(dataset.select([])) == 0
    assert dataset.select([]).num_features == 3


@pytest.mark.parametrize(
    ("num_classes", "values", "wrong"),
    [(2, [0.0, 1.0, 2.0], "2 at step 12"), (3, [0.0, 1.5], "1.5 at step 11"), (4, [-1.0], "-1 at step 10")],
)
def test_a_class_that_does_not_exist_is_refused(num_classes, values, wrong):
    sequence = {"seq_id": "ann", "outcomes": values, "time_ids": 10 + np.arange(len(values))}
    message = rf"outcome 'outcome_0' of sequence 'ann' is {wrong}; .* the classes are 0 to {num_classes - 1}"
    with pytest.raises(ValueError, match=message):
        LongitudinalDataset([sequence], num_classes=num_classes)
    LongitudinalDataset([sequence]).check_classes(1)
    with pytest.raises(ValueError, match=wrong):
        LongitudinalDataset([sequence]).check_classes(num_classes)


def test_an_unobserved_class_is_not_checked():
    dataset = LongitudinalDataset([{"outcomes": [1.0, 9.0], "outcomes_mask": [1, 0]}], num_classes=3)
    assert dataset.num_classes == 3
    with pytest.raises(ValueError, match="num_classes must be a whole number from 1 on, got 0"):
        dataset.check_classes(0)


def test_keys_can_be_replaced_and_added_in_a_new_dataset(sequences):
    dataset = LongitudinalDataset(sequences)
    changed = dataset.with_values({"oots_mask": [np.ones(length) for length in dataset.lengths]})
    assert all(item["oots_mask"].all() for item in changed)
    assert not all(item["oots_mask"].all() for item in dataset)
    widened = dataset.with_values({"embeddings": [np.ones((length, 5)) for length in dataset.lengths]})
    assert (widened.num_features, dataset.num_features) == (5, 3)
    with pytest.raises(ValueError, match="'oots_mask' has 1 values for 6 sequences"):
        dataset.with_values({"oots_mask": [[1]]})
    with pytest.raises(ValueError, match="same keys and widths"):
        dataset.with_values({"embeddings": [np.ones((length, row + 1)) for row, length in enumerate(dataset.lengths)]})
    with pytest.raises(ValueError, match="1 outcomes in place of"):
        dataset.with_values({key: [np.ones(n) for n in dataset.lengths] for key in ("outcomes", "outcomes_mask")})


@pytest.mark.parametrize(
    ("sequence", "error", "message"),
    [
        (
            {"outcomes": [1.0, 2.0], "time_ids": [4, 4]},
            ValueError,
            r"sequence 'x': step 4 comes 2 times, in rows \[0, 1\]",
        ),
        ({"outcomes": [1.0, 2.0], "embeddings": [[1.0]]}, ValueError, "a sequence has one length"),
        ({"outcomes": []}, ValueError, "without any step"),
        ({}, ValueError, "no key with a value a step"),
        ({"outcomes": ["a"]}, TypeError, "expected numbers"),
        ({"embeddings": [[1.0], [2.0, 3.0]]}, ValueError, "rows of different lengths"),
        ({"embeddings": [[np.inf]]}, ValueError, "'embeddings' holds an infinite value in row 0"),
        ({"embeddings": [[1e39]]}, ValueError, "too large for float32"),
        ({"embeddings": np.zeros((2, 1, 1))}, ValueError, r"'embeddings' has shape \(2, 1, 1\)"),
        ({"outcomes": [1.0], "time_ids": [0.5]}, ValueError, "'time_ids' holds 0.5, expected whole numbers"),
        ({"outcomes": [1.0], "oots_mask": [2]}, ValueError, "'oots_mask' holds 2, expected 0 or 1"),
        ({"outcomes": [1.0], "mask": [[0, 1]]}, ValueError, r"'mask' has shape \(1, 2\)"),
        ({"outcomes": [[1.0, 2.0]], "outcomes_mask": [[1, 1, 1]]}, ValueError, "expected that of 'outcomes'"),
        ({"embeddings": [[1.0]], "outcomes_mask": [1]}, ValueError, "'outcomes_mask' without 'outcomes'"),
        ({"outcomes": [1.0], "labels": [1.0]}, ValueError, "'labels' is the older name of 'outcomes'"),
        ({"outcomes": [1.0], "seq_embeddings": [np.nan]}, ValueError, "must be there"),
        ({"outcomes": [1.0], "ooss_mask": [0, 1]}, ValueError, "'ooss_mask' holds 2 values"),
        ({"outcomes": [1.0], "words": np.array(["a"])}, TypeError, "'words' holds <U1"),
    ],
)
def test_unfit_sequences_are_refused_with_their_name(sequence, error, message):
    with pytest.raises(error, match=message) as caught:
        LongitudinalDataset([{"seq_id": "x", **sequence}])
    assert str(caught.value).startswith("sequence 'x'")


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([{"seq_id": 1, "outcomes": [1.0]}, {"seq_id": 1, "outcomes": [2.0]}], "two sequences are called 1"),
        ([{"embeddings": [[1.0]]}, {"embeddings": [[1.0, 2.0]]}], "same keys and widths: 0 has"),
        ([{"embeddings": [[1.0]]}, {"outcomes": [1.0]}], "same keys and widths"),
    ],
)
def test_sequences_that_do_not_belong_together_are_refused(sequences, message):
    with pytest.raises(ValueError, match=message):
        LongitudinalDataset(sequences)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="every key needs one value a sequence, found"):
        LongitudinalDataset.from_sequences({"embeddings": [[[1.0]]], "outcomes": [[1.0], [2.0]]})
    with pytest.raises(ValueError, match="no keys"):
        LongitudinalDataset.from_sequences({})
    with pytest.raises(TypeError, match="mapping of keys to lists"):
        LongitudinalDataset.from_sequences([])

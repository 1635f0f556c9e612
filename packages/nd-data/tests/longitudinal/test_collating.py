"""Batches: keys, dtypes, padding, cutting (cases C01-C03; defects DM:152-242 of the original)."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from nd_data.longitudinal import LongitudinalDataset, collate_sequences


@pytest.mark.parametrize("name", ["C01_collate_val", "C02_collate_train"])
def test_batches_are_what_the_specification_says(case, name):
    one = case(name)
    features = copy.deepcopy(one["inputs"]["features"])
    batch = collate_sequences(features, partition=one["inputs"]["partition"])
    expected = one["expected"]
    assert batch.keys() == expected["batch"].keys()
    for key, values in expected["batch"].items():
        assert batch[key].tolist() == torch.tensor(values, dtype=batch[key].dtype).tolist(), key
    for key, dtype in expected.get("dtypes", {}).items():
        assert str(batch[key].dtype) == f"torch.{dtype}", key
    assert features == one["inputs"]["features"]


def test_collating_changes_no_feature_and_the_same_features_collate_twice(sequences):
    before = copy.deepcopy(sequences)
    first, second = (collate_sequences(sequences, partition="train") for _ in range(2))
    for sequence, original in zip(sequences, before, strict=True):
        assert sequence.keys() == original.keys()
        for key, value in original.items():
            np.testing.assert_array_equal(sequence[key], value, err_msg=key)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_writing_into_a_batch_does_not_reach_the_dataset(sequences):
    dataset = LongitudinalDataset(sequences)
    items = [dataset[row] for row in range(len(dataset))]
    before = collate_sequences(items)
    for value in collate_sequences(items).values():
        value.zero_()
    after = collate_sequences([dataset[row] for row in range(len(dataset))])
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_padding_mask_is_a_boolean_tensor_true_behind_the_end(sequences):
    batch = collate_sequences(sequences)
    lengths = [len(one["embeddings"]) for one in sequences]
    assert batch["pad_mask"].dtype == torch.bool
    assert batch["pad_mask"].tolist() == [[step >= length for step in range(max(lengths))] for length in lengths]


def test_behind_the_end_features_are_zero_and_masks_say_missing(sequences):
    batch = collate_sequences([{**one, "infill_mask": np.zeros(len(one["time_ids"]))} for one in sequences])
    padding = batch["pad_mask"]
    assert padding.any()
    for key, value in {"embeddings": 0, "outcomes": 0, "time_ids": -1, "query_ids": -1}.items():
        assert (batch[key][padding] == value).all(), key
    for key, value in {"mask": True, "oots_mask": True, "outcomes_mask": False, "infill_mask": False}.items():
        assert (batch[key][padding] == value).all(), key


def test_without_out_of_time_marks_every_step_is_in_time():
    batch = collate_sequences([{"embeddings": [[1.0], [2.0]]}, {"embeddings": [[3.0]]}], partition="train")
    assert batch["oots_mask"].tolist() == [[False, False], [False, True]]
    assert batch["ooss_mask"].tolist() == [[0], [0]]


def test_training_cuts_only_behind_the_last_step_in_time():
    scattered = {"embeddings": np.arange(6.0)[:, None], "oots_mask": [1, 0, 1, 0, 1, 1], "outcomes": np.arange(6.0)}
    early = {"embeddings": np.arange(5.0)[:, None], "oots_mask": [0, 1, 1, 1, 1], "outcomes": np.arange(5.0)}
    batch = collate_sequences([scattered, early], partition="train")
    assert batch["embeddings"][0, :, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert batch["oots_mask"].tolist() == [[True, False, True, False], [False, True, True, True]]
    assert not batch["pad_mask"].any()


def test_features_of_a_sequence_are_never_cut_or_padded():
    rng = np.random.default_rng(0)
    person = rng.normal(size=(2, 5)).astype(np.float32)
    features = [
        {"embeddings": rng.normal(size=(6, 2)), "oots_mask": [0, 0, 1, 1, 1, 1], "seq_embeddings_person": person[0]},
        {"embeddings": rng.normal(size=(3, 2)), "oots_mask": [0, 1, 1], "seq_embeddings_person": person[1]},
    ]
    batch = collate_sequences(features, partition="train")
    assert batch["embeddings"].shape == (2, 2, 2)
    assert torch.equal(batch["seq_embeddings_person"], torch.from_numpy(person))


def test_a_training_batch_without_any_step_in_time_keeps_one_step():
    batch = collate_sequences([{"embeddings": [[1.0], [2.0]], "oots_mask": [1, 1]}], partition="train")
    assert batch["embeddings"].shape == (1, 1, 1)
    assert batch["oots_mask"].all()


def test_the_mask_of_missing_language_reaches_the_batch():
    batch = collate_sequences(
        [{"embeddings": [[1.0], [2.0]], "infill_lang_mask": [0, 1]}, {"embeddings": [[1.0]], "infill_lang_mask": [1]}]
    )
    assert batch["infill_lang_mask"].tolist() == [[False, True], [True, True]]


def test_keys_that_nobody_knows_are_padded_by_their_dtype():
    batch = collate_sequences(
        [
            {"embeddings": [[1.0], [2.0]], "lastobserved_mood": [[3.0], [4.0]], "rank": [5, 6], "shown": [True, True]},
            {"embeddings": [[1.0]], "lastobserved_mood": [[7.0]], "rank": [8], "shown": [True]},
        ]
    )
    assert batch["lastobserved_mood"][..., 0].tolist() == [[3.0, 4.0], [7.0, 0.0]]
    assert batch["rank"].tolist() == [[5, 6], [8, -1]]
    assert batch["shown"].tolist() == [[True, True], [True, False]]


def test_several_groups_of_features_keep_their_own_masks():
    batch = collate_sequences(
        [{"embeddings": [[1.0], [2.0]], "embeddings_mood": [[np.nan, np.nan], [1.0, np.nan]], "mask": [0, 1]}]
    )
    assert batch["mask"].tolist() == [[False, True]]
    assert batch["mask_mood"].tolist() == [[True, False]]
    assert batch["embeddings_mood"].tolist() == [[[0.0, 0.0], [1.0, 0.0]]]


def test_outcomes_may_be_absent_and_the_older_name_is_understood():
    assert "outcomes" not in collate_sequences([{"embeddings": [[1.0]]}])
    batch = collate_sequences([{"labels": [1.0, np.nan]}])
    assert batch["outcomes"].tolist() == [[[1.0], [1.0]]]
    assert batch["outcomes_mask"].tolist() == [[[True], [False]]]


def test_one_mask_a_step_counts_for_all_outcomes():
    batch = collate_sequences([{"outcomes": [[1.0, 2.0], [3.0, np.nan]], "outcomes_mask": [0, 1]}])
    assert batch["outcomes_mask"].tolist() == [[[False, False], [True, False]]]


def test_the_last_step_mode_is_said_only_when_asked_for():
    features = [{"embeddings": [[1.0]]}]
    assert "predict_last_valid_hidden_state" not in collate_sequences(features)
    assert collate_sequences(features, predict_last_valid_timestep=True)["predict_last_valid_hidden_state"] is True


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_what_is_not_padding_is_what_was_given(seed, count):
    rng = np.random.default_rng(seed)
    features = [
        {"embeddings": rng.normal(size=(steps, 2)).astype(np.float32), "time_ids": np.arange(steps) + 5}
        for steps in rng.integers(1, 8, count)
    ]
    batch = collate_sequences(features)
    for row, one in enumerate(features):
        kept = ~batch["pad_mask"][row]
        np.testing.assert_array_equal(batch["embeddings"][row][kept].numpy(), one["embeddings"])
        np.testing.assert_array_equal(batch["time_ids"][row][kept].numpy(), one["time_ids"])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_shuffles_and_works_in_other_processes(sequences, workers):
    dataset = LongitudinalDataset(sequences)
    loader = DataLoader(
        dataset,
        batch_size=4,
        shuffle=True,
        generator=torch.Generator().manual_seed(3),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        collate_fn=partial(collate_sequences, partition="train"),
    )
    ids = [int(seq_id) for batch in loader for seq_id in batch["seq_id"]]
    assert sorted(ids) == list(dataset.sequence_names)
    assert ids != sorted(ids)


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ([], ValueError, "no sequences"),
        (
            [{"embeddings": [[1.0]]}, {"embeddings": [[1.0]], "query_ids": [3]}],
            ValueError,
            r"differ in \['query_ids'\]",
        ),
        ([{"embeddings": [[1.0]]}, {"embeddings": [[1.0, 2.0]]}], ValueError, "'embeddings' has"),
        ([{"embeddings": [[1.0]], "seq_id": "ann"}], ValueError, "LongitudinalDataset gives sequences numbers"),
        ([{"embeddings": [[1.0]]}, 3], TypeError, "sequence 1 of the batch: a sequence is a mapping"),
        ([{"embeddings": [[1.0]], "ooss_mask": 2}], ValueError, "'ooss_mask' is 2"),
        (
            [
                {"embeddings": [[1.0]], "seq_embeddings_a": [1.0]},
                {"embeddings": [[1.0]], "seq_embeddings_a": [1.0, 2.0]},
            ],
            ValueError,
            "'seq_embeddings_a' has different shapes",
        ),
    ],
)
def test_sequences_that_make_no_batch_are_refused(features, error, message):
    with pytest.raises(error, match=message):
        collate_sequences(features)

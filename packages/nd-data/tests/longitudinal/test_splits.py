"""What is held out: out of time and out of sequence (defects DM:50-66 of the original)."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nd_data.longitudinal import (
    LongitudinalDataset,
    mark_out_of_time,
    split_by_folds,
    split_by_ids,
    split_sequences,
)


@pytest.fixture
def dataset():
    """Ten sequences of ten steps; two sequences in each of five folds."""
    outcomes = np.arange(10.0)
    return LongitudinalDataset(
        [
            {"seq_id": f"p{row}", "fold": row % 5, "embeddings": outcomes[:, None], "outcomes": outcomes}
            for row in range(10)
        ]
    )


def out_of_sequence(dataset):
    return {dataset.name_of(item["seq_id"]): item["ooss_mask"] for item in dataset}


def test_folds_hold_out_their_sequences_and_validation_keeps_the_trained_ones(dataset):
    splits = split_by_folds(dataset, val_folds=[1], test_folds=[4])
    assert out_of_sequence(splits.train) == {f"p{row}": 0 for row in (0, 2, 3, 5, 7, 8)}
    assert out_of_sequence(splits.val) == {**out_of_sequence(splits.train), "p1": 1, "p6": 1}
    assert out_of_sequence(splits.test) == {"p4": 1, "p9": 1}
    assert splits["val"] is splits.val
    assert all(item["ooss_mask"] == 0 for item in dataset)


def test_folds_may_be_held_out_for_the_test_alone_or_not_at_all(dataset):
    test_only = split_by_folds(dataset, test_folds=[0])
    assert (len(test_only.train), len(test_only.val), len(test_only.test)) == (8, 8, 2)
    nothing = split_by_folds(dataset, val_folds=[], test_folds=[])
    assert (len(nothing.train), len(nothing.val), len(nothing.test)) == (10, 10, 0)
    assert set(out_of_sequence(nothing.val).values()) == {0}


def test_without_folds_sequences_are_split_by_chance_or_by_name(sequences):
    dataset = LongitudinalDataset(sequences)
    assert dataset.folds is None
    assert len(split_sequences(dataset, val_fraction=0.5).train) == 3
    splits = split_by_ids(dataset, val_ids=[10], test_ids=[50])
    assert out_of_sequence(splits.val) == {0: 0, 20: 0, 30: 0, 40: 0, 10: 1}
    assert splits.test.sequence_names == (50,)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"val_folds": [1], "test_folds": [1, 2]}, ValueError, "fold 1 is held out for validation and for the test"),
        ({"val_folds": [7]}, KeyError, "no fold 7"),
        ({"val_folds": ["1"]}, KeyError, "no fold '1'; 1 is written otherwise"),
        ({"val_folds": "1"}, TypeError, "val_folds is a list, got the text '1'"),
        ({"val_folds": [0, 1, 2], "test_folds": [3, 4]}, ValueError, "all 10 sequences are held out"),
    ],
)
def test_folds_that_cannot_be_held_out_are_refused(dataset, arguments, error, message):
    with pytest.raises(error, match=message):
        split_by_folds(dataset, **arguments)


def test_a_dataset_without_folds_cannot_be_split_by_them(sequences):
    with pytest.raises(ValueError, match=r"no folds; build it with fold=<column>, or use split_sequences"):
        split_by_folds(LongitudinalDataset(sequences), val_folds=[0])
    with pytest.raises(KeyError, match="no split 'valid'; did you mean 'val'"):
        split_sequences(LongitudinalDataset(sequences))["valid"]


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.25, 0.3]), st.sampled_from([0.0, 0.1, 0.2, 0.5]))
def test_chance_parts_the_sequences_without_overlap(seed, val_fraction, test_fraction):
    dataset = LongitudinalDataset([{"outcomes": [1.0]}] * 1 + [{"outcomes": [2.0]} for _ in range(19)])
    generator = torch.Generator().manual_seed(seed)
    splits = split_sequences(dataset, val_fraction=val_fraction, test_fraction=test_fraction, generator=generator)
    validated = {name for name, held_out in out_of_sequence(splits.val).items() if held_out}
    parts = [set(splits.train.sequence_names), validated, set(splits.test.sequence_names)]
    assert sum(map(len, parts)) == 20
    assert set.union(*parts) == set(range(20))
    assert [len(part) for part in parts[1:]] == [round(20 * val_fraction), round(20 * test_fraction)]


def test_the_same_generator_state_gives_the_same_split(dataset):
    def names(generator):
        return split_sequences(dataset, val_fraction=0.3, generator=generator).train.sequence_names

    assert names(torch.Generator().manual_seed(5)) == names(torch.Generator().manual_seed(5))
    assert names(None) == names(None)
    different = {names(torch.Generator().manual_seed(seed)) for seed in range(6)}
    assert len(different) > 1


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"val_fraction": 0.01}, "val_fraction=0.01 of 10 sequences comes to none"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "hold out 10 of 10"),
        ({"test_fraction": 1.0}, "test_fraction must be at least 0 and less than 1"),
        ({"val_fraction": -0.1}, "val_fraction must be at least 0"),
    ],
)
def test_shares_that_leave_nothing_are_refused(dataset, fractions, message):
    with pytest.raises(ValueError, match=message):
        split_sequences(dataset, **fractions)


def test_a_cutoff_step_and_all_later_ones_are_out_of_time(dataset):
    marked = mark_out_of_time(dataset, cutoff=7)
    assert all(item["oots_mask"].tolist() == [False] * 7 + [True] * 3 for item in marked)
    assert not any(item["oots_mask"].any() for item in dataset)


def test_the_share_is_counted_in_observed_steps_of_each_sequence():
    outcomes = np.full(12, np.nan)
    outcomes[[0, 2, 3, 6, 9]] = 1.0
    dataset = LongitudinalDataset([{"outcomes": outcomes}, {"outcomes": [1.0, 1.0]}])
    marked = mark_out_of_time(dataset, fraction=0.4)
    assert np.flatnonzero(marked[0]["oots_mask"]).tolist() == [6, 7, 8, 9, 10, 11]
    assert not marked[1]["oots_mask"].any()


@given(st.integers(1, 60))
def test_a_fifth_is_a_fifth_whatever_the_rounding(steps):
    dataset = LongitudinalDataset([{"outcomes": np.ones(steps)}])
    assert int(mark_out_of_time(dataset, fraction=0.2)[0]["oots_mask"].sum()) == steps // 5


def test_a_date_cuts_at_the_step_that_holds_it():
    frame = pd.DataFrame({"who": "a", "when": pd.date_range("2024-01-01 09:00", periods=5, freq="D"), "y": range(5)})
    dataset = LongitudinalDataset.from_table(
        frame.assign(x=1.0), sequence="who", time="when", outcomes="y", time_step="1D"
    )
    for cutoff in ("2024-01-04", "2024-01-04T23:00", pd.Timestamp("2024-01-04 12:00")):
        assert mark_out_of_time(dataset, cutoff=cutoff)[0]["oots_mask"].tolist() == [False] * 3 + [True] * 2
    with pytest.raises(ValueError, match="the time axis counts in dates, got 3"):
        mark_out_of_time(dataset, cutoff=3)
    with pytest.raises(ValueError, match="'soon' is no date"):
        mark_out_of_time(dataset, cutoff="soon")


def test_with_a_horizon_a_step_belongs_to_the_time_of_its_outcome():
    frame = pd.DataFrame({"who": "a", "t": range(6), "y": np.arange(6.0)})
    dataset = LongitudinalDataset.from_table(frame, sequence="who", time="t", outcomes="y", horizon=2)
    marked = mark_out_of_time(dataset, cutoff=4)[0]
    in_time = ~marked["oots_mask"]
    assert marked["time_ids"][in_time].tolist() == [0, 1]
    assert marked["outcomes"][in_time, 0].max() == 3.0


@pytest.mark.parametrize("arguments", [{}, {"cutoff": 3, "fraction": 0.1}])
def test_one_way_of_cutting_must_be_chosen(dataset, arguments):
    with pytest.raises(ValueError, match="either cutoff or fraction"):
        mark_out_of_time(dataset, **arguments)


def test_a_cutoff_must_be_a_step_where_steps_are_counted(dataset):
    with pytest.raises(ValueError, match="cutoff is a step number; got '2024-01-01'"):
        mark_out_of_time(dataset, cutoff="2024-01-01")
    with pytest.raises(ValueError, match="fraction must be at least 0"):
        mark_out_of_time(dataset, fraction=1.5)

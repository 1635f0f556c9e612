"""The data of a longitudinal run: tables, splits, standardisation, loaders, and bad input."""

import numpy as np
import pytest
import torch

from nd_data.longitudinal import split_by_ids
from nd_train import LongitudinalDataModule

pd = pytest.importorskip("pandas")


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    rows = [
        (f"p{person}", day, rng.normal(3, 2), rng.normal(100, 9), person % 5)
        for person in range(10)
        for day in range(8)
        if (person + day) % 4
    ]
    return pd.DataFrame(rows, columns=["person", "day", "mood", "sleep", "fold"])


ROLES = {"sequence": "person", "time": "day", "outcomes": "mood", "features": ["mood", "sleep"], "horizon": 1}


@pytest.mark.parametrize("kind", ["frame", "csv", "dataset", "splits"])
def test_data_come_from_a_frame_a_file_a_dataset_or_splits(kind, table, tmp_path):
    wanted = LongitudinalDataModule(table, **ROLES, val_ids=["p1"], test_ids=["p2"])
    given, arguments = table, {**ROLES, "val_ids": ["p1"], "test_ids": ["p2"]}
    if kind == "csv":
        given = tmp_path / "diary.csv"
        table.to_csv(given, index=False)
    elif kind in ("dataset", "splits"):
        given = LongitudinalDataModule(table, **ROLES).splits.train
        arguments = {"val_ids": ["p1"], "test_ids": ["p2"]}
        if kind == "splits":
            given, arguments = split_by_ids(given, **arguments), {}
    data = LongitudinalDataModule(given, **arguments)
    assert (data.num_outcomes, data.feature_sizes, data.has_test) == (1, {"embeddings": 2}, True)
    for split in ("train", "val", "test"):
        assert data.splits[split].sequence_names == wanted.splits[split].sequence_names
    batch, expected = next(iter(data.test_dataloader())), next(iter(wanted.test_dataloader()))
    assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_training_is_shuffled_anew_each_epoch_by_its_own_seed_and_validation_is_not(table):
    def orders(loader):
        return [torch.cat([batch["seq_id"] for batch in loader]).flatten().tolist() for _ in range(2)]

    data = LongitudinalDataModule(table, **ROLES, train_batch_size=3, val_batch_size=3)
    first, second = orders(data.train_dataloader())
    assert first != second
    assert sorted(first) == sorted(second) == list(range(10))
    assert orders(LongitudinalDataModule(table, **ROLES, train_batch_size=3).train_dataloader()) == [first, second]
    assert orders(LongitudinalDataModule(table, **ROLES, seed=1).train_dataloader())[0] != first
    assert orders(data.val_dataloader())[0] == orders(data.val_dataloader())[1] == list(range(10))


def test_workers_give_the_same_batches(table):
    here, there = (LongitudinalDataModule(table, **ROLES, num_workers=count, val_batch_size=4) for count in (0, 2))
    pairs = list(zip(here.val_dataloader(), there.val_dataloader(), strict=True))
    assert len(pairs) == 3
    assert all(torch.equal(one[name], other[name]) for one, other in pairs for name in one)


def test_prediction_runs_over_every_sequence_once_with_what_is_held_out_marked(table):
    data = LongitudinalDataModule(table, **ROLES, fold="fold", val_folds=[1], test_folds=[2])
    batches = list(data.predict_dataloader())
    ids = torch.cat([batch["seq_id"] for batch in batches]).flatten()
    held_out = torch.cat([batch["ooss_mask"] for batch in batches]).flatten().bool()
    names = [data.splits.train.name_of(number) for number in ids.tolist()]
    assert sorted(names) == sorted(table.person.unique())
    assert {name for name, held in zip(names, held_out.tolist(), strict=True) if held} == {"p1", "p6", "p2", "p7"}


def test_another_table_can_be_the_test(table):
    other = table.assign(person=table.person + "x", mood=table.mood + 100)
    data = LongitudinalDataModule(table, **ROLES, test_table=other)
    assert len(data.splits.train) == 10
    assert data.splits.test.sequence_names == tuple(f"p{number}x" for number in range(10))
    assert next(iter(data.test_dataloader()))["ooss_mask"].bool().all()
    assert data.table_arguments("test")["name_of"](3) == "p3x"
    assert data.table_arguments("val")["name_of"](3) == "p3"


def test_scales_are_those_of_what_is_trained_on_and_travel_with_a_checkpoint(table):
    data = LongitudinalDataModule(table, **ROLES, standardize="all", val_ids=["p1"], out_of_time_fraction=0.25)
    batch = next(iter(data.train_dataloader()))
    used = ~batch["mask"] & ~batch["oots_mask"] & ~batch["pad_mask"]
    values = batch["embeddings"][used]
    torch.testing.assert_close(values.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    mean, std = data.outcome_scale
    assert mean[0] == pytest.approx(3, abs=1)
    elsewhere = LongitudinalDataModule(table.assign(mood=table.mood * 50), **ROLES)
    assert elsewhere.outcome_scale is None
    elsewhere.load_state_dict(data.state_dict())
    assert elsewhere.outcome_scale == (mean, std)


def test_times_in_the_table_are_those_of_the_predicted_outcome(table):
    dated = table.assign(day=pd.Timestamp("2024-03-01") + pd.to_timedelta(table.day, "D"))
    data = LongitudinalDataModule(dated, **ROLES, time_step="1D")
    name_of = data.table_arguments()["time_of"]
    first = data.splits.train[0]["time_ids"][0]
    assert pd.Timestamp(name_of(first)) == dated[dated.person == "p0"].day.min() + pd.Timedelta("1D")
    assert LongitudinalDataModule(table, **ROLES).table_arguments()["time_of"](4) == 5


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"outcomes": "moood"}, KeyError, "moood"),
        ({"sequence": None, "time": None}, ValueError, "give sequence, time"),
        ({"val_fraction": 0.1, "val_ids": ["p1"]}, ValueError, "by ids and by fraction: choose one way"),
        ({"out_of_time_fraction": 0.1, "out_of_time_from": 3}, ValueError, "both say which steps are held out"),
        (
            {"fold": "fold", "val_folds": [1], "test_folds": [1]},
            ValueError,
            "fold 1 is held out for validation and for",
        ),
        ({"val_folds": [1]}, ValueError, "the dataset has no folds"),
        ({"test_ids": ["p99"]}, KeyError, "no sequence 'p99'"),
        ({"horizon": 0}, ValueError, "is also a feature of the same step"),
        ({"num_classes": 3}, ValueError, "outcome|class"),
    ],
)
def test_bad_input_is_one_clear_error_before_a_run_begins(table, changes, error, message):
    with pytest.raises(error, match=message):
        LongitudinalDataModule(table, **{**ROLES, **changes}).setup("fit")


def test_a_time_that_comes_twice_names_the_person(table):
    with pytest.raises(ValueError, match="p3"):
        LongitudinalDataModule(pd.concat([table, table[table.person == "p3"].head(1)]), **ROLES).prepare()


def test_a_file_that_is_not_there_and_a_test_without_sequences_are_clear_errors(table):
    with pytest.raises(FileNotFoundError, match=r"no table at nowhere\.csv"):
        LongitudinalDataModule("nowhere.csv", **ROLES).prepare()
    with pytest.raises(ValueError, match="no sequence is held out for the test: give test_folds"):
        LongitudinalDataModule(table, **ROLES).test_dataloader()
    with pytest.raises(ValueError, match="test_table, and sequences of the table held out"):
        LongitudinalDataModule(table, **ROLES, test_ids=["p1"], test_table=table).prepare()


def test_the_callers_ragged_sequences_stay_as_they_were():
    columns = {"embeddings": [np.ones((3, 2)), np.ones((4, 2))], "outcomes": [np.ones((3, 1)), np.ones((4, 1))]}
    data = LongitudinalDataModule(columns, outcomes="calm", standardize="all")
    list(data.train_dataloader())
    assert data.splits.train.outcome_names == ("calm",)
    assert sorted(columns) == ["embeddings", "outcomes"]
    assert all((values == 1).all() for lists in columns.values() for values in lists)

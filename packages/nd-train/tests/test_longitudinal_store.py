"""Step 7: what is stored of an epoch, how it is bounded, and the tables it becomes."""

import dataclasses
import importlib.util

import numpy as np
import pytest
import torch

from nd_train.longitudinal import Forecast, PredictionStore, storable
from nd_train.longitudinal.epoch_statistics import without_repeats

pd = pytest.importorskip("pandas")


def result(outcomes=2, classes=1, ids=(7, 9), **changes):
    """Two sequences of three and two steps."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.randn(2, 3, outcomes, *([classes] if classes > 2 else []), generator=generator)
    labels = torch.randint(0, max(classes, 2), (2, 3, outcomes), generator=generator).float()
    real = torch.tensor([[1, 1, 1], [1, 1, 0]], dtype=torch.bool)
    found = Forecast(
        output=levels,
        levels=levels,
        targets=labels,
        labels=labels,
        observed=real.unsqueeze(-1).expand(2, 3, outcomes),
        loss_mask=real.unsqueeze(-1).expand(2, 3, outcomes),
        real=real,
        out_of_time=torch.tensor([[0, 0, 1], [0, 0, 0]], dtype=torch.bool),
        out_of_sequence=torch.tensor([False, True]),
        time_ids=torch.tensor([[0, 1, 2], [4, 5, -1]]),
        sequence_ids=torch.tensor(ids),
        infilled=torch.tensor([[0, 1, 0], [0, 0, 1]], dtype=torch.bool),
        query_ids=None,
    )
    return dataclasses.replace(found, **changes)


def test_padding_is_left_out_of_predictions_and_of_every_id_and_mask():
    stored = storable(result())
    assert stored.sequence_ids.tolist() == [7, 7, 7, 9, 9]
    assert stored.time_ids.tolist() == [0, 1, 2, 4, 5]
    assert stored.out_of_sequence.tolist() == [False, False, False, True, True]
    assert stored.out_of_time.tolist() == [False, False, True, False, False]
    assert stored.infilled.tolist() == [False, True, False, False, False]
    assert {len(getattr(stored, name)) for name in ("predictions", "targets", "observed", "query_ids")} == {5}


def test_a_table_has_one_line_a_sequence_time_and_outcome():
    given = result()
    table = storable(given).to_pandas(
        outcome_names=["calm", "sad"], name_of={7: "ann", 9: "bob"}.get, time_of=lambda step: f"day {step}"
    )
    assert list(table.columns) == [
        *("sequence", "time", "outcome", "prediction", "target"),
        *("observed", "out_of_time", "out_of_sequence", "infilled"),
    ]
    assert len(table) == 10
    line = table[(table.sequence == "bob") & (table.time == "day 5") & (table.outcome == "sad")].iloc[0]
    assert line.prediction == pytest.approx(given.levels[1, 1, 1].item())
    assert line.target == given.labels[1, 1, 1].item()
    assert (bool(line.observed), bool(line.out_of_sequence), bool(line.out_of_time)) == (True, True, False)
    with pytest.raises(ValueError, match="outcome_names: expected 2 names, found 1"):
        storable(given).to_pandas(outcome_names=["calm"])


def test_query_ids_are_a_column_where_there_are_any():
    table = storable(result(query_ids=torch.tensor([[1, 2, 3], [4, 5, -1]]))).to_pandas()
    assert table["query"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize("classes", [2, 4])
def test_classes_have_their_class_and_probabilities_in_the_table(classes):
    given = result(1, classes)
    table = storable(given, num_classes=classes).to_pandas()
    logits = given.levels[given.real].flatten(0, 1).numpy()
    if classes == 2:
        np.testing.assert_allclose(table.probability, 1 / (1 + np.exp(-logits.ravel())), rtol=1e-5)
        assert table.prediction.tolist() == (logits.ravel() > 0).astype(int).tolist()
    else:
        shares = table[[f"probability_{index}" for index in range(4)]].to_numpy()
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
        assert table.prediction.tolist() == shares.argmax(1).tolist()


def test_files_hold_the_table_and_nothing_half_written_stays(tmp_path):
    stored = storable(result())
    path = stored.to_csv(tmp_path / "deep" / "predictions.csv", outcome_names=["a", "b"])
    again = pd.read_csv(path)
    np.testing.assert_allclose(again.prediction, stored.to_pandas().prediction, rtol=1e-6)
    assert [file.name for file in path.parent.iterdir()] == ["predictions.csv"]


def test_parquet_holds_the_table_or_the_error_says_what_to_install(tmp_path):
    stored = storable(result())
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(ImportError, match=r"pip install 'nd-train\[tables\]'"):
            stored.to_parquet(tmp_path / "predictions.parquet")
        assert not list(tmp_path.iterdir())
    else:
        again = pd.read_parquet(stored.to_parquet(tmp_path / "predictions.parquet"))
        pd.testing.assert_frame_equal(again, stored.to_pandas())


def test_the_store_keeps_one_epoch_a_split_and_drops_what_an_interrupted_one_left():
    store = PredictionStore(num_outcomes=2)
    store.start("val")
    store.add("val", storable(result()))
    store.start("val")
    for ids in ((1, 2), (3, 4)):
        store.add("val", storable(result(ids=ids)))
    store.finish("val", epoch=3)
    assert store["val"].sequence_ids.unique().tolist() == [1, 2, 3, 4]
    assert (store["val"].epoch, store["val"].left_out, len(store), list(store)) == (3, 0, 1, ["val"])
    store.start("val")
    store.finish("val", epoch=4, keep=False)
    assert store["val"].epoch == 3
    with pytest.raises(KeyError, match=r"no predictions of 'test' are kept; kept: 'val'"):
        store["test"]
    assert "val" in store
    assert "test" not in store


def test_the_store_is_bounded_and_counts_what_it_left_out():
    store = PredictionStore(limit=14, num_outcomes=2)
    store.start("test")
    for _ in range(3):
        store.add("test", storable(result()))
    store.finish("test", epoch=0)
    assert len(store["test"]) == 7
    assert store["test"].left_out == 8


def test_rows_that_a_sampler_repeated_count_once_and_rows_without_an_id_all_count():
    rows = torch.tensor(
        [[1.0, 0, 5, 0, 10], [2, 0, 5, 0, 20], [1, 0, 5, 0, 30], [1, 6, 9, 0, 40], [torch.nan, 0, 5, 0, 50]]
    )
    rows = torch.cat([rows, rows[-1:]])
    assert without_repeats(rows)[:, -1].tolist() == [10, 20, 40, 50, 50]

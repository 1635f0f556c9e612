"""Time series copied piece by piece."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data import Data, Interval, IrregularTimeSeries, RegularTimeSeries
from nd_data.ingest import streamed_series
from nd_data.ingest.nwb_time_series import stored_array
from nd_data.ingest.streamed_series import StreamedArray, StreamedSeries


def content(group):
    """Everything in a group: attributes, and datasets with dtype and layout, by key."""
    found = {("", name): np.asarray(value).tolist() for name, value in group.attrs.items()}

    def visit(key, item):
        found.update({(key, name): np.asarray(value).tolist() for name, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[key] = (item.dtype, item.chunks, item[()].tolist())

    group.visititems(visit)
    return found


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(streamed_series, "PIECE_BYTES", 64)


def test_a_series_is_written_exactly_as_its_container_writes_it(tmp_path, small_pieces):
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(2, 9, 50))
    domain = Interval(2.0, 9.5)
    irregular = {
        "data": rng.normal(size=(50, 3)),
        "label": np.array(["go", "schön"] * 25),
        "count": np.arange(50, dtype=np.int16),
    }
    regular = {"data": rng.normal(size=(70, 2)).astype(np.float32)}
    containers = (
        IrregularTimeSeries(times, domain=domain, **irregular),
        RegularTimeSeries(sampling_rate=10.0, domain_start=1.5, **regular),
    )
    streamed = (
        StreamedSeries(
            {name: StreamedArray.of(values) for name, values in irregular.items()}, domain, timestamps=times
        ),
        StreamedSeries(
            {name: StreamedArray.of(values) for name, values in regular.items()}, Interval(1.5, 8.5), sampling_rate=10.0
        ),
    )
    with h5py.File(tmp_path / "both.h5", "w") as file:
        for number, (container, series) in enumerate(zip(containers, streamed, strict=True)):
            container.to_hdf5(file.create_group(f"container{number}"))
            assert series.write(file.create_group(f"series{number}")) == {}
            assert content(file[f"series{number}"]) == content(file[f"container{number}"])


@given(order=st.permutations(range(9)), kept=st.integers(1, 9), chunk=st.integers(1, 9), piece=st.integers(1, 400))
def test_any_choice_of_rows_is_read_in_its_order(tmp_path_factory, order, kept, chunk, piece):
    rows = np.array(order[:kept])
    values = np.arange(27.0).reshape(9, 3)
    path = tmp_path_factory.mktemp("rows") / "source.h5"
    with h5py.File(path, "w") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed_series, "PIECE_BYTES", piece)
        array = stored_array(file.create_dataset("values", data=values, chunks=(chunk, 3)))
        np.testing.assert_array_equal(np.concatenate(list(array.pieces(rows))), values[rows])
        np.testing.assert_array_equal(np.concatenate(list(array.pieces(None))), values)


def test_no_more_than_a_piece_is_read_at_a_time(tmp_path):
    read = []

    def rows(first, last):
        read.append(last - first)
        return np.zeros((last - first, 16))

    count = 5 * streamed_series.PIECE_BYTES // (16 * 8) + 3
    array = StreamedArray((count, 16), np.dtype(np.float64), rows, piece_rows=1000)
    series = StreamedSeries({"data": array}, Interval(0.0, count / 1000), sampling_rate=1000.0)
    with h5py.File(tmp_path / "long.h5", "w") as file:
        series.write(file)
    assert sum(read) == count
    assert len(read) == 6
    assert max(read) * 16 * 8 <= streamed_series.PIECE_BYTES
    assert all(number % 1000 == 0 for number in read[:-1])


def test_rows_with_nan_are_counted_over_all_pieces(tmp_path, small_pieces):
    values = np.zeros((40, 3))
    values[[0, 7, 39], [0, 1, 2]] = np.nan
    values[7, 0] = np.nan
    array = StreamedArray.of(values)
    series = StreamedSeries(
        {"data": array, "ok": StreamedArray.of(np.arange(40))}, Interval(0.0, 4.0), sampling_rate=10
    )
    with h5py.File(tmp_path / "nan.h5", "w") as file:
        assert series.write(file.create_group("series")) == {"data": 3}
        file.attrs["object"] = "Data"
        Interval(0.0, 4.0).to_hdf5(file.create_group("domain"))
    np.testing.assert_array_equal(Data.load(tmp_path / "nan.h5").series.data, values)

"""Recordings on disk: what is saved comes back, whoever stored it and however."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nd_data import (
    ArrayDict,
    Data,
    Interval,
    IrregularTimeSeries,
    LazyArrayDict,
    LazyInterval,
    LazyIrregularTimeSeries,
    LazyRegularTimeSeries,
    RegularTimeSeries,
)

CONTAINERS = {
    ArrayDict: LazyArrayDict,
    Interval: LazyInterval,
    IrregularTimeSeries: LazyIrregularTimeSeries,
    RegularTimeSeries: LazyRegularTimeSeries,
}

dtypes = st.sampled_from(["?", "i1", "<i4", ">i8", "u2", "<f4", ">f8", "f2", "c16", "S3"])
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@st.composite
def arrays(draw, length):
    if draw(st.booleans()):
        return np.array(draw(st.lists(texts, min_size=length, max_size=length)), dtype=np.str_)
    shape = (length, *draw(st.lists(st.integers(0, 3), max_size=2)))
    return draw(hnp.arrays(draw(dtypes), shape))


@st.composite
def containers(draw):
    """One object of each kind, with arrays of any kind, and empty ones among them."""
    length = draw(st.integers(0, 12))
    named = {f"array_{k}": draw(arrays(length)) for k in range(draw(st.integers(0, 3)))}
    times = np.sort(np.array(draw(st.lists(st.floats(-5, 70), min_size=length, max_size=length))))
    domain = Interval(-5.0, 70.0)
    return {
        "dictionary": ArrayDict(**named, anchor=np.arange(length)),
        "interval": Interval(times, times + 1.0, **named),
        "irregular": IrregularTimeSeries(times, domain=domain, extra=times + 1, timekeys=["extra"], **named),
        "regular": RegularTimeSeries(sampling_rate=7.0, domain_start=-2.0, anchor=np.arange(length), **named),
    }


@settings(max_examples=60, deadline=None)
@given(objects=containers(), compress=st.booleans())
def test_every_container_comes_back_as_it_was_saved(tmp_path_factory, objects, compress, compressed_copy, assert_same):
    path = tmp_path_factory.mktemp("round_trip") / "recording.h5"
    Data(**objects, domain=Interval(-10.0, 80.0)).save(path)
    if compress:
        path = compressed_copy(path)
    lazy, eager = Data.load(path), Data.load(path, lazy=False)
    pickled = pickle.loads(pickle.dumps(lazy))  # noqa: S301 our own bytes
    for name, expected in objects.items():
        assert type(getattr(lazy, name)) is CONTAINERS[type(expected)]
        assert type(getattr(eager, name)) is type(expected)
        for data in (lazy, eager, pickled):
            assert_same(getattr(data, name), expected)
        window = (1.25, 20.5)
        assert hasattr(expected, "slice") is (name != "dictionary")
        if name != "dictionary":
            assert_same(getattr(Data.load(path).slice(*window), name), expected.slice(*window))


@settings(max_examples=40, deadline=None)
@given(start=st.floats(-3, 65), length=st.floats(0, 10))
def test_windows_of_compressed_times_agree_with_a_mask(shared_compressed, start, length):
    path, spikes = shared_compressed
    inside = (spikes.timestamps >= start) & (spikes.timestamps < start + length)
    window = Data.load(path).slice(start, start + length).spikes
    assert np.array_equal(window.unit_index, spikes.unit_index[inside])
    assert np.array_equal(window.timestamps, spikes.timestamps[inside] - start)


@pytest.fixture(scope="module")
def shared_compressed(tmp_path_factory, make_recording, compressed_copy):
    path = tmp_path_factory.mktemp("compressed") / "recording.h5"
    data = make_recording()
    data.save(path)
    return compressed_copy(path), data.spikes


def test_windows_do_not_depend_on_the_index_by_seconds(path, compressed_copy):
    expected = Data.load(path, lazy=False).slice(3.2, 7.9).spikes
    for stored in (path, compressed_copy(path)):
        with h5py.File(stored, "r+") as file:
            del file["spikes/timestamp_indices_1s"]
        assert np.array_equal(Data.load(stored).slice(3.2, 7.9).spikes.unit_index, expected.unit_index)


def test_an_index_by_seconds_that_is_wrong_gives_no_wrong_window(path, compressed_copy):
    expected = Data.load(path, lazy=False).slice(30.2, 37.9).spikes
    for stored in (path, compressed_copy(path)):
        with h5py.File(stored, "r+") as file:
            index = file["spikes/timestamp_indices_1s"]
            index[...] = index[...] // 3
        assert np.array_equal(Data.load(stored).slice(30.2, 37.9).spikes.unit_index, expected.unit_index)


def test_arrays_at_odd_bytes_are_searched_and_read(path, make_recording):
    # Other writers align nothing: after seven bytes of text, times begin wherever they do.
    recording = make_recording().slice(0.0, 1.0)
    odd = path.with_name("odd.h5")
    with h5py.File(odd, "w") as file:
        for count in range(1, 8):
            file.create_dataset(f"padding_{count}", data=np.array([b"seven b"] * count))
        recording.to_hdf5(file)
        assert any(file[f"spikes/{name}"].id.get_offset() % 8 for name in ("timestamps", "unit_index"))
    expected = recording.slice(0.25, 0.5).spikes
    window = Data.load(odd).slice(0.25, 0.5).spikes
    assert np.array_equal(window.timestamps, expected.timestamps)
    assert np.array_equal(window.unit_index, expected.unit_index)


def test_files_with_a_user_block_are_read(path, make_recording, assert_same):
    behind = path.with_name("behind.h5")
    with h5py.File(behind, "w", userblock_size=1024) as file:
        make_recording().to_hdf5(file)
    assert_same(Data.load(behind).spikes, make_recording().spikes)


def test_text_written_as_variable_length_is_read(path):
    with h5py.File(path, "r+") as file:
        del file["units/id"]
        file["units"].create_dataset("id", data=["ä", "bc", *"defghij"], dtype=h5py.string_dtype())
    assert Data.load(path).units.id.tolist() == ["ä", "bc", *"defghij"]


def test_values_of_a_data_object_come_back(tmp_path):
    data = Data(
        text="grün",
        whole=3,
        fraction=0.5,
        flag=True,
        names=["a", "b"],
        image=np.ones((2, 3)),
        labels=np.array(["x", "ÿ"]),
    )
    data.nothing = None
    data.save(tmp_path / "values.h5")
    for lazy in (True, False):
        found = Data.load(tmp_path / "values.h5", lazy=lazy)
        assert (found.text, found.whole, found.fraction, found.flag) == ("grün", 3, 0.5, True)
        assert list(found.names) == ["a", "b"]
        assert found.labels.tolist() == ["x", "ÿ"]
        assert np.array_equal(found.image, np.ones((2, 3)))
        assert "nothing" not in found


def test_an_array_may_be_called_split(tmp_path):
    trials = Interval([0.0, 2.0], [1.0, 3.0], split=["train", "test"])
    Data(trials=trials, domain="auto").save(tmp_path / "trials.h5")
    for lazy in (True, False):
        window = Data.load(tmp_path / "trials.h5", lazy=lazy).slice(1.5, 4.0)
        assert window.trials.split.tolist() == ["test"]
        assert window.trials.start.tolist() == [0.5]


def test_absolute_start_and_windows_are_saved(tmp_path, path, make_recording):
    window = Data.load(path).slice(20.0, 30.0)
    window.save(tmp_path / "window.h5")
    found = Data.load(tmp_path / "window.h5")
    assert found.absolute_start == 20.0
    assert np.array_equal(found.spikes.timestamps, make_recording().slice(20.0, 30.0).spikes.timestamps)
    assert list(found.domain) == [(0.0, 10.0)]
    assert found.slice(1.0, 2.0).absolute_start == 21.0


def test_a_recording_can_be_saved_over_itself(path, make_recording, assert_same):
    data = Data.load(path)
    data.note = "checked"
    data.save(path)
    assert_same(data.spikes, make_recording().spikes)
    assert Data.load(path).note == "checked"


def test_values_that_hdf5_cannot_hold_are_named_and_leave_nothing_behind(path, make_recording):
    before = path.read_bytes()
    data = make_recording()
    data.session.extra = {"a": 1}
    with pytest.raises(TypeError, match=r"'session/extra' of type dict cannot be written.*serialize_fn_map"):
        data.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["recording.h5"]
    data.session.extra = np.array([{"a": 1}], dtype=object)
    with pytest.raises(TypeError, match="'session/extra' of dtype object"):
        data.save(path.with_name("other.h5"))
    assert not path.with_name("other.h5").exists()


def test_values_can_be_turned_into_ones_that_hdf5_can_hold(tmp_path):
    data = Data(place=Path("/somewhere"), inner=Data(places=[Path("a"), Path("b")]))
    data.save(tmp_path / "x.h5", serialize_fn_map={Path: lambda value, serialize_fn_map: value.as_posix()})
    found = Data.load(tmp_path / "x.h5")
    assert found.place == "/somewhere"
    assert list(found.inner.places) == ["a", "b"]


def test_a_folder_that_is_not_there_is_not_made(tmp_path, make_recording):
    with pytest.raises(FileNotFoundError, match="folder"):
        make_recording().save(tmp_path / "missing" / "x.h5")


def test_open_groups_are_read_lazily_and_may_be_closed(path, make_recording, assert_same):
    with h5py.File(path) as file:
        spikes = LazyIrregularTimeSeries.from_hdf5(file["spikes"])
        data = Data.from_hdf5(file)
        eager = RegularTimeSeries.from_hdf5(file["cursor"])
    assert_same(spikes.slice(1.0, 2.0), make_recording().spikes.slice(1.0, 2.0))
    assert_same(data.cursor, make_recording().cursor)
    assert_same(eager, make_recording().cursor)


def test_a_file_that_is_being_written_is_read_at_once_only(tmp_path, make_recording, assert_same):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        make_recording().to_hdf5(file)
        with pytest.raises(ValueError, match="mode 'r'"):
            Data.from_hdf5(file)
        with pytest.raises(ValueError, match="mode 'r'"):
            LazyArrayDict.from_hdf5(file["units"])
        assert_same(Data.from_hdf5(file, lazy=False).spikes, make_recording().spikes)
        assert_same(ArrayDict.from_hdf5(file["units"]), make_recording().units)


def test_another_kind_of_object_is_refused(path):
    with h5py.File(path) as file:
        for cls in (ArrayDict, LazyInterval, RegularTimeSeries, LazyArrayDict):
            with pytest.raises(ValueError, match="'spikes' holds an object of kind IrregularTimeSeries, expected "):
                cls.from_hdf5(file["spikes"])
        with pytest.raises(ValueError, match="expected Data"):
            Data.from_hdf5(file["spikes"])
    with pytest.raises(TypeError, match="comes from a file"):
        LazyArrayDict(id=["a"])

"""Reading several arrays of a window in one go gives what the window itself has there, or nothing."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries, RegularTimeSeries
from nd_data.constant_array import constant_array
from nd_data.window_source import window_source
from nd_data.window_values import peek, read_values

SERIES = ("spikes.timestamps", "spikes.unit_index", "spikes.onset", "cursor.timestamps", "cursor.vel")
INTERVALS = ("trials", "phases.hold", "phases.deeper.reach")
SIMPLE = (*SERIES, *INTERVALS)
NOT_SIMPLE = (
    "regular.vel",
    "phases.hold.end",
    "trials.label",
    "units.id",
    "domain",
    "spikes.domain",
    "timeless.spikes.timestamps",
    "unsorted",
    "session.id",
    "spikes",
    "nothing.there",
    "empty.timestamps",
    "image",
)


def make_recording(seed=0):
    rng = np.random.default_rng(seed)
    domain = Interval(0.0, 20.0)
    times = np.sort(np.round(rng.uniform(0, 20, 9000), 3))  # more than two blocks of 4096, with equal times
    starts = np.arange(0.0, 20.0, 2.0)
    return Data(
        spikes=IrregularTimeSeries(
            times, unit_index=rng.integers(0, 4, 9000), onset=times - 0.25, timekeys=["onset"], domain=domain
        ),
        cursor=IrregularTimeSeries(np.arange(400) * 0.05, vel=rng.standard_normal((400, 2)), domain=domain),
        regular=RegularTimeSeries(sampling_rate=10.0, vel=np.arange(200.0)),
        empty=IrregularTimeSeries([], domain=domain),
        trials=Interval(starts, starts + 1.5, label=np.arange(10)),
        unsorted=Interval([4.0, 2.0], [5.0, 3.0]),
        phases=Data(
            hold=Interval(starts, starts + 0.5),
            deeper=Data(reach=Interval(starts + 0.5, starts + 1.0), domain=domain),
            domain=domain,
        ),
        timeless=Data(units=ArrayDict(id=["a"])),
        units=ArrayDict(id=["a", "b", "c", "d"]),
        session=Data(id="monday"),
        image=np.arange(3.0),
        domain=domain,
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("values") / "recording.h5"
    make_recording().save(path)
    return path


def expected_at(window, path):
    found = window.get_nested_attribute(path)
    return (found.start, found.end) if isinstance(found, Interval) else found


ticks = st.integers(-20, 440).map(lambda tick: tick / 20)


@given(start=ticks, length=st.integers(0, 300), reset_origin=st.booleans(), paths=st.permutations(SIMPLE + NOT_SIMPLE))
def test_what_is_read_is_what_the_window_has(saved, start, length, reset_origin, paths):
    data = Data.load(saved)
    window = data.slice(start, start + length / 20, reset_origin)
    found = read_values(window, tuple(paths))
    assert set(found) == set(SIMPLE)
    plain = Data.load(saved).slice(start, start + length / 20, reset_origin)
    for path, value in found.items():
        expected = expected_at(plain, path)
        if isinstance(expected, tuple):
            assert [side.tolist() for side in value] == [side.tolist() for side in expected], path
        else:
            assert value.dtype == expected.dtype
            np.testing.assert_array_equal(value, expected)
            assert value.flags.writeable
    assert not set(window.__dict__) & {"spikes", "cursor", "trials", "phases"}  # the window stays as it is


@given(touched=st.sets(st.sampled_from(("spikes", "cursor", "trials", "phases"))), set_instead=st.booleans())
def test_what_was_read_or_set_before_is_left_to_the_window(saved, touched, set_instead):
    window = Data.load(saved).slice(2.0, 5.0)
    for name in touched:
        if set_instead:
            setattr(window, name, Interval(0.0, 1.0))
        else:
            getattr(window, name)
    found = read_values(window, SIMPLE)
    assert {path.split(".")[0] for path in found} == {"spikes", "cursor", "trials", "phases"} - touched


def test_what_was_deleted_is_not_read(saved):
    window = Data.load(saved).slice(2.0, 5.0)
    del window.spikes
    assert "spikes.timestamps" not in read_values(window, SIMPLE)


def test_only_single_windows_of_lazy_recordings_are_read_this_way(saved):
    assert read_values(make_recording().slice(1.0, 2.0), SIMPLE) == {}
    assert read_values(Data.load(saved), SIMPLE) == {}
    assert read_values(Data.load(saved, lazy=False).slice(1.0, 2.0), SIMPLE) == {}
    assert read_values(Data.load(saved).slice(1.0, 5.0).slice(0.5, 1.0), SIMPLE) == {}
    assert read_values(Data.load(saved).select_by_interval(Interval(1.0, 2.0)), SIMPLE) == {}


def test_values_belong_to_the_caller(saved):
    window = Data.load(saved).slice(2.0, 5.0)
    first = read_values(window, SIMPLE)
    kept = first["spikes.timestamps"].copy()
    first["spikes.timestamps"] += 100.0
    np.testing.assert_array_equal(read_values(window, SIMPLE)["spikes.timestamps"], kept)
    np.testing.assert_array_equal(window.spikes.timestamps, kept)


def test_times_out_of_order_are_refused_once_a_window_comes_near(saved, tmp_path):
    path = tmp_path / "unsorted.h5"
    path.write_bytes(saved.read_bytes())
    with h5py.File(path, "r+") as file:
        times = file["spikes/timestamps"][:]
        times[4600], times[4700] = times[4700], times[4600]
        file["spikes/timestamps"][:] = times
    data = Data.load(path)
    assert len(read_values(data.slice(0.0, 1.0), SIMPLE)["spikes.timestamps"]) > 100
    for _ in range(2):
        with pytest.raises(ValueError, match=r"unsorted\.h5: 'spikes/timestamps' is not sorted, or holds NaN"):
            read_values(data.slice(float(times[4650]) - 0.5, float(times[4650]) + 0.5), SIMPLE)


def test_chunked_arrays_are_left_to_the_window(saved, tmp_path):
    path = tmp_path / "chunked.h5"
    path.write_bytes(saved.read_bytes())
    with h5py.File(path, "r+") as file:
        times = file["spikes/timestamps"][:]
        del file["spikes/timestamps"]
        file["spikes"].create_dataset("timestamps", data=times, chunks=(1000,), compression="gzip")
    window = Data.load(path).slice(2.0, 5.0)
    found = read_values(window, SIMPLE)
    assert not [name for name in found if name.startswith("spikes")]
    assert "cursor.vel" in found
    np.testing.assert_array_equal(window.spikes.timestamps, Data.load(saved).slice(2.0, 5.0).spikes.timestamps)


def test_many_different_questions_are_answered_without_keeping_them_all(saved):
    data = Data.load(saved)
    for number in range(40):
        found = read_values(data.slice(1.0, 2.0), (*SIMPLE, f"nothing.{number}"))
        assert set(found) == set(SIMPLE)


def test_peeking_shows_a_part_and_leaves_the_window_as_it_is(saved):
    data = Data.load(saved)
    data.units.id = constant_array(np.array(["w", "x", "y", "z"]))
    data.session.id = "tuesday"
    data.config = {"readout": [1]}
    window = window_source(data).slice(1.0, 2.0)
    assert peek(window, "session.id") == "tuesday"
    assert peek(window, "units.id").tolist() == ["w", "x", "y", "z"]
    assert peek(window, "config") == {"readout": [1]}
    assert not {"session", "units", "config"} & set(window.__dict__)
    window.session.id = "wednesday"
    window.units.id = np.array(["p", "q", "r", "s"])
    window.config["readout"] = []
    assert peek(window, "session.id") == "wednesday"
    assert peek(window, "units.id").tolist() == ["p", "q", "r", "s"]
    assert peek(window, "config") == {"readout": []}
    assert data.config == {"readout": [1]}


def test_only_whole_recordings_in_files_can_be_sources(saved):
    for data in (make_recording(), Data.load(saved, lazy=False), Data.load(saved).slice(1.0, 5.0)):
        with pytest.raises(ValueError, match="only a whole recording"):
            window_source(data)


def test_peeking_at_what_may_change_gives_the_windows_own(saved):
    data = Data.load(saved)
    data.units.id = np.array(["w", "x", "y", "z"])
    source = window_source(data)
    first, second = source.slice(1.0, 2.0), source.slice(1.0, 2.0)
    assert peek(first, "units") is first.units
    assert peek(first, "spikes.timestamps") is first.spikes.timestamps
    peek(first, "spikes.timestamps")[:] = 0.0
    assert second.spikes.timestamps.max() > 0.0
    with pytest.raises(AttributeError, match="'nothing'"):
        peek(first, "session.nothing")
    del first.session
    with pytest.raises(AttributeError, match="'session'"):
        peek(first, "session.id")

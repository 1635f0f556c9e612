"""Data: parts that share one clock, sliced, selected, looked up by path, and set without touching each other."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries, LazyIrregularTimeSeries, RegularTimeSeries


def make_data(seed=0, spikes=400):
    rng = np.random.default_rng(seed)
    trial_start = np.arange(0.0, 20.0, 2.0)
    return Data(
        spikes=IrregularTimeSeries(
            np.sort(np.round(rng.uniform(0, 20, spikes), 2)),
            unit_index=rng.integers(0, 4, spikes),
            domain=Interval(0.0, 20.0),
        ),
        cursor=RegularTimeSeries(sampling_rate=16.0, vel=rng.standard_normal((320, 2))),
        units=ArrayDict(id=["a", "b", "c", "d"]),
        trials=Interval(trial_start, trial_start + 1.5, go=trial_start + 0.25, timekeys=["go"]),
        phases=Data(
            hold=Interval(trial_start, trial_start + 0.5),
            deeper=Data(reach=Interval(trial_start + 0.5, trial_start + 1.0), domain=Interval(0.0, 20.0)),
            domain=Interval(0.0, 20.0),
        ),
        session=Data(id="monday"),
        image=np.arange(6.0).reshape(2, 3),
        note="good day",
        train_domain=Interval(0.0, 14.0),
        test_domain=Interval(14.0, 20.0),
        domain=Interval(0.0, 20.0),
    )


PATHS = [
    "spikes.timestamps",
    "spikes.unit_index",
    "spikes.domain.start",
    "cursor.vel",
    "cursor.timestamps",
    "cursor.domain.end",
    "units.id",
    "trials.start",
    "trials.go",
    "phases.hold.end",
    "phases.deeper.reach.start",
    "phases.deeper.domain.end",
    "train_domain.end",
    "test_domain.start",
    "domain.start",
    "domain.end",
    "image",
]


def assert_equal(a, b):
    assert sorted(a.keys()) == sorted(b.keys())
    assert a.absolute_start == b.absolute_start
    for path in PATHS:
        assert np.array_equal(a.get_nested_attribute(path), b.get_nested_attribute(path)), path
    assert a.session.id == b.session.id
    assert a.note == b.note


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "recording.h5"
    make_data().save(path)
    return path


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.tuples(st.integers(-20, 420), st.integers(0, 400), st.booleans()), min_size=1, max_size=3),
    order=st.permutations(PATHS),
    reads=st.integers(0, 6),
)
def test_lazy_windows_equal_eager_ones_whatever_is_read_first(saved, cuts, order, reads):
    lazy, eager = Data.load(saved), make_data()
    for start, length, reset_origin in cuts:
        for path in order[:reads]:
            lazy.get_nested_attribute(path)  # what was read is cut like what was not
        window = (start / 20, (start + length) / 20, reset_origin)
        lazy, eager = lazy.slice(*window), eager.slice(*window)
    for path in order:
        assert np.array_equal(lazy.get_nested_attribute(path), eager.get_nested_attribute(path)), path
    assert_equal(lazy, eager)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 80), max_size=6, unique=True), st.booleans(), st.booleans())
def test_selecting_by_intervals_is_the_same_lazily(saved, edges, read_before, cut_after):
    edges = np.sort(np.array(edges[: len(edges) // 2 * 2], dtype=float)) / 4
    interval = Interval(edges[::2], edges[1::2])
    lazy, eager = Data.load(saved), make_data()
    if read_before:
        _ = lazy.spikes.unit_index, lazy.trials.go
    lazy, eager = lazy.select_by_interval(interval), eager.select_by_interval(interval)
    if cut_after:
        lazy, eager = lazy.slice(2.0, 12.0), eager.slice(2.0, 12.0)
    assert_equal(lazy, eager)
    inside = [any(a <= t < b for a, b in interval) for t in make_data().spikes.timestamps]
    assert cut_after or len(lazy.spikes) == sum(inside)
    assert isinstance(lazy.cursor, IrregularTimeSeries)


@pytest.mark.parametrize("lazy", [True, False])
def test_absolute_start_adds_up_over_cuts(saved, lazy):
    data = Data.load(saved, lazy=lazy)
    assert data.absolute_start == 0.0
    window = data.slice(3.0, 9.0).slice(0.25, 4.0)
    assert window.absolute_start == 3.25
    assert window.phases.absolute_start == 3.25
    assert data.slice(3.0, 9.0, reset_origin=False).absolute_start == 0.0
    assert data.session.absolute_start is None
    np.testing.assert_allclose(window.start, 0.0)
    np.testing.assert_allclose(window.end, 3.75)


@pytest.mark.parametrize("lazy", [True, False])
def test_slicing_never_changes_its_source(saved, lazy):
    data = Data.load(saved, lazy=lazy)
    window = data.slice(2.0, 5.0)
    window.spikes.timestamps += 100.0
    window.spikes.unit_index = np.zeros(len(window.spikes), dtype=np.int64)
    window.units.id = np.array(["w", "x", "y", "z"])
    window.session.id = "tuesday"
    window.trials.start -= 100.0
    window.cursor.vel[:] = 0.0
    window.phases.hold = Interval(0.0, 1.0)
    window.domain.start -= 5.0
    window.image[:] = 0.0
    del window.note
    assert_equal(data, make_data())


def test_changing_the_source_leaves_windows_cut_before_alone(saved):
    data = Data.load(saved)
    window = data.slice(2.0, 5.0)
    data.spikes.unit_index = np.zeros(len(data.spikes), dtype=np.int64)
    data.session.id = "tuesday"
    data.trials = Interval(0.0, 1.0)
    data.domain = Interval(0.0, 1.0)
    assert_equal(window, make_data().slice(2.0, 5.0))


def test_what_is_set_on_the_whole_is_cut_with_every_window(saved):
    data = Data.load(saved)
    data.units.id = np.array(["w", "x", "y", "z"])
    data.extra = IrregularTimeSeries([1.0, 2.5], domain=Interval(0.0, 20.0))
    data.config = {"readout": "velocity"}
    window = data.slice(2.0, 5.0)
    assert window.units.id.tolist() == ["w", "x", "y", "z"]
    assert window.extra.timestamps.tolist() == [0.5]
    assert window.config == {"readout": "velocity"}
    assert window.config is not data.config


def test_a_window_of_replaced_times_uses_the_new_times(saved):
    window = Data.load(saved).slice(2.0, 6.0)
    window.spikes.timestamps = window.spikes.timestamps * 0.5
    expected = make_data().slice(2.0, 6.0).spikes
    inside = (expected.timestamps * 0.5 >= 0.5) & (expected.timestamps * 0.5 < 1.0)
    cut = window.spikes.slice(0.5, 1.0)
    assert isinstance(cut, LazyIrregularTimeSeries)
    assert np.array_equal(cut.unit_index, expected.unit_index[inside])
    assert np.array_equal(cut.timestamps, expected.timestamps[inside] * 0.5 - 0.5)


def test_replaced_times_that_are_not_sorted_are_sorted_in_the_window_only(saved):
    window = Data.load(saved).slice(2.0, 6.0)
    reversed_times = window.spikes.timestamps[::-1].copy()
    window.spikes.timestamps = reversed_times
    cut = window.spikes.slice(0.5, 1.0)
    assert np.array_equal(
        cut.timestamps, np.sort(reversed_times[(reversed_times >= 0.5) & (reversed_times < 1.0)]) - 0.5
    )
    assert np.array_equal(window.spikes.timestamps, reversed_times)


def test_parts_with_times_need_a_domain():
    with pytest.raises(ValueError, match="'spikes' has times"):
        Data(spikes=IrregularTimeSeries([0.0], domain="auto"))
    with pytest.raises(ValueError, match="'inner' has times"):
        Data(inner=Data(domain=Interval(0.0, 1.0)))
    with pytest.raises(ValueError, match="domain must be"):
        Data(domain=(0.0, 1.0))


def test_an_automatic_domain_covers_all_parts():
    data = Data(
        spikes=IrregularTimeSeries([0.5, 1.5], domain=Interval(0.0, 2.0)),
        cursor=RegularTimeSeries(sampling_rate=2.0, domain_start=1.0, x=np.zeros(4)),
        trials=Interval([5.5, 5.0], [6.0, 5.75]),
        inner=Data(domain=Interval(8.0, 9.0)),
        units=ArrayDict(id=["a"]),
        domain="auto",
    )
    assert list(data.domain) == [(0.0, 3.0), (5.0, 6.0), (8.0, 9.0)]
    assert (data.start, data.end) == (0.0, 9.0)


def test_data_without_time_cannot_be_cut():
    data = Data(id="monday")
    assert data.domain is data.start is data.end is None
    for cut in (lambda: data.slice(0, 1), lambda: data.select_by_interval(Interval(0.0, 1.0))):
        with pytest.raises(ValueError, match="no domain"):
            cut()


@pytest.mark.parametrize("lazy", [True, False])
def test_paths_lead_to_parts_of_parts(saved, lazy):
    data = Data.load(saved, lazy=lazy)
    assert data.get_nested_attribute("session.id") == "monday"
    assert data.has_nested_attribute("phases.deeper.reach.start")
    assert data.has_nested_attribute("cursor.timestamps")
    for path in ("phases.deeper.reach.go", "spikes.slice", "session.id.upper", "nothing", "", "note.upper", "spikes."):
        assert not data.has_nested_attribute(path), path
    assert data.set_nested_attribute("session.id", "tuesday") is data
    assert data.session.id == "tuesday"
    data.set_nested_attribute("weather", "rain")
    assert "weather" in data
    with pytest.raises(AttributeError, match=r"cannot look up 'spikes.unit_indx'.*did you mean 'unit_index'"):
        data.get_nested_attribute("spikes.unit_indx")
    with pytest.raises(AttributeError, match="did you mean 'cursor'"):
        data.set_nested_attribute("curso.vel", 0)


def test_asking_for_a_path_reads_no_array(saved):
    data = Data.load(saved)
    assert data.has_nested_attribute("spikes.unit_index")
    assert "unit_index" not in vars(data.spikes)


def test_split_domains_and_masks_are_set():
    data = make_data()
    data.set_train_domain(Interval(0.0, 10.0))
    data.set_valid_domain(Interval(10.0, 12.0))
    data.set_test_domain(Interval(12.0, 20.0))
    assert [list(getattr(data, f"{name}_domain")) for name in ("train", "valid", "test")] == [
        [(0.0, 10.0)],
        [(10.0, 12.0)],
        [(12.0, 20.0)],
    ]
    data.add_split_mask("valid", data.valid_domain)
    assert np.array_equal(data.spikes.valid_mask, (data.spikes.timestamps >= 10) & (data.spikes.timestamps < 12))
    assert data.cursor.valid_mask.sum() == 32
    assert data.trials.valid_mask.tolist() == [start == 10.0 for start in data.trials.start]
    assert data.phases.deeper.reach.valid_mask.sum() == 1
    assert "valid_mask" not in data.train_domain


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])  # noqa: S301
def test_copies_and_pickles_are_equal_and_can_be_set_apart(saved, lazy, duplicate):
    data = Data.load(saved, lazy=lazy).slice(2.0, 9.0)
    _ = data.spikes.unit_index
    other = duplicate(data)
    assert_equal(other, make_data().slice(2.0, 9.0))
    other.spikes.unit_index = np.zeros(len(other.spikes), dtype=np.int64)
    other.session.id = "tuesday"
    other.phases.deeper.reach = Interval(0.0, 1.0)
    other.weather = "rain"
    assert_equal(data, make_data().slice(2.0, 9.0))


def test_materialized_data_need_no_file(tmp_path):
    path = tmp_path / "recording.h5"
    make_data().save(path)
    data = Data.load(path)
    window = data.slice(1.0, 3.0).materialize()
    assert data.materialize() is data
    path.unlink()
    assert data.file is None
    assert_equal(data, make_data())
    assert_equal(window, make_data().slice(1.0, 3.0))
    assert type(data.spikes) is IrregularTimeSeries


def test_a_dictionary_of_parts_is_a_deep_copy(saved):
    data = Data.load(saved)
    parts = data.to_dict()
    assert set(parts) == {*data.keys(), "_domain", "_absolute_start"}
    parts["spikes"].timestamps += 1
    assert_equal(data, make_data())


def test_lazy_parts_can_be_deleted(saved):
    data = Data.load(saved)
    del data.trials
    del data.spikes.unit_index
    window = data.slice(2.0, 5.0)
    assert "trials" not in window
    assert window.spikes.keys() == ["timestamps"]
    with pytest.raises(AttributeError, match="unit_index"):
        _ = window.spikes.unit_index
    del data.spikes.timestamps
    assert data.spikes.keys() == []


def test_a_series_whose_times_were_deleted_is_cut_like_an_eager_one(saved):
    data = Data.load(saved)
    window = data.slice(2.0, 5.0).spikes
    del window.timestamps
    assert np.array_equal(window.unit_index, make_data().slice(2.0, 5.0).spikes.unit_index)


def test_the_representation_names_parts_and_shapes(saved):
    for data in (Data.load(saved), make_data()):
        text = repr(data.slice(2.0, 5.0))
        assert "cursor=" in text
        assert "vel=[48, 2]" in text
        assert "note='good day'" in text
        assert "absolute_start=2.0" in text


def test_a_window_outside_the_data_is_empty_and_has_no_start(saved):
    window = Data.load(saved).slice(100.0, 101.0)
    assert window.start is window.end is None
    assert window.absolute_start == 100.0
    assert len(window.spikes) == len(window.cursor) == len(window.trials) == 0

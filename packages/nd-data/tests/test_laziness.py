"""What is lazy stays on disk until it is read, in time and by attribute, and slicing changes no source.

How one sees from outside what was read already: the arrays in the file are changed behind the reader's back. What was
read before has the old values, what is read later has the new ones.
"""

import os
import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries, RegularTimeSeries
from nd_data.storage import OPEN_FILES

END = 20.0
CHANGE = 1000.0
PATHS = (
    "spikes.unit_index",
    "spikes.amplitude",
    "cursor.vel",
    "cursor.pos",
    "trials.reward",
    "trials.target",
    "units.rate",
    "units.depth",
    "phases.hold.grip",
    "phases.inner.lfp.raw",
    "image",
)


def make_data(change=0.0):
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, END, 300))
    begin = np.arange(0.0, END, 2.0)
    domain = Interval(0.0, END)
    values = {path: rng.integers(0, 99, shape).astype(float) + change for path, shape in shapes().items()}
    parts = {}
    for path, array in values.items():
        parts.setdefault(path.rpartition(".")[0], {})[path.rpartition(".")[2]] = array
    return Data(
        spikes=IrregularTimeSeries(times, domain=domain, **parts["spikes"]),
        cursor=RegularTimeSeries(sampling_rate=16.0, **parts["cursor"]),
        trials=Interval(begin, begin + 1.5, **parts["trials"]),
        units=ArrayDict(**parts["units"]),
        phases=Data(
            hold=Interval(begin, begin + 0.5, **parts["phases.hold"]),
            inner=Data(lfp=RegularTimeSeries(sampling_rate=8.0, **parts["phases.inner.lfp"]), domain=domain),
            domain=domain,
        ),
        image=parts[""]["image"],
        domain=domain,
    )


def shapes():
    rows = {"spikes": 300, "cursor": 320, "trials": 10, "units": 5, "phases.hold": 10, "phases.inner.lfp": 160, "": 4}
    return {path: (rows[path.rpartition(".")[0]], *((2,) if path == "cursor.vel" else ())) for path in PATHS}


def change_behind_the_back(path):
    """Add to all that is no time, in place, and make it look as if nobody had been there."""
    before = path.stat()
    with h5py.File(path, "r+") as file:
        for name in PATHS:
            file[name.replace(".", "/")][...] += CHANGE
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lazy")


windows = st.tuples(st.integers(-10, 210), st.integers(0, 150), st.booleans()).map(
    lambda cut: (cut[0] / 10, (cut[0] + cut[1]) / 10, cut[2])
)
steps = st.lists(st.one_of(windows, st.sampled_from(PATHS)), max_size=10)


@settings(max_examples=60)
@given(steps, st.sampled_from(PATHS))
def test_what_is_read_is_read_once_and_only_then_and_each_window_for_itself(folder, steps, late):
    path = folder / "recording.h5"
    OPEN_FILES.close()
    make_data().save(path)
    lineage = [(Data.load(path), set(), ())]  # each window, what was read by then, and the cuts that led to it
    for step in steps:
        data, read, cuts = lineage[-1]
        if isinstance(step, str):
            data.get_nested_attribute(step)
            read.add(step)
        else:
            lineage.append((data.slice(*step), set(read), (*cuts, step)))
    lineage[-1][0].get_nested_attribute(late)
    lineage[-1][1].add(late)

    change_behind_the_back(path)
    for data, read, cuts in lineage:
        old, new = make_data(), make_data(CHANGE)
        for cut in cuts:
            old, new = old.slice(*cut), new.slice(*cut)
        for name in PATHS:
            expected = (old if name in read else new).get_nested_attribute(name)
            assert np.array_equal(data.get_nested_attribute(name), expected), name
        assert np.array_equal(data.spikes.timestamps, old.spikes.timestamps)
        assert np.array_equal(data.trials.start, old.trials.start)
        assert list(data.domain) == list(old.domain)


def test_a_recording_is_cut_without_its_file(folder):
    path = folder / "absent.h5"
    make_data().save(path)
    data = Data.load(path)
    OPEN_FILES.close()
    path.rename(folder / "elsewhere.h5")
    window = data.slice(2.0, 9.0).slice(0.5, 3.0)
    with pytest.raises(FileNotFoundError, match=r"absent\.h5"):
        _ = window.spikes.unit_index
    (folder / "elsewhere.h5").rename(path)
    assert np.array_equal(window.cursor.vel, make_data().slice(2.5, 5.0).cursor.vel)


@pytest.mark.parametrize("name", ["spikes", "lfp"])
def test_reading_an_array_of_a_window_takes_no_more_memory_than_the_window(tmp_path, name):
    rows, seconds = 1_000_000, 1000
    values = {"value": np.arange(rows), "other": np.arange(rows)}
    domain = Interval(0.0, float(seconds))
    series = (
        IrregularTimeSeries(np.arange(rows) / 1000.0, domain=domain, **values)
        if name == "spikes"
        else RegularTimeSeries(sampling_rate=1000.0, **values)
    )
    Data(part=series, domain=domain).save(tmp_path / "long.h5")
    del series
    tracemalloc.start()
    try:
        window = Data.load(tmp_path / "long.h5").slice(500.0, 501.0)
        assert window.part.value.tolist() == list(range(500_000, 501_000))
        assert window.part.timestamps.shape == (1000,)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000, "all of an array has 8,000,000 bytes"


METHODS = {
    "slice": lambda part: part.slice(3.0, 9.0),
    "slice in place": lambda part: part.slice(3.0, 9.0, reset_origin=False),
    "slice twice": lambda part: part.slice(3.0, 9.0).slice(1.0, 2.0),
    "select_by_interval": lambda part: part.select_by_interval(Interval([1.0, 5.0], [2.5, 7.0])),
    "select_by_mask": lambda part: part.select_by_mask(np.arange(len(part)) % 3 == 0),
    "masked, then cut": lambda part: part.select_by_mask(np.arange(len(part)) % 3 == 0).slice(2.0, 9.0),
    "to_irregular": lambda part: part.to_irregular(),
    "dilate": lambda part: part.dilate(0.1),
    "coalesce": lambda part: part.coalesce(0.6),
    "difference": lambda part: part.difference(Interval(3.0, 9.0)),
    "and": lambda part: part & Interval(3.0, 9.0),
    "or": lambda part: part | Interval(3.0, 9.0),
    "subdivide": lambda part: part.subdivide(0.4),
    "split": lambda part: part.split([0.5, 0.5])[1],
    "is_disjoint": lambda part: part.is_disjoint(),
    "is_sorted": lambda part: part.is_sorted(),
    "timestamps": lambda part: part.timestamps,
    "index_mask": lambda part: part.index_mask(),
    "is_gappy": lambda part: part.is_gappy(),
    "domain": lambda part: part.domain,
    "timekeys": lambda part: sorted(part.timekeys()),
    "keys": lambda part: sorted(part.keys()),
    "len": len,
    "iter": list,
    "repr": lambda part: sorted(repr(part).removeprefix("Lazy").replace(",", "").splitlines()),
    "array_shapes": lambda part: part.array_shapes(),
}
NOT_OF = {
    "spikes": {"to_irregular", "index_mask", "is_gappy", "is_disjoint"},
    "cursor": {"masked, then cut", "is_sorted", "timekeys", "is_disjoint"},
    "trials": {"to_irregular", "index_mask", "is_gappy", "timestamps", "domain"},
    "units": set(METHODS) - {"select_by_mask", "keys", "len", "repr", "array_shapes"},
}
ONLY_OF_INTERVALS = {"dilate", "coalesce", "difference", "and", "or", "subdivide", "split", "iter"}


def assert_alike(found, expected):
    if isinstance(expected, ArrayDict):
        assert sorted(found.keys()) == sorted(expected.keys())
        for name in expected.keys():  # noqa: SIM118  # not a mapping
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name
        if isinstance(expected, (IrregularTimeSeries, RegularTimeSeries)):
            assert list(found.domain) == list(expected.domain)
    elif isinstance(expected, np.ndarray):
        assert np.array_equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("name", "method"),
    [
        (name, method)
        for name, missing in NOT_OF.items()
        for method in METHODS
        if method not in missing and (name == "trials" or method not in ONLY_OF_INTERVALS)
    ],
)
def test_every_method_of_a_lazy_part_answers_like_the_eager_one_and_leaves_it_as_it_was(folder, name, method):
    path = folder / "methods.h5"
    if not path.exists():
        make_data().save(path)
    read_first = {"spikes": "amplitude", "cursor": "pos", "trials": "reward", "units": "rate"}[name]
    for window in (None, (1.0, 15.0)):
        for read in ((), (read_first,), ("everything",)):
            lazy, eager = Data.load(path), make_data()
            if window is not None:
                lazy, eager = lazy.slice(*window), eager.slice(*window)
            part, expected = getattr(lazy, name), getattr(eager, name)
            for array in part.keys() if read == ("everything",) else read:
                getattr(part, array)
            assert_alike(METHODS[method](part), METHODS[method](expected))
            assert_alike(part, getattr(make_data() if window is None else make_data().slice(*window), name))
            assert_alike(METHODS[method](part), METHODS[method](expected))  # and once more, after everything was read


@settings(max_examples=40)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), min_size=1, max_size=8),
    steps=st.lists(
        st.one_of(
            st.tuples(st.integers(-5, 30), st.integers(0, 30), st.booleans()), st.sampled_from(["label", "go", "start"])
        ),
        max_size=6,
    ),
)
def test_intervals_in_any_order_stay_lazy_however_they_are_cut(folder, pairs, steps):
    start = np.array([float(begin) for begin, _ in pairs])
    end = start + [float(length) for _, length in pairs]
    label = np.arange(float(len(pairs)))
    eager = Interval(start, end, label=label, go=start + 0.25, other=-label, timekeys=["go"])
    path = folder / "intervals.h5"
    Data(trials=eager, domain=Interval(0.0, 40.0)).save(path)
    lazy = Data.load(path).trials
    for step in steps:
        if isinstance(step, str):
            getattr(lazy, step)
        else:
            first, length, reset_origin = step
            lazy = lazy.slice(first, first + length, reset_origin)
            eager = eager.slice(first, first + length, reset_origin)
    assert "other" not in vars(lazy), "it was never asked for"
    assert_alike(lazy, eager)

"""Files and answers of nd_data against those of temporaldata 0.1.6, installed beside it."""

import pickle
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

import nd_data

pytestmark = pytest.mark.compat

temporaldata = pytest.importorskip("temporaldata", reason="the compat session installs temporaldata 0.1.6 beside nd")


CONTAINERS = ("Data", "ArrayDict", "Interval", "IrregularTimeSeries", "RegularTimeSeries")


def make_recording(library: ModuleType, seed: int = 0) -> Any:
    """The same recording, built with either library: every container, text, gaps, nesting, and empty series."""
    rng = np.random.default_rng(seed)
    end = 37.25
    times = np.sort(rng.uniform(0.5, end, 900))
    grid = np.delete(np.arange(400), rng.choice(np.arange(1, 399), 60, replace=False))
    trial_start = np.arange(0.5, 36.0, 2.5)
    return library.Data(
        spikes=library.IrregularTimeSeries(
            timestamps=times,
            unit_index=rng.integers(0, 5, 900),
            onset=times - 0.001,
            waveform=rng.standard_normal((900, 6)).astype(np.float32),
            label=rng.choice(["a", "bcd", ""], 900),
            good=rng.random(900) > 0.5,
            timekeys=["timestamps", "onset"],
            domain=library.Interval(0.25, end),
        ),
        bursts=library.IrregularTimeSeries(
            timestamps=np.array([3.0, 3.5, 20.0]),
            size=np.array([1, 2, 3], dtype=np.uint8),
            domain=library.Interval(np.array([2.0, 18.0]), np.array([5.0, 30.0])),
        ),
        silence=library.IrregularTimeSeries(
            timestamps=np.zeros(0), value=np.zeros((0, 3)), domain=library.Interval(0.0, end)
        ),
        cursor=library.RegularTimeSeries(
            sampling_rate=97.0,
            domain_start=0.25,
            vel=rng.standard_normal((3500, 2)),
            pos=rng.standard_normal((3500, 2)),
        ),
        gappy=library.RegularTimeSeries.from_gappy_timeseries(
            1.5 + grid / 20.0, sampling_rate=20.0, x=rng.standard_normal(340), n=rng.integers(0, 9, 340)
        ),
        trials=library.Interval(
            start=trial_start,
            end=trial_start + 2.0,
            go=trial_start + 0.5,
            kind=np.array(["reach", "hold"] * 7 + ["reach"])[: len(trial_start)],
            timekeys=["start", "end", "go"],
        ),
        nothing=library.Interval(np.zeros(0), np.zeros(0)),
        units=library.ArrayDict(id=np.array([f"unit_{i}" for i in range(5)]), rate=rng.gamma(2.0, size=5)),
        brainset=library.Data(id="somebrainset", version="1.0.0"),
        movement=library.Data(
            reach=library.Interval(trial_start, trial_start + 1.0),
            inner=library.Data(
                hold=library.Interval(trial_start + 1.0, trial_start + 2.0), domain=library.Interval(0.0, end)
            ),
            domain=library.Interval(0.0, end),
        ),
        image=rng.standard_normal((3, 4, 5)),
        session="monday",
        count=7,
        ratio=0.25,
        flag=True,
        train_domain=library.Interval(np.array([0.25, 20.0]), np.array([15.0, 25.0])),
        test_domain=library.Interval(25.0, end),
        domain=library.Interval(0.25, end),
    )


def assert_same(ours: Any, theirs: Any, where: str = "", *, atol: float = 0.0) -> None:
    """Equal in structure, dtype and value; reads all that is lazy."""
    kind = type(theirs).__name__.removeprefix("Lazy")
    if kind in CONTAINERS:
        assert type(ours).__name__.removeprefix("Lazy") == kind, where
        assert sorted(ours.keys()) == sorted(theirs.keys()), where
        names = theirs.keys()
        for name in names:
            assert_same(getattr(ours, name), getattr(theirs, name), f"{where}.{name}", atol=atol)
    if kind == "Data":
        assert ours.absolute_start == pytest.approx(theirs.absolute_start, abs=1e-12), where
    if kind in ("Interval", "IrregularTimeSeries"):
        assert sorted(ours.timekeys()) == sorted(theirs.timekeys()), where
    if kind == "RegularTimeSeries":
        assert ours.sampling_rate == theirs.sampling_rate, where
        if len(theirs):
            np.testing.assert_allclose(ours.timestamps, theirs.timestamps, rtol=0, atol=1e-12, err_msg=where)
            assert np.array_equal(ours.index_mask(), theirs.index_mask()), where
    if kind in ("Data", "IrregularTimeSeries", "RegularTimeSeries") and theirs.domain is not None:
        np.testing.assert_allclose(ours.domain.start, theirs.domain.start, rtol=0, atol=1e-12, err_msg=where)
        np.testing.assert_allclose(ours.domain.end, theirs.domain.end, rtol=0, atol=1e-12, err_msg=where)
    if isinstance(theirs, np.ndarray):
        assert ours.shape == theirs.shape, where
        assert ours.dtype.kind == theirs.dtype.kind, where
        if theirs.dtype.kind == "f":
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, equal_nan=True, err_msg=where)
        else:
            assert np.array_equal(ours, theirs), where
    elif kind not in CONTAINERS:
        assert ours == theirs, where


WINDOWS = [(0.0, 1.0), (0.25, 37.25), (4.5, 5.5), (14.9, 20.1), (1.5, 2.0), (2.0, 2.0), (30.0, 60.0), (36.9, 37.25)]


@pytest.fixture
def their_file(tmp_path):
    path = tmp_path / "theirs.h5"
    make_recording(temporaldata).save(path)
    return path


@pytest.mark.parametrize("lazy", [False, True])
def test_a_file_that_temporaldata_wrote_is_read_value_for_value(their_file, lazy):
    assert_same(nd_data.Data.load(their_file, lazy=lazy), temporaldata.Data.load(their_file, lazy=False))


@pytest.mark.parametrize("lazy", [False, True])
def test_a_file_that_we_write_is_read_by_temporaldata_value_for_value(tmp_path, lazy):
    ours = make_recording(nd_data)
    ours.save(tmp_path / "ours.h5")
    theirs = temporaldata.Data.load(tmp_path / "ours.h5", lazy=lazy)
    assert_same(ours, theirs)


def test_both_libraries_write_the_same_datasets_and_attributes(tmp_path, their_file):
    make_recording(nd_data).save(tmp_path / "ours.h5")
    with h5py.File(tmp_path / "ours.h5") as ours, h5py.File(their_file) as theirs:
        assert_same_group(ours, theirs)


def assert_same_group(ours: h5py.Group, theirs: h5py.Group) -> None:
    assert sorted(ours) == sorted(theirs), theirs.name
    # A RegularTimeSeries of theirs says nothing about text; ours says that there is none.
    ignored = {"_unicode_keys"} if theirs.attrs["object"] == "RegularTimeSeries" else set()
    assert set(ours.attrs) - ignored == set(theirs.attrs), theirs.name
    for name in theirs.attrs:
        found, expected = np.asarray(ours.attrs[name]), np.asarray(theirs.attrs[name])
        assert found.dtype == expected.dtype, (theirs.name, name)
        assert np.array_equal(np.sort(found.ravel()), np.sort(expected.ravel())), (theirs.name, name)
    for name, item in theirs.items():
        if isinstance(item, h5py.Group):
            assert_same_group(ours[name], item)
        else:
            assert ours[name].dtype == item.dtype, item.name
            assert ours[name].chunks is None, item.name
            assert np.array_equal(ours[name][()], item[()], equal_nan=item.dtype.kind == "f"), item.name


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("reset_origin", [True, False])
def test_windows_of_their_file_are_the_ones_they_cut(their_file, window, reset_origin):
    theirs = temporaldata.Data.load(their_file, lazy=False).slice(*window, reset_origin)
    for lazy in (False, True):
        assert_same(nd_data.Data.load(their_file, lazy=lazy).slice(*window, reset_origin), theirs, atol=1e-12)


def test_random_windows_agree_with_theirs(their_file):
    theirs, ours = temporaldata.Data.load(their_file, lazy=False), nd_data.Data.load(their_file)
    rng = np.random.default_rng(1)
    for start, length in zip(rng.uniform(-1, 38, 60), rng.uniform(0, 6, 60), strict=True):
        assert_same(ours.slice(start, start + length), theirs.slice(start, start + length), atol=1e-12)


def test_selecting_by_intervals_agrees_with_theirs(their_file):
    theirs, ours = temporaldata.Data.load(their_file, lazy=False), nd_data.Data.load(their_file)
    assert_same(ours.select_by_interval(ours.train_domain), theirs.select_by_interval(theirs.train_domain), atol=1e-12)


@pytest.mark.parametrize("options", [{"chunks": True}, {"chunks": True, "compression": "gzip", "shuffle": True}])
def test_chunked_and_compressed_copies_of_their_file_are_read_alike(tmp_path, their_file, options):
    packed = tmp_path / "packed.h5"
    with h5py.File(their_file) as source, h5py.File(packed, "w") as target:

        def copy_item(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                group = target.require_group(name)
                group.attrs.update(item.attrs)
            else:
                target.create_dataset(name, data=item[()], **(options if item.size else {}))

        target.attrs.update(source.attrs)
        source.visititems(copy_item)
    theirs = temporaldata.Data.load(their_file, lazy=False)
    ours = pickle.loads(pickle.dumps(nd_data.Data.load(packed)))  # noqa: S301 our own bytes
    for window in WINDOWS:
        assert_same(ours.slice(*window), theirs.slice(*window), atol=1e-12)
    assert_same(ours, theirs)


def random_intervals(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    # Whole numbers, so that intervals often touch, and here and there a point.
    edges = np.sort(rng.integers(0, 30, 2 * rng.integers(0, 7))).astype(float)
    start, end = edges[::2], edges[1::2]
    return start, end


def test_interval_algebra_agrees_with_theirs():
    rng = np.random.default_rng(2)
    for _ in range(400):
        a, b = random_intervals(rng), random_intervals(rng)
        ours, theirs = [nd_data.Interval(*x) for x in (a, b)], [temporaldata.Interval(*x) for x in (a, b)]
        assert_same(ours[0] | ours[1], theirs[0] | theirs[1])
        assert_same(ours[0].difference(ours[1]), theirs[0].difference(theirs[1]))
        assert_same(ours[0].coalesce(1.5), theirs[0].coalesce(1.5))
        found, expected = ours[0] & ours[1], theirs[0] & theirs[1]
        # A point that touches two intervals comes twice in theirs, once in ours.
        rows = np.unique(np.stack([expected.start, expected.end], axis=1), axis=0)
        assert np.array_equal(np.stack([found.start, found.end], axis=1), rows)
        size, longest = rng.uniform(0, 3), rng.choice([None, 2.5])
        assert_same(ours[0].dilate(size, longest), theirs[0].dilate(size, longest), atol=1e-12)


def test_subdividing_and_splitting_agree_with_theirs():
    rng = np.random.default_rng(3)
    for _ in range(50):
        start, end = random_intervals(rng)
        kept = end > start
        start, end = start[kept], end[kept] + rng.uniform(0, 0.3)
        order = np.arange(len(start))
        if not len(start):
            continue
        ours = nd_data.Interval(start, end, n=order)
        theirs = temporaldata.Interval(start, end, n=order)
        for drop_short in (False, True):
            assert_same(ours.subdivide(0.7, drop_short), theirs.subdivide(0.7, drop_short), atol=1e-12)
    ours, theirs = nd_data.Interval.linspace(0, 10, 40), temporaldata.Interval.linspace(0, 10, 40)
    assert_same(ours, theirs)
    for options in ({}, {"shuffle": True, "random_seed": 4}):
        for found, expected in zip(
            ours.split([0.6, 0.2, 0.2], **options), theirs.split([0.6, 0.2, 0.2], **options), strict=True
        ):
            assert_same(found, expected)
    assert_same(nd_data.Interval.arange(0.0, 10.3, 1.0), temporaldata.Interval.arange(0.0, 10.3, 1.0))


def test_concatenating_agrees_with_theirs(their_file):
    theirs, ours = temporaldata.Data.load(their_file, lazy=False), nd_data.Data.load(their_file)
    windows = [(20.0, 25.0), (1.0, 4.0)]
    found = nd_data.concat([ours.spikes.slice(*window, False) for window in windows])
    expected = temporaldata.concat([theirs.spikes.slice(*window, False) for window in windows])
    assert_same(found, expected)

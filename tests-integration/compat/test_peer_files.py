"""Files and answers of nd_data against those of temporaldata 0.1.6 or torch_brain 0.2.1, installed beside it.

torch_brain 0.1 reads and writes with temporaldata, 0.2 with containers of its own. One environment holds one of them:
the tests run with what is there, and skip the other.
"""

import datetime as dt
import importlib
import pickle
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

import nd_data
from nd_data.validation import validate_recording

pytestmark = pytest.mark.compat

#: Module with the containers: distribution and first version that has them.
LIBRARIES = {"temporaldata": ("temporaldata", (0, 1)), "torch_brain.data": ("torch_brain", (0, 2))}


@pytest.fixture(params=list(LIBRARIES), scope="module")
def library(request):
    distribution, needed = LIBRARIES[request.param]
    try:
        found = tuple(int(part) for part in version(distribution).split(".")[:2])
    except PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed in this environment")
    if found < needed:
        pytest.skip(f"{distribution} {version(distribution)} has no containers of its own, they came with 0.2")
    return importlib.import_module(request.param)


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
def their_file(tmp_path, library):
    path = tmp_path / "theirs.h5"
    make_recording(library).save(path)
    return path


@pytest.mark.parametrize("lazy", [False, True])
def test_a_file_that_they_wrote_is_read_value_for_value(their_file, lazy, library):
    assert_same(nd_data.Data.load(their_file, lazy=lazy), library.Data.load(their_file, lazy=False))


@pytest.mark.parametrize("lazy", [False, True])
def test_a_file_that_we_write_is_read_by_them_value_for_value(tmp_path, lazy, library):
    ours = make_recording(nd_data)
    ours.save(tmp_path / "ours.h5")
    theirs = library.Data.load(tmp_path / "ours.h5", lazy=lazy)
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
def test_windows_of_their_file_are_the_ones_they_cut(their_file, window, reset_origin, library):
    theirs = library.Data.load(their_file, lazy=False).slice(*window, reset_origin)
    for lazy in (False, True):
        assert_same(nd_data.Data.load(their_file, lazy=lazy).slice(*window, reset_origin), theirs, atol=1e-12)


def test_random_windows_agree_with_theirs(their_file, library):
    theirs, ours = library.Data.load(their_file, lazy=False), nd_data.Data.load(their_file)
    rng = np.random.default_rng(1)
    for start, length in zip(rng.uniform(-1, 38, 60), rng.uniform(0, 6, 60), strict=True):
        assert_same(ours.slice(start, start + length), theirs.slice(start, start + length), atol=1e-12)


def test_selecting_by_intervals_agrees_with_theirs(their_file, library):
    theirs, ours = library.Data.load(their_file, lazy=False), nd_data.Data.load(their_file)
    assert_same(ours.select_by_interval(ours.train_domain), theirs.select_by_interval(theirs.train_domain), atol=1e-12)


@pytest.mark.parametrize("options", [{"chunks": True}, {"chunks": True, "compression": "gzip", "shuffle": True}])
def test_chunked_and_compressed_copies_of_their_file_are_read_alike(tmp_path, their_file, options, library):
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
    theirs = library.Data.load(their_file, lazy=False)
    ours = pickle.loads(pickle.dumps(nd_data.Data.load(packed)))  # noqa: S301 our own bytes
    for window in WINDOWS:
        assert_same(ours.slice(*window), theirs.slice(*window), atol=1e-12)
    assert_same(ours, theirs)


def random_recording(library: ModuleType, seed: int) -> Any:
    """Containers of random kinds, sizes and dtypes, empty ones among them, drawn alike for either library."""
    rng = np.random.default_rng(seed)
    start, length = float(rng.choice([0.0, -2.5, 1e4])), float(rng.uniform(2.0, 12.0))
    domain = library.Interval(start, start + length)

    def arrays(rows: int, kinds: str = "?,i2,u4,f4,f8,U,S") -> dict[str, np.ndarray]:
        out = {}
        for number in range(rng.integers(0, 4)):
            shape = (rows, *rng.integers(0, 3, rng.integers(0, 2)))
            kind = str(rng.choice(kinds.split(",")))
            texts = np.array(["", "a", "bcd"], dtype=kind) if kind in "US" else None
            values = rng.choice(texts, shape) if texts is not None else rng.normal(0, 9, shape).round().clip(0)
            out[f"a{number}"] = values if texts is not None else values.astype(kind)
        return out

    parts: dict[str, Any] = {}
    for number in range(rng.integers(1, 6)):
        rows = int(rng.choice([0, 1, 2, 30, 200]))
        times = np.sort(rng.uniform(start, start + length, rows))
        kind = rng.integers(0, 4)
        if kind == 0:
            parts[f"irregular_{number}"] = library.IrregularTimeSeries(timestamps=times, domain=domain, **arrays(rows))
        elif kind == 1:
            values = arrays(rows, "?,i2,u4,f4,f8,S")  # no text: theirs cannot write it there
            parts[f"regular_{number}"] = library.RegularTimeSeries(
                sampling_rate=float(rng.choice([1.0, 30.0])), domain_start=start, anchor=np.arange(rows), **values
            )
        elif kind == 2:
            parts[f"interval_{number}"] = library.Interval(start=times, end=times + 0.5, **arrays(rows))
        else:
            parts[f"rows_{number}"] = library.ArrayDict(anchor=np.arange(rows), **arrays(rows))
    nested = library.Data(inner=library.Data(x=1.5, name="n"), domain=domain)
    return library.Data(**parts, nested=nested, session=library.Data(id=f"s{seed}"), domain=domain)


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_random_files_are_read_alike_whoever_wrote_them(tmp_path, first, library):
    for seed in range(first, first + 20):
        theirs, ours = random_recording(library, seed), random_recording(nd_data, seed)
        theirs.save(tmp_path / f"theirs_{seed}.h5")
        ours.save(tmp_path / f"ours_{seed}.h5")
        for written in ("theirs", "ours"):
            path = tmp_path / f"{written}_{seed}.h5"
            for lazy in (False, True):
                assert_same(nd_data.Data.load(path, lazy=lazy), library.Data.load(path, lazy=lazy), f"{seed}")
            assert_same(nd_data.Data.load(path), theirs, f"{seed}")
            assert_same(ours, library.Data.load(path, lazy=False), f"{seed}")


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_that_either_saves_is_read_by_both(tmp_path, window, library):
    theirs, ours = (make_recording(one).slice(*window) for one in (library, nd_data))
    if len(theirs.spikes.domain) == 0 or len(theirs.bursts.domain) == 0:
        for name in ("spikes", "bursts", "silence"):  # theirs cannot save a series without a domain
            delattr(theirs, name)
            delattr(ours, name)
    theirs.save(tmp_path / "theirs.h5")
    ours.save(tmp_path / "ours.h5")
    for path in (tmp_path / "theirs.h5", tmp_path / "ours.h5"):
        read_by_them, read_by_us = library.Data.load(path, lazy=False), nd_data.Data.load(path)
        assert read_by_us.absolute_start == theirs.absolute_start
        assert_same(read_by_us, read_by_them)
        assert_same(read_by_us, theirs, atol=1e-12)


def test_a_time_series_without_any_domain_that_we_save_is_read_by_them(tmp_path, library):
    empty = nd_data.Interval(np.zeros(0), np.zeros(0))
    nd_data.Data(
        silence=nd_data.IrregularTimeSeries(np.zeros(0), domain=empty),
        rows=nd_data.ArrayDict(id=np.zeros(0, dtype="U3")),
        samples=nd_data.RegularTimeSeries(sampling_rate=5.0, x=np.zeros((0, 2))),
        domain=nd_data.Interval(0.0, 1.0),
    ).save(tmp_path / "ours.h5")
    for lazy in (False, True):
        assert_same(nd_data.Data.load(tmp_path / "ours.h5"), library.Data.load(tmp_path / "ours.h5", lazy=lazy))


def test_what_they_write_has_no_problems(tmp_path, library):
    (tmp_path / "some").mkdir()
    data = make_recording(library)
    domain = library.Interval(0.25, 37.25)
    data.brainset = library.Data(id="some", domain=domain)
    data.session = library.Data(id="one", domain=domain)
    data.subject = library.Data(id="who", domain=domain)
    data.save(tmp_path / "some" / "one.h5")
    assert validate_recording(tmp_path / "some" / "one.h5") == []
    dataset = nd_data.Dataset(tmp_path, split="train")
    assert dataset.get_unit_ids() == [f"some/one/unit_{number}" for number in range(5)]
    assert list(dataset.get_sampling_intervals()["some/one"]) == [(0.25, 15.0), (20.0, 25.0)]


def test_descriptions_of_torch_brain_are_data_and_dates_are_text(tmp_path, library):
    if not hasattr(library, "SessionDescription"):
        pytest.skip("descriptions came with torch_brain 0.2")
    day = dt.datetime(2024, 5, 17, 12, 30, tzinfo=dt.UTC)
    theirs = library.Data(
        brainset=library.BrainsetDescription(
            id="b", origin_version="1", derived_version="2", source="somewhere", description="made up"
        ),
        subject=library.SubjectDescription(id="m", species="macaque", age=100),
        session=library.SessionDescription(id="s", recording_date=day),
        device=library.DeviceDescription(id="d"),
    )
    theirs.save(tmp_path / "theirs.h5")
    found = nd_data.Data.load(tmp_path / "theirs.h5")
    assert_same(found, library.Data.load(tmp_path / "theirs.h5", lazy=False))
    assert (found.subject.age, found.session.recording_date) == (100.0, str(day))
    nd_data.Data(session=nd_data.Data(id="s", recording_date=day)).save(tmp_path / "ours.h5")
    assert library.Data.load(tmp_path / "ours.h5").session.recording_date == str(day)


def random_intervals(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    # Whole numbers, so that intervals often touch, and here and there a point.
    edges = np.sort(rng.integers(0, 30, 2 * rng.integers(0, 7))).astype(float)
    start, end = edges[::2], edges[1::2]
    return start, end


def test_interval_algebra_agrees_with_theirs(library):
    rng = np.random.default_rng(2)
    for _ in range(400):
        a, b = random_intervals(rng), random_intervals(rng)
        ours, theirs = [nd_data.Interval(*x) for x in (a, b)], [library.Interval(*x) for x in (a, b)]
        assert_same(ours[0] | ours[1], theirs[0] | theirs[1])
        assert_same(ours[0].difference(ours[1]), theirs[0].difference(theirs[1]))
        assert_same(ours[0].coalesce(1.5), theirs[0].coalesce(1.5))
        found, expected = ours[0] & ours[1], theirs[0] & theirs[1]
        # A point that touches two intervals comes twice in theirs, once in ours.
        rows = np.unique(np.stack([expected.start, expected.end], axis=1), axis=0)
        assert np.array_equal(np.stack([found.start, found.end], axis=1), rows)
        size, longest = rng.uniform(0, 3), rng.choice([None, 2.5])
        assert_same(ours[0].dilate(size, longest), theirs[0].dilate(size, longest), atol=1e-12)


def test_subdividing_and_splitting_agree_with_theirs(library):
    rng = np.random.default_rng(3)
    for _ in range(50):
        start, end = random_intervals(rng)
        kept = end > start
        start, end = start[kept], end[kept] + rng.uniform(0, 0.3)
        order = np.arange(len(start))
        if not len(start):
            continue
        ours = nd_data.Interval(start, end, n=order)
        theirs = library.Interval(start, end, n=order)
        for drop_short in (False, True):
            assert_same(ours.subdivide(0.7, drop_short), theirs.subdivide(0.7, drop_short), atol=1e-12)
    ours, theirs = nd_data.Interval.linspace(0, 10, 40), library.Interval.linspace(0, 10, 40)
    assert_same(ours, theirs)
    for options in ({}, {"shuffle": True, "random_seed": 4}):
        for found, expected in zip(
            ours.split([0.6, 0.2, 0.2], **options), theirs.split([0.6, 0.2, 0.2], **options), strict=True
        ):
            assert_same(found, expected)
    assert_same(nd_data.Interval.arange(0.0, 10.3, 1.0), library.Interval.arange(0.0, 10.3, 1.0))


def test_concatenating_agrees_with_theirs(their_file, library):
    theirs, ours = library.Data.load(their_file, lazy=False), nd_data.Data.load(their_file)
    windows = [(20.0, 25.0), (1.0, 4.0)]
    found = nd_data.concat([ours.spikes.slice(*window, False) for window in windows])
    expected = library.concat([theirs.spikes.slice(*window, False) for window in windows])
    assert_same(found, expected)

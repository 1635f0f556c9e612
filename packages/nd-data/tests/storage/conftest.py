"""What the tests of storage share."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries, RegularTimeSeries


@pytest.fixture
def path(tmp_path, make_recording):
    make_recording().save(tmp_path / "recording.h5")
    return tmp_path / "recording.h5"


@pytest.fixture(scope="session", name="make_recording")
def make_recording_fixture():
    return make_recording


def make_recording():
    rng = np.random.default_rng(0)
    return Data(
        spikes=IrregularTimeSeries(
            np.sort(rng.uniform(0, 60, 5000)), unit_index=rng.integers(0, 9, 5000), domain=Interval(0.0, 60.0)
        ),
        cursor=RegularTimeSeries(sampling_rate=100.0, vel=rng.standard_normal((6000, 2))),
        units=ArrayDict(id=[f"unit_{k}" for k in range(9)]),
        session=Data(id="monday"),
        domain=Interval(0.0, 60.0),
    )


@pytest.fixture(scope="session", name="compressed_copy")
def compressed_copy_fixture():
    return compressed_copy


def compressed_copy(path: Path) -> Path:
    target = path.with_name("compressed.h5")
    with h5py.File(path) as source, h5py.File(target, "w") as copy:

        def put(name, item):
            if isinstance(item, h5py.Group):
                copy.require_group(name).attrs.update(item.attrs)
            else:
                options = {"compression": "gzip", "chunks": True} if item.size else {}
                copy.create_dataset(name, data=item[()], **options)

        copy.attrs.update(source.attrs)
        source.visititems(put)
    return target


@pytest.fixture(scope="session", name="assert_same")
def assert_same_fixture():
    return assert_same


def assert_same(found, expected):
    assert set(found.keys()) == set(expected.keys())
    names = expected.keys()
    for name in names:
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype.kind == b.dtype.kind
        assert a.shape == b.shape
        assert a.dtype.kind == "U" or a.dtype.itemsize == b.dtype.itemsize or b.dtype.kind == "S"
        assert np.array_equal(a, b, equal_nan=b.dtype.kind in "fc"), name
        assert a.flags.writeable
    if hasattr(expected, "domain"):
        assert list(found.domain) == list(expected.domain)
    if hasattr(expected, "sampling_rate"):
        assert found.sampling_rate == expected.sampling_rate
    if hasattr(expected, "_timekeys"):
        assert set(found.timekeys()) == set(expected.timekeys())

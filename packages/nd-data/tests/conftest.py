from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from nd_data.array_dict import ArrayDict
from nd_data.data import Data
from nd_data.interval import Interval
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.regular_time_series import RegularTimeSeries

# Shared machines stall now and then; a slow example is no failure.
settings.register_profile("nd", deadline=None)
settings.load_profile("nd")


def make_recording(brainset="alpha", session="s1", *, subject="monkey_a", seed=0, units=5, **parts):
    """100 s: train [0, 60), valid [60, 80), test [80, 100); reach periods [10 k, 10 k + 4)."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 100, 3000))
    reach = Interval(np.arange(0.0, 100, 10), np.arange(0.0, 100, 10) + 4)
    hold = Interval(np.arange(5.0, 100, 10), np.arange(5.0, 100, 10) + 2)
    content = {
        "brainset": Data(id=brainset),
        "session": Data(id=session),
        "subject": Data(id=subject),
        "units": ArrayDict(id=np.array([f"unit_{i}" for i in range(units)])),
        "spikes": IrregularTimeSeries(
            timestamps=times, unit_index=rng.integers(0, units, len(times)), domain=Interval(0.0, 100.0)
        ),
        "cursor": RegularTimeSeries(
            sampling_rate=50.0, vel=rng.normal(size=(5000, 2)), domain_start=0.0, domain="auto"
        ),
        "movement_periods": Data(reach_period=reach, hold_period=hold, domain=Interval(0.0, 100.0)),
        "train_domain": Interval(0.0, 60.0),
        "valid_domain": Interval(60.0, 80.0),
        "test_domain": Interval(80.0, 100.0),
    }
    content |= parts
    return Data(domain=Interval(0.0, 100.0), **{name: part for name, part in content.items() if part is not None})


@pytest.fixture
def save_recording(tmp_path):
    """Writes one more recording under `tmp_path`."""

    def save(brainset="alpha", session="s1", **kwargs) -> Path:
        path = tmp_path / brainset / f"{session}.h5"
        path.parent.mkdir(exist_ok=True)
        make_recording(brainset, session, **kwargs).save(path)
        return path

    return save


@pytest.fixture
def root(tmp_path, save_recording):
    """Two brainsets with three recordings of two subjects: alpha/s1, alpha/s2, beta/t1."""
    save_recording("alpha", "s1", subject="monkey_a", seed=1)
    save_recording("alpha", "s2", subject="monkey_b", seed=2, units=3)
    save_recording("beta", "t1", subject="monkey_a", seed=3)
    return tmp_path


@pytest.fixture
def recording():
    """One recording in memory."""
    return make_recording()


@pytest.fixture(scope="module")
def recording_data():
    """One recording in memory, shared by the tests of a module: do not change it."""
    return make_recording()


@pytest.fixture
def write_nwb(tmp_path):
    """Writes an NWB file that a function fills with content, and returns its path."""
    from pynwb import NWBHDF5IO, NWBFile

    def write(fill, name="mouse1_day1.nwb", **fields) -> Path:
        nwb = NWBFile(
            **{
                "session_description": "a test",
                "identifier": "identifier-1",
                "session_start_time": datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
                **fields,
            }
        )
        fill(nwb)
        path = tmp_path / name
        with NWBHDF5IO(path, "w") as file:
            file.write(nwb)
        return path

    return write


@pytest.fixture
def convert_filled(write_nwb, tmp_path):
    """Writes an NWB file that a function fills, converts it, and returns the recording and its report."""
    from nd_data.ingest import convert_nwb

    def run(fill, **options):
        report = convert_nwb(write_nwb(fill), tmp_path / "out", brainset="lab", overwrite=True, **options)
        return Data.load(report.paths[0]), report.recordings[0]

    return run


@pytest.fixture
def convert(convert_filled):
    """The same of a file that has one unit besides, without splits."""

    def run(fill, **options):
        def filled(nwb):
            nwb.add_unit(spike_times=[0.5, 1.5])
            fill(nwb)

        return convert_filled(filled, splits=None, **options)

    return run

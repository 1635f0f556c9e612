"""Time series of NWB files, read again with h5py."""

import warnings

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynwb import TimeSeries
from pynwb.base import Images
from pynwb.behavior import (
    BehavioralEpochs,
    BehavioralEvents,
    BehavioralTimeSeries,
    CompassDirection,
    EyeTracking,
    Position,
    PupilTracking,
    SpatialSeries,
)
from pynwb.image import GrayscaleImage, ImageSeries
from pynwb.misc import AbstractFeatureSeries, AnnotationSeries, IntervalSeries

from nd_data import IrregularTimeSeries, RegularTimeSeries
from nd_data.ingest import streamed_series


def line(report, source):
    (found,) = [one for one in report.lines if one.source == source]
    return found


def deprecated(kind, **fields):
    """Makes what older files hold and newer versions of pynwb warn of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* is deprecated", category=UserWarning)
        return kind(**fields)


def spatial(name, data, **clock):
    return SpatialSeries(name=name, data=data, reference_frame="the room", **clock)


def test_behaviour_is_found_wherever_it_is(convert, tmp_path):
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(1, 9, 30))
    values = {name: rng.normal(size=(30, 2)) for name in ("gaze", "pupil", "xy", "speed", "licks", "heading")}

    def fill(nwb):
        behavior = nwb.create_processing_module(name="behavior", description="…")
        position = Position(name="Position")
        position.add_spatial_series(spatial("xy", values["xy"], rate=20.0, starting_time=1.25))
        behavior.add(position)
        behavior.add(EyeTracking(spatial_series=spatial("gaze", values["gaze"], timestamps=times)))
        pupil = TimeSeries(name="pupil", data=values["pupil"], unit="mm", timestamps=times)
        behavior.add(PupilTracking(time_series=pupil))
        speed = TimeSeries(name="speed", data=values["speed"][:, 0], unit="cm/s", rate=10.0)
        behavior.add(BehavioralTimeSeries(time_series=speed))
        licks = TimeSeries(name="licks", data=values["licks"][:, 0], unit="n.a.", timestamps=times)
        behavior.add(deprecated(BehavioralEvents, time_series=licks))
        nwb.add_acquisition(
            CompassDirection(spatial_series=spatial("heading", values["heading"][:, 0], timestamps=times))
        )
        nwb.add_stimulus(TimeSeries(name="sound", data=np.arange(5), unit="V", rate=2.0))
        nwb.add_analysis(TimeSeries(name="result", data=np.arange(5), unit="V", rate=2.0))

    data, report = convert(fill)
    behavior = data.behavior
    assert isinstance(behavior.Position.xy, RegularTimeSeries)
    assert behavior.Position.xy.sampling_rate == 20.0
    np.testing.assert_allclose(behavior.Position.xy.timestamps, 1.25 + np.arange(30) / 20.0, atol=1e-12)
    np.testing.assert_array_equal(behavior.Position.xy.data, values["xy"])
    assert isinstance(behavior.EyeTracking.gaze, IrregularTimeSeries)
    np.testing.assert_array_equal(behavior.EyeTracking.gaze.timestamps, times)
    np.testing.assert_array_equal(behavior.EyeTracking.gaze.data, values["gaze"])
    np.testing.assert_array_equal(behavior.PupilTracking.pupil.data, values["pupil"])
    np.testing.assert_array_equal(behavior.BehavioralTimeSeries.speed.data, values["speed"][:, 0])
    assert behavior.BehavioralTimeSeries.speed_unit == "cm/s"
    np.testing.assert_array_equal(behavior.BehavioralEvents.licks.timestamps, times)
    np.testing.assert_array_equal(data.acquisition.CompassDirection.heading.data, values["heading"][:, 0])
    assert data.stimulus.sound.sampling_rate == 2.0
    assert data.analysis.result.data.tolist() == [0, 1, 2, 3, 4]
    assert line(report, "processing/behavior/EyeTracking/gaze").target == "behavior.EyeTracking.gaze"
    assert line(report, "processing/behavior/PupilTracking/pupil").detail == "timestamps, data (30, 2) float64; in mm"
    assert report.not_mapped == []
    # Every series of the file is there, as h5py finds them.
    with h5py.File(tmp_path / "mouse1_day1.nwb") as file:
        keys = []
        file.visit(keys.append)
    clocks = {key.rpartition("/")[0] for key in keys if key.endswith(("/starting_time", "/timestamps"))}
    assert len(clocks) == 8
    assert {one.source for one in report.mapped} >= clocks
    # A window reads only its samples, with its own origin.
    window = data.slice(2.0, 3.0)
    inside = (times >= 2) & (times < 3)
    np.testing.assert_array_equal(window.behavior.EyeTracking.gaze.timestamps, times[inside] - 2.0)
    np.testing.assert_array_equal(window.behavior.Position.xy.data, values["xy"][15:])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    dtype=st.sampled_from(["int8", "int16", "uint16", "int32", "int64", "float32", "float64"]),
    conversion=st.sampled_from([1.0, 0.01, -2.5]),
    offset=st.sampled_from([0.0, 3.25]),
    rate=st.sampled_from([None, 0.5, 1250.0]),
    shape=st.sampled_from([(7,), (7, 3), (7, 2, 2)]),
    piece=st.sampled_from([1, 40, 10**6]),
)
def test_values_are_in_the_unit_that_the_series_names(convert, dtype, conversion, offset, rate, shape, piece):
    raw = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    times = np.array([0.0, 0.1, 0.1, 0.5, 2.0, 2.5, 9.0])

    def fill(nwb):
        clock = {"timestamps": times} if rate is None else {"rate": rate, "starting_time": 3.0}
        nwb.add_acquisition(TimeSeries(name="x", data=raw, unit="V", conversion=conversion, offset=offset, **clock))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed_series, "PIECE_BYTES", piece)
        data, _ = convert(fill)
    series = data.acquisition.x
    expected = raw.astype(np.float64) * conversion + offset
    if conversion == 1.0 and offset == 0.0:
        assert series.data.dtype == raw.dtype
        np.testing.assert_array_equal(series.data, raw)
    elif dtype in ("int8", "int16", "uint16", "float32"):
        assert series.data.dtype == np.float32
        np.testing.assert_array_equal(series.data, expected.astype(np.float32))
    else:
        assert series.data.dtype == np.float64
        np.testing.assert_array_equal(series.data, expected)
    if rate is None:
        np.testing.assert_array_equal(series.timestamps, times)
        assert len(series.slice(series.domain.start[0], series.domain.end[0])) == 7
    else:
        assert (series.sampling_rate, series.domain.start.tolist()) == (rate, [3.0])
        assert series.domain.end[0] == pytest.approx(3.0 + 7 / rate)


def test_times_out_of_order_are_sorted_and_times_that_are_none_dropped(convert, monkeypatch):
    monkeypatch.setattr(streamed_series, "PIECE_BYTES", 16)
    times = np.array([0.3, 0.1, np.nan, 0.1, 0.5, np.inf, 0.2])

    def fill(nwb):
        nwb.add_acquisition(TimeSeries(name="x", data=np.arange(14.0).reshape(7, 2), unit="V", timestamps=times))

    data, report = convert(fill)
    series = data.acquisition.x
    assert series.timestamps.tolist() == [0.1, 0.1, 0.2, 0.3, 0.5]
    assert series.data[:, 0].tolist() == [2.0, 6.0, 12.0, 0.0, 8.0]
    said = line(report, "acquisition/x").detail
    assert "2 samples whose time is NaN or infinite dropped" in said
    assert "sorted by time" in said


def test_missing_values_are_kept_and_counted(convert):
    values = np.arange(20.0).reshape(10, 2)
    values[[3, 7], [0, 1]] = np.nan

    def fill(nwb):
        nwb.add_acquisition(TimeSeries(name="x", data=values, unit="V", rate=10.0, conversion=2.0))

    data, report = convert(fill)
    np.testing.assert_array_equal(data.acquisition.x.data, values * 2)
    assert "2 samples of data with NaN, kept" in line(report, "acquisition/x").detail


def test_text_features_and_marked_starts_and_ends_are_mapped(convert):
    def fill(nwb):
        nwb.add_acquisition(deprecated(AnnotationSeries, name="notes", data=["hello", "wörld"], timestamps=[1.0, 2.0]))
        features = AbstractFeatureSeries(
            name="features", feature_units=["a", "b"], features=["x", "y"], data=np.ones((3, 2)), rate=1.0
        )
        nwb.add_acquisition(features)
        marks = IntervalSeries(name="rest", data=[1, -1, 2, 1, -2, -1], timestamps=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
        single = IntervalSeries(name="run", data=[1, -1], timestamps=[6.0, 7.0])
        broken = IntervalSeries(name="broken", data=[1, 1], timestamps=[6.0, 7.0])
        module = nwb.create_processing_module(name="behavior", description="…")
        module.add(BehavioralEpochs(interval_series=[marks, single, broken]))

    data, report = convert(fill)
    assert data.acquisition.notes.data.tolist() == ["hello", "wörld"]
    assert data.acquisition.features.data.shape == (3, 2)
    rest = data.behavior.BehavioralEpochs.rest
    assert list(zip(rest.start, rest.end, rest.kind, strict=True)) == [(0.0, 1.0, 1), (2.0, 4.0, 2), (3.0, 5.0, 1)]
    assert data.behavior.BehavioralEpochs.run.end.tolist() == [7.0]
    broken = line(report, "processing/behavior/BehavioralEpochs/broken")
    assert (broken.target, broken.detail) == (None, "starts (1) and ends (-1) do not take turns")


def test_images_and_empty_series_are_reported_and_not_mapped(convert):
    def fill(nwb):
        video = ImageSeries(name="video", data=np.zeros((3, 4, 4), np.uint8), unit="n.a.", rate=1.0)
        nwb.add_acquisition(video)
        nwb.add_acquisition(Images(name="pictures", images=[GrayscaleImage(name="one", data=np.zeros((2, 2)))]))
        nwb.add_acquisition(TimeSeries(name="empty", data=np.zeros((0, 2)), unit="V", rate=1.0))
        nwb.add_acquisition(TimeSeries(name="lost", data=[1.0, 2.0], unit="V", timestamps=[np.nan, np.nan]))

    data, report = convert(fill)
    assert "acquisition" not in data
    assert {(one.source, one.detail) for one in report.not_mapped} == {
        ("acquisition/video", "images and video are not mapped"),
        ("acquisition/pictures", "images and video are not mapped"),
        ("acquisition/empty", "it holds no samples"),
        ("acquisition/lost", "none of its timestamps is finite"),
    }


def test_names_that_clash_or_cannot_be_attributes_are_resolved_the_same_way_every_time(convert):
    names = ["my series", "my_series", "my-series", "slice", "2p", "my_series_unit"]

    def fill(nwb):
        for number, name in enumerate(names):
            nwb.add_acquisition(TimeSeries(name=name, data=[float(number)], unit="V", rate=1.0))
        nwb.create_processing_module(name="units", description="…").add(
            TimeSeries(name="x", data=[1.0], unit="V", rate=1.0)
        )

    found = []
    for _ in range(2):
        data, report = convert(fill)
        found.append({one.source: one.target for one in report.mapped})
        for number, name in enumerate(names):
            series = data.get_nested_attribute(line(report, f"acquisition/{name}").target)
            assert series.data.tolist() == [number]
        assert data.acquisition.my_series_unit.data.tolist() == [5.0]
        assert data.acquisition.my_series_unit_2 == "V"
    assert found[0] == found[1]
    assert found[0]["acquisition/my_series"] == "acquisition.my_series"
    assert {found[0]["acquisition/my series"], found[0]["acquisition/my-series"]} == {
        "acquisition.my_series_2",
        "acquisition.my_series_3",
    }
    assert found[0]["acquisition/slice"] == "acquisition.slice_2"
    assert found[0]["acquisition/2p"] == "acquisition.x2p"
    assert found[0]["processing/units/x"] == "units_2.x"

"""Electrical and optical physiology of NWB files."""

import numpy as np
import pytest
from pynwb.ecephys import LFP, ElectricalSeries
from pynwb.misc import DecompositionSeries
from pynwb.ophys import Fluorescence, ImageSegmentation, OpticalChannel, RoiResponseSeries


def line(report, source):
    (found,) = [one for one in report.lines if one.source == source]
    return found


def add_electrical_series(nwb):
    device = nwb.create_device(name="probe")
    group = nwb.create_electrode_group(name="shank", description="", location="CA1", device=device)
    for number in range(4):
        nwb.add_electrode(x=0.0, y=0.0, z=1.0 * number, location="CA1", group=group)
    region = nwb.create_electrode_table_region(region=[1, 3], description="…")
    raw = np.arange(12, dtype=np.int16).reshape(6, 2)
    nwb.add_acquisition(
        ElectricalSeries(
            name="raw",
            data=raw,
            electrodes=region,
            rate=3.0,
            conversion=1e-3,
            channel_conversion=[1.0, 10.0],
            offset=0.5,
        )
    )
    ecephys = nwb.create_processing_module(name="ecephys", description="…")
    lfp = LFP(name="LFP")
    ecephys.add(lfp)
    region = nwb.create_electrode_table_region(region=[2], description="…")
    series = ElectricalSeries(name="lfp", data=np.arange(6.0)[:, None], electrodes=region, rate=3.0)
    lfp.add_electrical_series(series)
    spectrum = DecompositionSeries(
        name="spectrum", data=np.ones((6, 1, 2)), metric="power", rate=3.0, source_timeseries=series
    )
    spectrum.add_band(band_name="theta", band_limits=(4.0, 12.0), band_mean=8.0, band_stdev=1.0)
    spectrum.add_band(band_name="gamma", band_limits=(30.0, 80.0), band_mean=50.0, band_stdev=9.0)
    ecephys.add(spectrum)


@pytest.mark.parametrize(("kept", "has_raw", "has_lfp"), [("none", 0, 0), ("processed", 0, 1), ("all", 1, 1)])
def test_electrical_series_are_taken_when_asked_for(convert, kept, has_raw, has_lfp):
    data, report = convert(add_electrical_series, electrical_series=kept)
    raw, lfp = line(report, "acquisition/raw"), line(report, "processing/ecephys/LFP/lfp")
    assert (raw.target is not None, lfp.target is not None) == (bool(has_raw), bool(has_lfp))
    if not has_raw:
        assert raw.detail == "electrical series are left out; ask for electrical_series='all' to keep it"
    else:
        # One factor a channel, and the offset added once.
        values = np.arange(12).reshape(6, 2) * 1e-3 * np.array([1.0, 10.0]) + 0.5
        np.testing.assert_array_equal(data.acquisition.raw.data, values.astype(np.float32))
        assert data.acquisition.raw_electrodes.tolist() == [1, 3]
        assert data.acquisition.raw_unit == "volts"
    if has_lfp:
        assert data.ecephys.LFP.lfp.sampling_rate == 3.0
        assert data.electrodes.z[data.ecephys.LFP.lfp_electrodes].tolist() == [2.0]
    # Power in bands is small, and always taken.
    assert data.ecephys.spectrum.data.shape == (6, 1, 2)
    assert data.ecephys.spectrum_bands.band_name.tolist() == ["theta", "gamma"]
    assert data.ecephys.spectrum_bands.band_limits.tolist() == [[4.0, 12.0], [30.0, 80.0]]


def test_calcium_traces_keep_their_rois(convert):
    traces = np.random.default_rng(0).normal(size=(9, 2))

    def fill(nwb):
        device = nwb.create_device(name="microscope")
        channel = OpticalChannel(name="green", description="", emission_lambda=500.0)
        plane = nwb.create_imaging_plane(
            name="plane",
            optical_channel=channel,
            description="",
            device=device,
            excitation_lambda=600.0,
            indicator="GCaMP6f",
            location="V1",
        )
        ophys = nwb.create_processing_module(name="ophys", description="…")
        segmentation = ImageSegmentation()
        ophys.add(segmentation)
        table = segmentation.create_plane_segmentation(name="cells", description="…", imaging_plane=plane)
        table.add_column(name="accepted", description="?")
        for number in range(3):
            table.add_roi(pixel_mask=[(number, 1, 1.0)], accepted=number != 1)
        rois = table.create_roi_table_region(region=[0, 2], description="…")
        fluorescence = Fluorescence()
        ophys.add(fluorescence)
        fluorescence.add_roi_response_series(
            RoiResponseSeries(name="raw", data=traces, rois=rois, unit="a.u.", rate=30.0)
        )

    data, report = convert(fill)
    np.testing.assert_array_equal(data.ophys.Fluorescence.raw.data, traces)
    assert data.ophys.Fluorescence.raw_rois.tolist() == [0, 2]
    cells = data.ophys.ImageSegmentation.cells
    assert cells.accepted[data.ophys.Fluorescence.raw_rois].tolist() == [True, True]
    assert "column 'pixel_mask' not mapped: images" in line(report, "processing/ophys/ImageSegmentation/cells").detail
    assert {one.kind for one in report.not_mapped} == {"Device", "ImagingPlane", "OpticalChannel"}

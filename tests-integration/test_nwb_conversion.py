"""The real NWB file through ``convert_nwb``, beside the hand-made converter of it; skipped where it is absent."""

import h5py
import numpy as np
import pytest
import torch

from converters import head_direction
from nd_data import Data, Dataset, IrregularTimeSeries, collate
from nd_data.ingest import FractionSplits, convert_nwb
from nd_data.samplers import RandomFixedWindowSampler
from nd_models import DataType, ModalitySpec, POYOPlus
from nd_models.loss import MSELoss

pytestmark = pytest.mark.recordings

HEADING = ModalitySpec(
    id=101,
    dim=2,
    type=DataType.CONTINUOUS,
    loss_fn=MSELoss(),
    timestamp_key="head.timestamps",
    value_key="head.heading",
)


@pytest.fixture(scope="module")
def nwb(real_recordings):
    return real_recordings / "head_direction_nwb" / "A2929-200711.nwb"


@pytest.fixture(scope="module")
def converted(nwb, tmp_path_factory):
    """The folder of the converted recording, and its report."""
    root = tmp_path_factory.mktemp("converted")
    splits = FractionSplits(train=0.68, valid=0.12, test=0.2, within="acquisition.CompassDirection.ry")
    report = convert_nwb(nwb, root, brainset="head_direction", splits=splits)
    return root, report.recordings[0]


def test_every_spike_and_every_sample_of_the_real_file_is_there(nwb, converted):
    _, report = converted
    data = Data.load(report.path)
    with h5py.File(nwb) as file:
        ends = file["units/spike_times_index"][()].astype(int)
        trains = np.split(file["units/spike_times"][()], ends[:-1])
        assert len(data.units) == len(trains) == 15
        for unit, expected in enumerate(trains):
            np.testing.assert_array_equal(data.spikes.timestamps[data.spikes.unit_index == unit], np.sort(expected))
        assert data.units.location.tolist() == file["units/location"].asstr()[()].tolist()
        for container, names in (("CompassDirection", "rx ry rz"), ("Position", "x y z")):
            for name in names.split():
                series = data.get_nested_attribute(f"acquisition.{container}.{name}")
                stored = file[f"acquisition/{container}/{name}"]
                np.testing.assert_array_equal(series.data, stored["data"][()])
                np.testing.assert_array_equal(series.timestamps, stored["timestamps"][()])
        for table in ("epochs", "position_time_support", "sleep_ripples", "sleep_ripples_timesupport"):
            intervals = getattr(data, table)
            np.testing.assert_array_equal(intervals.start, file[f"intervals/{table}/start_time"][()])
            np.testing.assert_array_equal(intervals.end, file[f"intervals/{table}/stop_time"][()])
    assert data.epochs.tags.tolist() == ["sleep", "wake"]
    assert data.acquisition.CompassDirection.ry_unit == "radian"
    assert {line.kind for line in report.not_mapped} == {"Device", "ElectrodeGroup"}


def test_it_agrees_with_the_converter_made_by_hand(nwb, converted, tmp_path):
    _, report = converted
    (by_hand,) = head_direction.convert(nwb.parent, tmp_path)
    ours, hand = Data.load(report.path), Data.load(by_hand)
    window = ours.slice(hand.start, hand.end, reset_origin=False)
    np.testing.assert_array_equal(window.spikes.timestamps, hand.spikes.timestamps)
    np.testing.assert_array_equal(window.spikes.unit_index, hand.spikes.unit_index)
    angle = window.acquisition.CompassDirection.ry
    np.testing.assert_array_equal(angle.timestamps, hand.head.timestamps)
    np.testing.assert_array_equal(np.stack([np.cos(angle.data), np.sin(angle.data)], 1), hand.head.heading)
    for split in ("train", "valid", "test"):
        # Both end one step behind the last sample: a step here, 1/120 s there, which moves borders by its rounding.
        for edge in ("start", "end"):
            mine, theirs = (getattr(getattr(data, f"{split}_domain"), edge) for data in (ours, hand))
            np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_windows_of_it_go_through_a_model(converted, tmp_path):
    _, report = converted
    data = Data.load(report.path, lazy=False)
    angle = data.acquisition.CompassDirection.ry
    data.head = IrregularTimeSeries(
        timestamps=angle.timestamps, heading=np.stack([np.cos(angle.data), np.sin(angle.data)], 1), domain=angle.domain
    )
    path = tmp_path / "head_direction" / "A2929-200711.h5"
    path.parent.mkdir()
    data.save(path)
    model = POYOPlus(
        sequence_length=1.0,
        readout_specs={"heading": HEADING},
        latent_step=0.25,
        num_latents_per_step=4,
        dim=16,
        depth=1,
        dim_head=8,
        self_heads=2,
    )
    config = {"multitask_readout": [{"readout_id": "heading"}]}
    dataset = Dataset(tmp_path, config={"config": config}, split="train", transform=model.tokenize)
    model.unit_emb.initialize_vocab(dataset.get_unit_ids())
    model.session_emb.initialize_vocab(dataset.get_session_ids())
    sampler = RandomFixedWindowSampler(
        dataset.get_sampling_intervals(), window_length=1.0, generator=torch.Generator().manual_seed(0)
    )
    batch = collate([dataset[index] for index, _ in zip(sampler, range(4), strict=False)])
    output = model(**batch["model_inputs"], unpack_output=False)["heading"]
    assert output.shape == batch["target_values"]["heading"].shape
    assert output.shape[0] == pytest.approx(4 * 120, abs=4)
    assert torch.isfinite(output).all()

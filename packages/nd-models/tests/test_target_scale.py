"""The scale of targets, and what else a shared folder says of its readouts."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from nd_models import MODALITY_REGISTRY, from_pretrained, in_data_units, save_pretrained
from nd_models.target_scale import checked_target_statistics

pytest.importorskip("safetensors")

STATISTICS = {
    "cursor_velocity_2d": {"mean": [1.5, -2.0], "std": [4.0, 0.5]},
    "cursor_position_2d": {"mean": [3.0], "std": [2.0]},
}
NAMES = tuple(f"{angle}°" for angle in range(0, 360, 45))


def by_hand(values, task):
    """Times the deviation, plus the mean, in float64."""
    scale = STATISTICS[task]
    return values.double().numpy() * np.array(scale["std"]) + np.array(scale["mean"])


def test_outputs_come_back_in_the_units_of_the_data(make_model, make_window, make_batch):
    model = make_model("POYOPlus").eval()
    model.target_statistics = STATISTICS
    batch = make_batch(model, [make_window(), make_window(seed=1)])
    with torch.no_grad():
        outputs = model(**batch["model_inputs"])
        by_window = model(**batch["model_inputs"], unpack_output=True)
    restored = model.in_data_units(outputs)
    for task in STATISTICS:
        np.testing.assert_allclose(restored[task].numpy(), by_hand(outputs[task], task), rtol=1e-6, atol=1e-6)
    assert torch.equal(restored["drifting_gratings_orientation"], outputs["drifting_gratings_orientation"])
    for window, values in zip(model.in_data_units(by_window), by_window, strict=True):
        for task in STATISTICS:
            np.testing.assert_allclose(window[task].numpy(), by_hand(values[task], task), rtol=1e-6, atol=1e-6)


def test_outputs_of_a_model_with_one_readout_need_no_name(make_model, make_window, make_batch):
    model = make_model("POYO").eval()
    model.target_statistics = {"cursor_velocity_2d": STATISTICS["cursor_velocity_2d"]}
    with torch.no_grad():
        outputs = model(**make_batch(model, [make_window()])["model_inputs"])
    expected = by_hand(outputs, "cursor_velocity_2d")
    np.testing.assert_allclose(model.in_data_units(outputs).numpy(), expected, rtol=1e-6, atol=1e-6)
    model.target_statistics = {}
    assert model.in_data_units(outputs) is outputs
    with pytest.raises(ValueError, match="statistics of 'cursor_velocity_2d', 'cursor_position_2d': give outputs by t"):
        in_data_units(outputs, STATISTICS)


def test_a_model_that_does_not_know_its_scale_says_so(make_model):
    with pytest.raises(ValueError, match="does not know the scale that it was trained in"):
        make_model("POYO").in_data_units(torch.zeros(1, 2))


@pytest.mark.parametrize("statistics", [STATISTICS, {}, None])
def test_the_scale_travels_with_a_shared_folder(statistics, make_model, tmp_path):
    model = make_model("POYOPlus")
    model.target_statistics = statistics
    save_pretrained(model, tmp_path)
    description = json.loads((tmp_path / "config.json").read_text())
    assert description["format_version"] == (2 if statistics else 1)
    loaded = from_pretrained(tmp_path)
    assert loaded.target_statistics == statistics
    # And on, when it is shared again.
    save_pretrained(loaded, tmp_path / "again")
    assert from_pretrained(tmp_path / "again").target_statistics == statistics


@pytest.mark.parametrize(
    "changes",
    [{"class_names": NAMES}, {"unit": "°"}, {"class_names": NAMES, "unit": "°"}, {}],
    ids=["names", "unit", "both", "neither"],
)
def test_names_of_classes_and_units_travel_with_a_shared_folder(changes, make_model, tmp_path):
    spec = dataclasses.replace(MODALITY_REGISTRY["drifting_gratings_orientation"], **changes)
    for model in (make_model("POYO", readout_spec=spec), make_model("GRUDecoder", readout_specs={"angle": spec})):
        save_pretrained(model, tmp_path)
        loaded = from_pretrained(tmp_path)
        again = loaded.readout_specs["angle"] if hasattr(loaded, "readout_specs") else loaded.readout_spec
        assert (again.class_names, again.unit) == (changes.get("class_names"), changes.get("unit"))
        # A folder that says no more than older packages know is one that they read.
        assert json.loads((tmp_path / "config.json").read_text())["format_version"] == (2 if changes else 1)


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ([], "must be a mapping from readout"),
        ({"speed": [0.0, 1.0]}, "of 'speed' must be a mapping with 'mean' and 'std'"),
        ({"speed": {"mean": ["fast"], "std": [1.0]}}, "must be lists of numbers"),
        ({"speed": {"mean": 0.0, "std": 1.0}}, "must be lists of numbers"),
        ({"speed": {"mean": [0.0, 1.0], "std": [1.0]}}, "as many means as deviations"),
        ({"speed": {"mean": [float("nan")], "std": [1.0]}}, "must be finite"),
        ({"speed": {"mean": [0.0], "std": [0.0]}}, "std above 0"),
    ],
)
def test_statistics_that_make_no_sense_are_refused_before_anything_is_written(
    statistics, message, make_model, tmp_path
):
    with pytest.raises(ValueError, match=message):
        checked_target_statistics(statistics)
    model = make_model("POYO")
    model.target_statistics = statistics
    with pytest.raises(ValueError, match=message):
        save_pretrained(model, tmp_path / "shared")
    assert not (tmp_path / "shared").exists()

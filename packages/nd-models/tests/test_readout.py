"""Targets of a window as the configuration asks for them."""

import copy
from typing import Any

import numpy as np
import pytest

from nd_models import (
    MODALITY_REGISTRY,
    DataType,
    ModalitySpec,
    prepare_for_multitask_readout,
    prepare_for_readout,
)
from nd_models.loss import MSELoss

VELOCITY = MODALITY_REGISTRY["cursor_velocity_2d"]


def entry(**changes: Any) -> dict[str, Any]:
    return {"readout_id": "cursor_velocity_2d", **changes}


def both_ways(make_window, given: dict[str, Any], specs=MODALITY_REGISTRY):
    """The same entry as the only readout of a POYO+ and as the readout of a POYO."""
    single = prepare_for_readout(make_window(config={"readout": given}), specs[given["readout_id"]])
    times, values, ids, weights, masks = prepare_for_multitask_readout(
        make_window(config={"multitask_readout": [given]}), specs
    )
    name = given["readout_id"]
    for one, other in zip(single, (times, values[name], weights[name], masks[name]), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert ids.tolist() == [specs[name].id] * len(times)
    return single


def test_by_default_targets_are_the_recordings_values_with_weight_one(make_window):
    data = make_window()
    times, values, weights, mask = both_ways(make_window, entry())
    np.testing.assert_array_equal(times, data.cursor.timestamps)
    np.testing.assert_array_equal(values, data.cursor.vel.astype(np.float32))
    assert (times.dtype, values.dtype, weights.dtype, mask.dtype) == (np.float64, np.float32, np.float32, np.bool_)
    assert weights.tolist() == [1.0] * 25
    assert mask.all()


@pytest.mark.parametrize("mean", [0.5, [0.5, -1.0], 2])
@pytest.mark.parametrize("deviation", [2.0, [2.0, 0.5], 3])
def test_values_are_normalised(make_window, mean, deviation):
    _, values, _, _ = both_ways(make_window, entry(normalize_mean=mean, normalize_std=deviation))
    expected = (make_window().cursor.vel - np.asarray(mean)) / np.asarray(deviation)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert values.dtype == np.float32


def test_the_recording_itself_is_not_normalised(make_window):
    data = make_window(config={"readout": entry(normalize_mean=1.0, normalize_std=2.0)})
    before = data.cursor.vel.copy()
    prepare_for_readout(data, VELOCITY)
    np.testing.assert_array_equal(data.cursor.vel, before)


def test_weights_multiply_where_intervals_overlap(make_window):
    times, _, weights, _ = both_ways(make_window, entry(weights={"reach": 5.0, "pause": 0.1}))
    expected = [
        (5.0 if 0.1 <= time < 0.3 or 0.6 <= time < 0.9 else 1.0) * (0.1 if 0.2 <= time < 0.7 else 1.0) for time in times
    ]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_only_times_inside_the_evaluation_interval_count(make_window):
    times, _, _, mask = both_ways(make_window, entry(eval_interval="reach"))
    assert mask.tolist() == [bool(0.1 <= time < 0.3 or 0.6 <= time < 0.9) for time in times]


def test_keys_of_the_configuration_go_before_those_of_the_readout(make_window):
    _, values, _, _ = both_ways(make_window, entry(value_key="cursor.pos", timestamp_key="cursor.timestamps"))
    np.testing.assert_array_equal(values, make_window().cursor.pos)


def test_metrics_are_for_others(make_window):
    _, values, _, _ = both_ways(make_window, entry(metrics=["r2", "mse"]))
    _, same, _, _ = both_ways(make_window, entry())
    np.testing.assert_array_equal(values, same)


def test_several_readouts_follow_each_other(make_window):
    data = make_window()
    times, values, ids, weights, masks = prepare_for_multitask_readout(data, MODALITY_REGISTRY)
    cursor, gratings = data.cursor.timestamps, data.drifting_gratings.timestamps
    np.testing.assert_array_equal(times, np.concatenate([cursor, cursor, gratings]))
    assert ids.tolist() == [1] * 25 + [2] * 25 + [4] * 13
    assert list(values) == ["cursor_velocity_2d", "cursor_position_2d", "drifting_gratings_orientation"]
    assert {name: len(part) for name, part in weights.items()} == {name: len(part) for name, part in values.items()}
    assert {name: len(part) for name, part in masks.items()} == {name: len(part) for name, part in values.items()}
    assert values["drifting_gratings_orientation"].dtype == data.drifting_gratings.orientation_id.dtype


def test_no_readout_gives_no_time(make_window):
    times, values, ids, weights, masks = prepare_for_multitask_readout(
        make_window(config={"multitask_readout": []}), MODALITY_REGISTRY
    )
    assert len(times) == len(ids) == 0
    assert values == weights == masks == {}


def test_an_unknown_readout_lists_those_that_exist_and_the_nearest(make_window):
    specs = {name: MODALITY_REGISTRY[name] for name in ("cursor_velocity_2d", "running_speed")}
    data = make_window(config={"multitask_readout": [{"readout_id": "cursor_velocity"}]})
    with pytest.raises(KeyError) as error:
        prepare_for_multitask_readout(data, specs)
    message = str(error.value)
    assert "recording 'perich/c_1': the model has no readout 'cursor_velocity'" in message
    assert "did you mean 'cursor_velocity_2d'" in message
    assert "'running_speed'" in message
    with pytest.raises(KeyError, match=r"readout 'cursor_velocity' does not exist; did you mean 'cursor_velocity_2d'"):
        prepare_for_readout(make_window(config={"readout": {"readout_id": "cursor_velocity"}}), VELOCITY)


def test_a_readout_of_ones_own_may_have_any_name(make_window):
    own = ModalitySpec(1, 2, DataType.CONTINUOUS, "cursor.timestamps", "cursor.pos", MSELoss())
    times, values, _, _ = prepare_for_readout(make_window(config={"readout": {"readout_id": "mine"}}), own)
    assert len(times) == len(values) == 25


@pytest.mark.parametrize("key", ["value_key", "timestamp_key", "eval_interval"])
@pytest.mark.parametrize("path", ["cursor.velocity", "cursors.vel", "cursor.vel.x"])
def test_an_attribute_that_the_recording_lacks_is_named(make_window, key, path):
    with pytest.raises(KeyError) as error:
        prepare_for_readout(make_window(config={"readout": entry(**{key: path})}), VELOCITY)
    message = str(error.value)
    assert f"recording 'perich/c_1': readout 'cursor_velocity_2d' wants {key} '{path}'" in message
    assert "did you mean 'cursor" in message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": {}}, "lacks 'readout_id'"),
        (entry(weight={}), "unknown key 'weight' of a readout; did you mean 'weights'"),
        (entry(normalize_std=0.0), "normalize_std must be above 0"),
        (entry(normalize_std=[1.0, 0.0]), "normalize_std must be above 0"),
        (entry(normalize_mean=[1.0, 2.0, 3.0]), "normalize_mean must be one number or"),
        (entry(value_key="drifting_gratings.orientation_id"), "13 values but 25 timestamps"),
        (entry(value_key="cursor.timestamps"), r"values must have shape \(n, 2\), got \(25,\)"),
        (entry(weights={"raech": 2.0}), "raech"),
        ("cursor_velocity_2d", "mapping"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(make_window, given, message):
    with pytest.raises(ValueError, match=message):
        prepare_for_readout(make_window(config={"readout": given}), VELOCITY)
    with pytest.raises(ValueError, match=message):
        prepare_for_multitask_readout(make_window(config={"multitask_readout": [given]}), MODALITY_REGISTRY)


@pytest.mark.parametrize("bad", [8, -1])
def test_classes_outside_the_readout_are_refused(make_window, bad):
    data = make_window(config={"multitask_readout": [{"readout_id": "drifting_gratings_orientation"}]})
    classes = data.drifting_gratings.orientation_id.copy()
    classes[2] = bad
    data.drifting_gratings.orientation_id = classes
    with pytest.raises(ValueError, match=r"classes must be 0 to 7, found"):
        prepare_for_multitask_readout(data, MODALITY_REGISTRY)
    data.drifting_gratings.orientation_id = classes.astype(np.float64)
    with pytest.raises(ValueError, match="class indices must be integers"):
        prepare_for_multitask_readout(data, MODALITY_REGISTRY)


def test_a_readout_that_comes_twice_is_refused(make_window):
    with pytest.raises(ValueError, match="'cursor_velocity_2d' comes twice"):
        prepare_for_multitask_readout(make_window(config={"multitask_readout": [entry(), entry()]}), MODALITY_REGISTRY)


@pytest.mark.parametrize("config", [{"other": 1}, {}])
def test_a_configuration_without_readout_says_what_it_holds(make_window, config):
    with pytest.raises(
        ValueError, match=r"no 'readout' \(a POYO model wants 'readout', a POYO\+ model 'multitask_readout'"
    ):
        prepare_for_readout(make_window(config=config or {"x": 1}), VELOCITY)


def test_a_recording_without_configuration_says_how_to_give_one(make_window):
    data = make_window()
    del data.config
    with pytest.raises(ValueError, match="build the Dataset with config="):
        prepare_for_readout(data, VELOCITY)


@pytest.mark.parametrize("given", [{"readout_id": "cursor_velocity_2d"}, "cursor_velocity_2d"])
def test_several_readouts_must_be_a_list(make_window, given):
    with pytest.raises(ValueError, match="'multitask_readout' must be a list"):
        prepare_for_multitask_readout(make_window(config={"multitask_readout": given}), MODALITY_REGISTRY)


def test_the_configuration_is_not_altered(make_window):
    config = {"readout": entry(weights={"reach": 5.0}, normalize_mean=[1.0, 2.0])}
    before = copy.deepcopy(config)
    prepare_for_readout(make_window(config=config), VELOCITY)
    assert config == before

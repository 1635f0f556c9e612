"""What every architecture promises; a new one joins the table of sizes in conftest.py."""

import copy
import inspect
import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from nd_models import DataType, DecoderModel, ModalitySpec, MultitaskDecoderModel, model_from_config
from nd_models.loss import BinaryCrossEntropyLoss, MSELoss, MultilabelCrossEntropyLoss

WITHOUT_DROPOUT = {
    "POYO": {"ffn_dropout": 0.0, "lin_dropout": 0.0},
    "POYOPlus": {"ffn_dropout": 0.0, "lin_dropout": 0.0},
    "CalciumPOYOPlus": {"ffn_dropout": 0.0, "lin_dropout": 0.0},
    "WienerDecoder": {},
    "MLPDecoder": {"dropout": 0.0},
    "GRUDecoder": {"dropout": 0.0},
    "NDTDecoder": {"dropout": 0.0},
}


@pytest.fixture
def model(any_model, make_model):
    return make_model(any_model).eval()


@pytest.fixture
def batch(model, make_window, make_batch):
    return make_batch(model, [make_window(spikes=60, seed=0), make_window(spikes=20, outputs=6, seed=1)])


def windows_of(outputs) -> list[dict[str, Tensor]]:
    """Unpacked outputs of either architecture in one form."""
    return [window if isinstance(window, dict) else {"": window} for window in outputs]


def padded_by(more: int, key: str, values: Tensor) -> Tensor:
    """More windows' worth of padding: zeros after the tokens, the units or the queries."""
    if values.ndim == 1 or not key.startswith(("input", "output")):
        return values
    return torch.nn.functional.pad(values, (0, 0) * (values.ndim - 2) + (0, more))


def unpacked(model, batch) -> list:
    with torch.no_grad():
        return model(**batch["model_inputs"], unpack_output=True)


def test_unpacked_outputs_are_the_packed_ones(any_model, model, batch):
    packed = model(**batch["model_inputs"])
    windows = model(**batch["model_inputs"], unpack_output=True)
    if any_model == "POYO":
        torch.testing.assert_close(torch.cat(windows), packed[batch["model_inputs"]["output_mask"]])
    else:
        for task, values in packed.items():
            torch.testing.assert_close(torch.cat([window[task] for window in windows]), values)


@pytest.mark.parametrize("more", [8, 64])
def test_extra_padding_changes_no_output(model, batch, more):
    padded = {key: padded_by(more, key, values) for key, values in batch["model_inputs"].items()}
    torch.testing.assert_close(unpacked(model, {"model_inputs": padded}), unpacked(model, batch), rtol=1e-6, atol=1e-6)


def test_a_batch_equals_its_windows_one_by_one(model, make_window, make_batch):
    windows = [make_window(spikes=60, seed=0), make_window(spikes=5, outputs=1, seed=1), make_window(outputs=9, seed=2)]
    together = unpacked(model, make_batch(model, windows))
    alone = [unpacked(model, make_batch(model, [window]))[0] for window in windows]
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_the_order_of_spikes_and_units_does_not_matter(model, make_window, make_batch):
    data = make_window()
    rng = np.random.default_rng(1)
    units = rng.permutation(7)
    moved = make_window()
    moved.units.id = data.units.id[units]
    moved.spikes.unit_index = np.argsort(units)[data.spikes.unit_index]
    moved.calcium_traces.df_over_f = data.calcium_traces.df_over_f[:, units]
    inputs = make_batch(model, [moved])
    expected = unpacked(model, make_batch(model, [data]))
    torch.testing.assert_close(unpacked(model, inputs), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shift", [-0.75, 8.0])
@pytest.mark.parametrize("name", ["POYO", "POYOPlus", "CalciumPOYOPlus"])
def test_shifting_all_times_changes_no_output(name, shift, make_model, make_window, make_batch):
    """Inputs, latents and queries know of time by their turning alone, values included."""
    model = make_model(name).eval()
    inputs = make_batch(model, [make_window(), make_window(spikes=9, seed=1)])["model_inputs"]
    inputs = {key: values.double() if values.is_floating_point() else values for key, values in inputs.items()}
    model.double()
    times = [key for key in inputs if key.endswith("_timestamps")]
    assert len(times) == 3
    shifted = {key: values + shift if key in times else values for key, values in inputs.items()}
    expected = unpacked(model, {"model_inputs": inputs})
    torch.testing.assert_close(unpacked(model, {"model_inputs": shifted}), expected, rtol=1e-7, atol=1e-8)
    one_side = {**inputs, "input_timestamps": inputs["input_timestamps"] + shift}
    with pytest.raises(AssertionError):
        torch.testing.assert_close(unpacked(model, {"model_inputs": one_side}), expected, rtol=0, atol=1e-4)


def test_activity_matters(model, make_window, make_batch):
    one = unpacked(model, make_batch(model, [make_window(spikes=60)]))
    data = make_window(spikes=60)
    data.spikes.timestamps = np.sort(1.0 - data.spikes.timestamps)
    data.calcium_traces.df_over_f = data.calcium_traces.df_over_f[::-1]
    other = unpacked(model, make_batch(model, [data]))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-4)


def test_gradients_reach_every_parameter(model, batch):
    outputs = windows_of(model.train()(**batch["model_inputs"], unpack_output=True))
    sum(values.square().sum() for window in outputs for values in window.values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 0, key


def test_evaluation_is_deterministic_and_training_drops(any_model, model, batch):
    torch.testing.assert_close(unpacked(model, batch), unpacked(model, batch), rtol=0, atol=0)
    model.train()
    if any_model == "WienerDecoder":  # nothing in it is random
        torch.testing.assert_close(unpacked(model, batch), unpacked(model, batch), rtol=0, atol=0)
        return
    with pytest.raises(AssertionError):
        torch.testing.assert_close(unpacked(model, batch), unpacked(model, batch), rtol=0, atol=0)


def test_the_same_seed_trains_the_same(any_model, make_model, make_window, make_batch):
    def trained() -> list[Tensor]:
        torch.manual_seed(7)
        model = make_model(any_model)
        inputs = make_batch(model, [make_window()])["model_inputs"]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            outputs = windows_of(model(**inputs, unpack_output=True))
            sum(values.square().mean() for window in outputs for values in window.values()).backward()
            optimizer.step()
        return list(model.parameters())

    assert all(torch.equal(one, other) for one, other in zip(trained(), trained(), strict=True))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])  # noqa: S301
def test_copies_give_the_same_outputs(model, batch, make_window, make_batch, copied):
    other = copied(model)
    torch.testing.assert_close(unpacked(other, batch), unpacked(model, batch), rtol=0, atol=0)
    again = make_batch(other, [make_window(spikes=60, seed=0), make_window(spikes=20, outputs=6, seed=1)])
    assert torch.equal(again["model_inputs"]["input_unit_index"], batch["model_inputs"]["input_unit_index"])


def test_the_state_survives_a_file_and_a_fresh_model(any_model, model, batch, tmp_path):
    torch.save(model.state_dict(), tmp_path / "state.pt")
    fresh = model_from_config(model.to_config()).eval()
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), strict=True)
    torch.testing.assert_close(unpacked(fresh, batch), unpacked(model, batch), rtol=0, atol=0)


def test_windows_without_spikes_units_or_anything_give_finite_outputs(model, make_window, make_batch):
    windows = [make_window(spikes=0), make_window(spikes=0, units=0), make_window(spikes=30)]
    inputs = make_batch(model, windows)
    assert not inputs["model_inputs"]["input_unit_index"][1].any()
    outputs = windows_of(model(**inputs["model_inputs"], unpack_output=True))
    for window in outputs:
        assert all(torch.isfinite(values).all() for values in window.values())
    sum(values.sum() for window in outputs for values in window.values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    alone = unpacked(model, make_batch(model, windows[1:2]))
    torch.testing.assert_close(
        alone, [outputs[1]] if isinstance(alone[0], dict) else [outputs[1][""]], rtol=1e-5, atol=1e-6
    )


def test_windows_without_outputs_work(any_model, model, make_window, make_batch):
    batch = make_batch(model, [make_window(outputs=0), make_window(outputs=4)])
    windows = windows_of(unpacked(model, batch))
    assert [sum(map(len, window.values())) for window in windows] == ([0, 4] if any_model == "POYO" else [0, 10])
    nothing = make_batch(model, [make_window(outputs=0), make_window(outputs=0)])
    assert sum(len(values) for window in windows_of(unpacked(model, nothing)) for values in window.values()) == 0
    packed = model(**nothing["model_inputs"])
    assert packed.shape == (2, 0, 2) if any_model == "POYO" else packed == {}


def test_bfloat16_autocast_stays_near_single_precision(model, batch):
    expected = unpacked(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = unpacked(model, batch)
    torch.testing.assert_close(
        [{key: values.float() for key, values in window.items()} for window in windows_of(found)],
        windows_of(expected),
        rtol=0.1,
        atol=0.1,
    )


def test_double_precision_models_work(model, batch):
    expected = unpacked(model, batch)
    found = [
        {key: values.float() for key, values in window.items()}
        for window in windows_of(unpacked(model.double(), batch))
    ]
    torch.testing.assert_close(found, windows_of(expected), rtol=1e-4, atol=1e-5)


def test_an_uninitialised_vocabulary_says_what_to_do(any_model, model, batch, make_window):
    fresh = model_from_config(model.to_config())
    with pytest.raises(ValueError, match=r"unit vocabulary is not initialised; call initialize_vocab"):
        fresh.tokenize(make_window())
    with pytest.raises(ValueError, match=r"vocabulary is not initialised; call initialize_vocab"):
        fresh(**batch["model_inputs"])
    fresh.unit_emb.initialize_vocab(["a"])
    fresh.unit_emb.extend_vocab(make_window().units.id)
    with pytest.raises(ValueError, match="session vocabulary is not initialised"):
        fresh.tokenize(make_window())


def test_an_unknown_unit_or_session_is_named(model, make_window):
    data = make_window()
    data.units.id = np.array([*data.units.id[:-1], "perich/c_1/unit_77"])
    with pytest.raises(KeyError, match=r"unit 'perich/c_1/unit_77' is not in the vocabulary of 7 unit names; nearest"):
        model.tokenize(data)
    data = make_window()
    data.session.id = "perich/c_11"
    with pytest.raises(KeyError, match=r"session 'perich/c_11' is not in the vocabulary of 2 session names; nearest"):
        model.tokenize(data)


def test_activity_of_a_unit_that_does_not_exist_is_refused(any_model, model, make_window):
    data = make_window()
    data.spikes.unit_index = data.spikes.unit_index.copy()
    data.spikes.unit_index[3] = 7
    data.calcium_traces.df_over_f = np.zeros((12, 8))
    message = r"spikes.unit_index holds 7 but there are only 7 units"
    if any_model == "CalciumPOYOPlus":
        message = r"calcium_traces.df_over_f must be .* each of 7 units, got float64 of shape \(12, 8\)"
    with pytest.raises(ValueError, match=f"recording 'perich/c_1': {message}"):
        model.tokenize(data)


def test_building_is_quiet(any_model, make_model, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_model(any_model)
    assert capsys.readouterr() == ("", "")


def test_a_small_model_learns_a_batch_by_heart(any_model, make_model, make_window, make_batch):
    model = make_model(any_model, **WITHOUT_DROPOUT[any_model])
    batch = make_batch(model, [make_window(outputs=6, seed=seed) for seed in range(4)])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    task, losses = "cursor_velocity_2d", []
    for _ in range(200):
        outputs = model(**batch["model_inputs"])
        if any_model == "POYO":
            real = batch["model_inputs"]["output_mask"]
            predictions, targets = outputs[real], batch["target_values"][real]
        else:
            predictions, targets = outputs[task], batch["target_values"][task]
        loss = MSELoss()(predictions, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def test_shapes_are_those_of_the_readouts(any_model, model, batch):
    for outputs in (model(**batch["model_inputs"]), model.train()(**batch["model_inputs"])):
        if any_model == "POYO":
            assert outputs.shape == (2, 32, 2)
            continue
        assert {task: tuple(values.shape) for task, values in outputs.items()} == {
            "cursor_velocity_2d": (31, 2),
            "cursor_position_2d": (31, 2),
            "drifting_gratings_orientation": (16, 8),
        }
        assert {task: len(values) for task, values in batch["target_values"].items()} == {
            task: len(values) for task, values in outputs.items()
        }


def test_outputs_are_single_precision_although_times_are_double(model, batch):
    assert batch["model_inputs"]["output_timestamps"].dtype == torch.float64
    for window in windows_of(unpacked(model, batch)):
        assert all(values.dtype == torch.float32 for values in window.values())


def test_a_batch_is_not_altered(model, batch):
    before = copy.deepcopy(batch)
    sum(
        values.sum()
        for window in windows_of(model.train()(**batch["model_inputs"], unpack_output=True))
        for values in window.values()
    ).backward()
    for key, values in before["model_inputs"].items():
        assert torch.equal(batch["model_inputs"][key], values), key


def test_a_single_window_works_in_training_and_evaluation(model, make_window, make_batch):
    batch = make_batch(model, [make_window(spikes=3, outputs=1)])
    for mode in (True, False):
        outputs = windows_of(model.train(mode)(**batch["model_inputs"], unpack_output=True))
        assert len(outputs) == 1
        assert all(torch.isfinite(values).all() for values in outputs[0].values())


def test_a_configuration_survives_json_and_names_every_argument(any_model, model):
    config = json.loads(json.dumps(model.to_config()))
    again = model_from_config(config)
    assert type(again) is type(model)
    assert again.to_config() == model.to_config() == config
    assert set(inspect.signature(type(model)).parameters) == set(config) - {"architecture"}
    assert config["architecture"] == any_model


def test_every_parameter_belongs_to_one_part(model):
    parts = (*model.embedding_parts, *model.readout_parts, *model.backbone_parts)
    assert len(set(parts)) == len(parts)
    for name, _ in model.named_parameters():
        assert sum(name.startswith(f"{part}.") for part in parts) == 1, name


def test_what_other_packages_rely_on_is_there(any_model, model):
    assert isinstance(model, DecoderModel)
    assert isinstance(model, MultitaskDecoderModel) == (any_model != "POYO")
    assert model.sequence_length == 1.0
    assert (model.unit_emb.kind, model.session_emb.kind) == ("unit", "session")
    if any_model != "POYO":
        assert model.readout.readout_specs == model.readout_specs


def test_more_units_and_sessions_can_join(model, make_window, make_batch):
    expected = unpacked(model, make_batch(model, [make_window()]))
    model.unit_emb.extend_vocab(["new/1/unit_0", "new/1/unit_1"])
    model.session_emb.extend_vocab(["new/1"])
    torch.testing.assert_close(unpacked(model, make_batch(model, [make_window()])), expected, rtol=0, atol=0)
    other = make_window(units=2)
    other.units.id, other.session.id = np.array(["new/1/unit_0", "new/1/unit_1"]), "new/1"
    together = unpacked(model, make_batch(model, [make_window(), other]))
    torch.testing.assert_close(together[:1], expected, rtol=1e-5, atol=1e-6)


def test_a_task_missing_from_a_batch_has_no_output_and_no_gradient(
    multitask_model, make_model, make_window, make_batch
):
    model = make_model(multitask_model)
    one = make_window(config={"multitask_readout": [{"readout_id": "cursor_position_2d"}]})
    other = make_window(seed=1, config={"multitask_readout": []})
    batch = make_batch(model, [one, other])
    outputs = model(**batch["model_inputs"])
    assert list(outputs) == ["cursor_position_2d"]
    assert list(batch["target_values"]) == ["cursor_position_2d"]
    outputs["cursor_position_2d"].sum().backward()
    assert all(parameter.grad is None for parameter in model.readout.projections["cursor_velocity_2d"].parameters())
    assert model(**batch["model_inputs"], unpack_output=True)[1] == {}


def test_outputs_come_in_the_order_of_the_targets(multitask_model, make_model, make_window, make_batch):
    model = make_model(multitask_model).eval()
    # Windows that name their tasks in another order.
    config = {"multitask_readout": [{"readout_id": task} for task in ("cursor_position_2d", "cursor_velocity_2d")]}
    windows = [make_window(outputs=5), make_window(outputs=3, seed=1, config=config)]
    batch = make_batch(model, windows)
    for task in ("cursor_velocity_2d", "cursor_position_2d"):
        expected = torch.cat([window[task] for window in unpacked(model, batch)])
        torch.testing.assert_close(model(**batch["model_inputs"])[task], expected)
        key = "vel" if task == "cursor_velocity_2d" else "pos"
        targets = np.concatenate([getattr(window.cursor, key) for window in windows])
        np.testing.assert_allclose(batch["target_values"][task].numpy(), targets, rtol=1e-6)


def test_yes_or_no_and_labels_are_tokenized_read_out_and_learnt(multitask_model, make_model, make_window, make_batch):
    specs = {
        name: ModalitySpec(number, dim, kind, "cursor.timestamps", f"cursor.{name}", loss)
        for number, name, dim, kind, loss in (
            (1, "lick", 1, DataType.BINARY, BinaryCrossEntropyLoss()),
            (2, "labels", 3, DataType.MULTILABEL, MultilabelCrossEntropyLoss()),
        )
    }
    model = make_model(multitask_model, readout_specs=specs)
    data = make_window(outputs=12, config={"multitask_readout": [{"readout_id": name} for name in specs]})
    data.cursor.lick = data.cursor.vel[:, 0] > 0
    data.cursor.labels = (np.arange(36).reshape(12, 3) % 2).astype(np.float32)
    data.cursor.labels[::4, 1] = np.nan
    batch = make_batch(model, [data])
    outputs = model(**batch["model_inputs"])
    assert {name: values.shape for name, values in outputs.items()} == {"lick": (12, 1), "labels": (12, 3)}
    targets, weights = batch["target_values"], batch["target_weights"]
    losses = [specs[name].loss_fn(outputs[name], targets[name], weights[name]) for name in specs]
    assert all(0.0 < loss.item() < 50.0 for loss in losses)
    sum(losses).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())

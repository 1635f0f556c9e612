"""What every architecture promises; a new one joins the list of names."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from nd_models import MODALITY_REGISTRY, DataType, ModalitySpec, POYOPlus, model_from_config
from nd_models.loss import MSELoss

NAMES = ("POYO", "POYOPlus")


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture
def model(name, make_model):
    return make_model(name).eval()


@pytest.fixture
def batch(model, make_window, make_batch):
    return make_batch(model, [make_window(spikes=60, seed=0), make_window(spikes=20, outputs=6, seed=1)])


def windows_of(outputs) -> list[dict[str, Tensor]]:
    """Unpacked outputs of either architecture in one form."""
    return [window if isinstance(window, dict) else {"": window} for window in outputs]


def assert_same(found, expected, **tolerance) -> None:
    for one, other in zip(windows_of(found), windows_of(expected), strict=True):
        assert one.keys() == other.keys()
        for key in other:
            torch.testing.assert_close(one[key], other[key], **tolerance)


def unpacked(model, batch) -> list:
    with torch.no_grad():
        return model(**batch["model_inputs"], unpack_output=True)


def test_outputs_have_the_shape_of_their_readouts(name, model, batch):
    outputs = model(**batch["model_inputs"])
    if name == "POYO":
        assert outputs.shape == (2, 32, 2)
        assert [len(window) for window in unpacked(model, batch)] == [25, 6]
    else:
        shapes = {task: tuple(values.shape) for task, values in outputs.items()}
        assert shapes == {
            "cursor_velocity_2d": (31, 2),
            "cursor_position_2d": (31, 2),
            "drifting_gratings_orientation": (16, 8),
        }
        assert {task: len(values) for task, values in batch["target_values"].items()} == {
            task: shape[0] for task, shape in shapes.items()
        }


def test_outputs_are_single_precision_although_times_are_double(model, batch):
    assert batch["model_inputs"]["input_timestamps"].dtype == torch.float64
    for window in windows_of(unpacked(model, batch)):
        assert all(values.dtype == torch.float32 for values in window.values())


def test_unpacked_outputs_are_the_packed_ones(name, model, batch):
    packed = model(**batch["model_inputs"])
    windows = model(**batch["model_inputs"], unpack_output=True)
    if name == "POYO":
        torch.testing.assert_close(torch.cat(windows), packed[batch["model_inputs"]["output_mask"]])
    else:
        for task, values in packed.items():
            torch.testing.assert_close(torch.cat([window[task] for window in windows]), values)


def test_unpacking_single_readouts_needs_the_mask(make_model, make_window, make_batch):
    model = make_model("POYO")
    inputs = make_batch(model, [make_window()])["model_inputs"]
    with pytest.raises(ValueError, match="needs output_mask"):
        model(**{**inputs, "output_mask": None}, unpack_output=True)


@pytest.mark.parametrize("more", [8, 64])
def test_extra_padding_changes_no_output(model, batch, more):
    padded = {
        key: torch.nn.functional.pad(values, (0, more)) if key.startswith(("input", "output")) else values
        for key, values in batch["model_inputs"].items()
    }
    assert_same(unpacked(model, {"model_inputs": padded}), unpacked(model, batch), rtol=1e-6, atol=1e-6)


def test_what_lies_in_the_padding_does_not_matter(model, batch):
    inputs = dict(batch["model_inputs"])
    mask = inputs["input_mask"]
    inputs["input_unit_index"] = torch.where(mask, inputs["input_unit_index"], 5)
    inputs["input_timestamps"] = torch.where(mask, inputs["input_timestamps"], 0.7)
    assert_same(unpacked(model, {"model_inputs": inputs}), unpacked(model, batch), rtol=0, atol=1e-6)


def test_a_batch_equals_its_windows_one_by_one(model, make_window, make_batch):
    windows = [make_window(spikes=60, seed=0), make_window(spikes=5, outputs=1, seed=1), make_window(outputs=9, seed=2)]
    together = unpacked(model, make_batch(model, windows))
    alone = [unpacked(model, make_batch(model, [window]))[0] for window in windows]
    assert_same(together, alone, rtol=1e-5, atol=1e-6)


def test_the_order_of_spikes_and_units_does_not_matter(model, make_window, make_batch):
    data = make_window()
    rng = np.random.default_rng(1)
    units = rng.permutation(7)
    moved = make_window()
    moved.units.id = data.units.id[units]
    moved.spikes.unit_index = np.argsort(units)[data.spikes.unit_index]
    inputs = make_batch(model, [moved])
    expected = unpacked(model, make_batch(model, [data]))
    assert_same(unpacked(model, inputs), expected, rtol=1e-5, atol=1e-5)

    shuffled = dict(inputs["model_inputs"])
    order = torch.from_numpy(rng.permutation(shuffled["input_mask"].shape[1]))
    for key in ("input_unit_index", "input_timestamps", "input_token_type", "input_mask"):
        shuffled[key] = shuffled[key][:, order]
    assert_same(unpacked(model, {"model_inputs": shuffled}), expected, rtol=1e-5, atol=1e-5)


def test_spikes_matter(model, make_window, make_batch):
    one = unpacked(model, make_batch(model, [make_window(spikes=60)]))
    data = make_window(spikes=60)
    data.spikes.timestamps = np.sort(1.0 - data.spikes.timestamps)
    other = unpacked(model, make_batch(model, [data]))
    with pytest.raises(AssertionError):
        assert_same(other, one, rtol=0, atol=1e-4)


def test_gradients_reach_every_parameter(model, batch):
    outputs = windows_of(model.train()(**batch["model_inputs"], unpack_output=True))
    sum(values.square().sum() for window in outputs for values in window.values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 0, key


def test_evaluation_is_deterministic_and_training_drops(model, batch):
    assert_same(unpacked(model, batch), unpacked(model, batch), rtol=0, atol=0)
    model.train()
    with pytest.raises(AssertionError):
        assert_same(unpacked(model, batch), unpacked(model, batch), rtol=0, atol=0)


def test_the_same_seed_trains_the_same(name, make_model, make_window, make_batch):
    def trained() -> list[Tensor]:
        torch.manual_seed(7)
        model = make_model(name)
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
    assert_same(unpacked(other, batch), unpacked(model, batch), rtol=0, atol=0)
    again = make_batch(other, [make_window(spikes=60, seed=0), make_window(spikes=20, outputs=6, seed=1)])
    assert torch.equal(again["model_inputs"]["input_unit_index"], batch["model_inputs"]["input_unit_index"])


def test_the_state_survives_a_file_and_a_fresh_model(name, model, batch, tmp_path):
    torch.save(model.state_dict(), tmp_path / "state.pt")
    fresh = model_from_config(model.to_config()).eval()
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), strict=True)
    assert_same(unpacked(fresh, batch), unpacked(model, batch), rtol=0, atol=0)


def test_windows_without_spikes_units_or_anything_give_finite_outputs(model, make_window, make_batch):
    windows = [make_window(spikes=0), make_window(spikes=0, units=0), make_window(spikes=30)]
    inputs = make_batch(model, windows)
    assert not inputs["model_inputs"]["input_mask"][1].any()
    outputs = windows_of(model(**inputs["model_inputs"], unpack_output=True))
    for window in outputs:
        assert all(torch.isfinite(values).all() for values in window.values())
    sum(values.sum() for window in outputs for values in window.values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    alone = unpacked(model, make_batch(model, windows[1:2]))
    assert_same(alone, [outputs[1]] if isinstance(alone[0], dict) else [outputs[1][""]], rtol=1e-5, atol=1e-6)


def test_windows_without_outputs_work(name, model, make_window, make_batch):
    batch = make_batch(model, [make_window(outputs=0), make_window(outputs=4)])
    windows = windows_of(unpacked(model, batch))
    assert [sum(map(len, window.values())) for window in windows] == ([0, 4] if name == "POYO" else [0, 10])
    nothing = make_batch(model, [make_window(outputs=0), make_window(outputs=0)])
    assert sum(len(values) for window in windows_of(unpacked(model, nothing)) for values in window.values()) == 0
    packed = model(**nothing["model_inputs"])
    assert packed.shape == (2, 0, 2) if name == "POYO" else packed == {}


def test_an_input_without_mask_is_all_real(model, make_window, make_batch):
    batch = make_batch(model, [make_window(spikes=50, units=7)])  # 64 tokens: no padding
    assert batch["model_inputs"]["input_mask"].all()
    bare = {"model_inputs": {**batch["model_inputs"], "input_mask": None}}
    assert_same(unpacked(model, bare), unpacked(model, batch), rtol=1e-5, atol=1e-6)


def test_bfloat16_autocast_stays_near_single_precision(model, batch):
    expected = unpacked(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = unpacked(model, batch)
    assert_same(
        [{key: values.float() for key, values in window.items()} for window in windows_of(found)],
        windows_of(expected),
        rtol=0.1,
        atol=0.1,
    )


def test_times_in_single_and_double_precision_agree(model, batch):
    single = {
        key: values.float() if values.is_floating_point() else values for key, values in batch["model_inputs"].items()
    }
    # A period of 1e-4 s turns 1e4 times a second: that is what single-precision times cost.
    assert_same(unpacked(model, {"model_inputs": single}), unpacked(model, batch), rtol=0.02, atol=0.02)


def test_double_precision_models_work(model, batch):
    expected = unpacked(model, batch)
    found = [
        {key: values.float() for key, values in window.items()}
        for window in windows_of(unpacked(model.double(), batch))
    ]
    assert_same(found, windows_of(expected), rtol=1e-4, atol=1e-5)


def test_an_uninitialised_vocabulary_says_what_to_do(name, model, batch, make_window):
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


def test_a_spike_of_a_unit_that_does_not_exist_is_refused(model, make_window):
    data = make_window()
    data.spikes.unit_index = data.spikes.unit_index.copy()
    data.spikes.unit_index[3] = 7
    with pytest.raises(
        ValueError, match=r"recording 'perich/c_1': spikes.unit_index holds 7 but there are only 7 units"
    ):
        model.tokenize(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence_length": 0.0}, "sequence_length must be a positive number of seconds, got 0.0"),
        ({"sequence_length": "1"}, "sequence_length"),
        ({"latent_step": -0.1}, "latent_step must be a positive number of seconds"),
        ({"dim": 0}, "dim must be a whole number of at least 1, got 0"),
        ({"depth": -1}, "depth must be a whole number of at least 0"),
        ({"self_heads": 2.0}, "self_heads"),
        ({"dim_head": 6}, "dim_head must be a multiple of 4"),
        ({"t_min": 5.0}, "0 < t_min < t_max"),
    ],
)
def test_sizes_that_cannot_be_are_refused(name, make_model, changes, message):
    with pytest.raises(ValueError, match=message):
        make_model(name, **changes)


def test_whole_seconds_are_taken_as_such(name, make_model):
    assert make_model(name, sequence_length=1).to_config()["sequence_length"] == 1.0


def test_a_step_that_does_not_divide_the_window_is_reported_only_where_it_is_so(name, make_model, caplog):
    make_model(name, latent_step=0.05)
    assert not caplog.records
    make_model(name, latent_step=0.3)
    assert "not a multiple of latent_step" in caplog.text


def test_building_is_quiet(name, make_model, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_model(name)
    assert capsys.readouterr() == ("", "")


class TestTasks:
    def test_a_task_missing_from_a_batch_has_no_output_and_no_gradient(self, make_model, make_window, make_batch):
        model = make_model("POYOPlus")
        one = make_window(config={"multitask_readout": [{"readout_id": "cursor_position_2d"}]})
        other = make_window(seed=1, config={"multitask_readout": []})
        batch = make_batch(model, [one, other])
        outputs = model(**batch["model_inputs"])
        assert list(outputs) == ["cursor_position_2d"]
        assert list(batch["target_values"]) == ["cursor_position_2d"]
        outputs["cursor_position_2d"].sum().backward()
        assert model.readout.projections["cursor_velocity_2d"].weight.grad is None
        assert model(**batch["model_inputs"], unpack_output=True)[1] == {}

    def test_outputs_come_in_the_order_of_the_targets(self, make_model, make_window, make_batch):
        model = make_model("POYOPlus").eval()
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

    def test_own_specifications_need_no_registry(self, make_window, make_batch):
        before = dict(MODALITY_REGISTRY)
        specs = {
            "my_speed": ModalitySpec(
                id=40,
                dim=2,
                type=DataType.CONTINUOUS,
                timestamp_key="cursor.timestamps",
                value_key="cursor.vel",
                loss_fn=MSELoss(),
            )
        }
        model = POYOPlus(sequence_length=1.0, latent_step=0.5, readout_specs=specs, dim=16, dim_head=8)
        data = make_window(config={"multitask_readout": [{"readout_id": "my_speed"}]})
        model.unit_emb.initialize_vocab(data.units.id)
        model.session_emb.initialize_vocab([data.session.id])
        outputs = model(**make_batch(model, [data])["model_inputs"])
        assert outputs["my_speed"].shape == (25, 2)
        assert before == MODALITY_REGISTRY
        specs["another"] = specs["my_speed"]
        assert list(model.readout_specs) == ["my_speed"]

    def test_by_default_every_registered_task_is_read(self):
        model = POYOPlus(sequence_length=1.0, latent_step=0.5, dim=8, dim_head=8)
        assert list(model.readout.readout_specs) == list(MODALITY_REGISTRY)
        assert model.task_emb.weight.shape == (len(MODALITY_REGISTRY) + 1, 8)

    def test_no_task_at_all_is_refused(self):
        with pytest.raises(ValueError, match="name at least one"):
            POYOPlus(sequence_length=1.0, latent_step=0.5, readout_specs={})


def test_a_small_model_learns_a_batch_by_heart(name, make_model, make_window, make_batch):
    model = make_model(name, ffn_dropout=0.0, lin_dropout=0.0)
    batch = make_batch(model, [make_window(outputs=6, seed=seed) for seed in range(4)])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    task, losses = "cursor_velocity_2d", []
    for _ in range(150):
        outputs = model(**batch["model_inputs"])
        if name == "POYO":
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

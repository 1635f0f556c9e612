"""What only POYO, POYO+ and its calcium form promise: their masks, times and sizes."""

import numpy as np
import pytest
import torch

from nd_models import MODALITY_REGISTRY, DataType, ModalitySpec, POYOPlus
from nd_models.loss import MSELoss


@pytest.fixture(params=["POYO", "POYOPlus", "CalciumPOYOPlus"])
def name(request) -> str:
    return request.param


@pytest.fixture
def model(name, make_model):
    return make_model(name).eval()


@pytest.fixture
def batch(model, make_window, make_batch):
    return make_batch(model, [make_window(spikes=60, seed=0), make_window(spikes=20, outputs=6, seed=1)])


def unpacked(model, batch) -> list:
    with torch.no_grad():
        return model(**batch["model_inputs"], unpack_output=True)


def test_unpacking_single_readouts_needs_the_mask(make_model, make_window, make_batch):
    model = make_model("POYO")
    inputs = make_batch(model, [make_window()])["model_inputs"]
    with pytest.raises(ValueError, match="needs output_mask"):
        model(**{**inputs, "output_mask": None}, unpack_output=True)


def test_what_lies_in_the_padding_does_not_matter(model, batch):
    inputs = dict(batch["model_inputs"])
    mask = inputs["input_mask"]
    inputs["input_unit_index"] = torch.where(mask, inputs["input_unit_index"], 5)
    inputs["input_timestamps"] = torch.where(mask, inputs["input_timestamps"], 0.7)
    torch.testing.assert_close(unpacked(model, {"model_inputs": inputs}), unpacked(model, batch), rtol=0, atol=1e-6)


def test_an_input_without_mask_is_all_real(name, model, make_window, make_batch):
    # 50 spikes and a start and an end of 7 units, or 8 frames of 7 units: a multiple of 8, no padding.
    batch = make_batch(model, [make_window(spikes=40 if name == "CalciumPOYOPlus" else 50)])
    assert batch["model_inputs"]["input_mask"].all()
    bare = {"model_inputs": {**batch["model_inputs"], "input_mask": None}}
    torch.testing.assert_close(unpacked(model, bare), unpacked(model, batch), rtol=1e-5, atol=1e-6)


def test_times_in_single_and_double_precision_agree(model, batch):
    single = {
        key: values.float() if values.is_floating_point() else values for key, values in batch["model_inputs"].items()
    }
    # A period of 1e-4 s turns 1e4 times a second: that is what single-precision times cost.
    torch.testing.assert_close(unpacked(model, {"model_inputs": single}), unpacked(model, batch), rtol=0.02, atol=0.02)


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


class TestTasks:
    def test_own_specifications_need_no_registry(self, make_window, make_batch):
        before = dict(MODALITY_REGISTRY)
        specs = {"my_speed": ModalitySpec(40, 2, DataType.CONTINUOUS, "cursor.timestamps", "cursor.vel", MSELoss())}
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


def test_the_order_of_input_tokens_does_not_matter(model, make_window, make_batch):
    inputs = make_batch(model, [make_window()])["model_inputs"]
    shuffled = dict(inputs)
    order = torch.from_numpy(np.random.default_rng(1).permutation(inputs["input_mask"].shape[1]))
    for key in (key for key in inputs if key.startswith("input_")):
        shuffled[key] = shuffled[key][:, order]
    expected = unpacked(model, {"model_inputs": inputs})
    torch.testing.assert_close(unpacked(model, {"model_inputs": shuffled}), expected, rtol=1e-5, atol=1e-5)

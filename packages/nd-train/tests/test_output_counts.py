"""On CUDA a training step tells the readout how many queries there are of each task, so that nobody has to ask."""

from types import SimpleNamespace

import torch

from nd_models import MODALITY_REGISTRY, POYOPlus, model_from_config
from nd_train.neural_decoder import _output_counts

TASKS = ("cursor_velocity_2d", "cursor_position_2d", "drifting_gratings_orientation")
SIZE = {"sequence_length": 1.0, "latent_step": 0.5, "num_latents_per_step": 2, "dim": 8, "depth": 0, "dim_head": 4}


def batch_on(device: str, **targets: torch.Tensor) -> dict:
    index = SimpleNamespace(device=SimpleNamespace(type=device))
    return {"model_inputs": {"output_decoder_index": index}, "target_values": targets}


def test_the_counts_are_those_of_the_targets_and_give_the_same_predictions():
    model = POYOPlus(readout_specs={task: MODALITY_REGISTRY[task] for task in TASKS}, **SIZE)
    ids = [MODALITY_REGISTRY[task].id for task in TASKS]
    index = torch.tensor([[ids[0], ids[2], 0], [ids[2], ids[0], ids[0]]])
    targets = {TASKS[0]: torch.zeros(3, 2), TASKS[1]: torch.zeros(0, 2), TASKS[2]: torch.zeros(2)}
    counts = _output_counts(model, batch_on("cuda", **targets))
    assert counts == {"output_counts": {TASKS[0]: 3, TASKS[2]: 2}}
    queries = torch.randn(2, 3, 8)
    found, expected = model.readout(queries, index, **counts), model.readout(queries, index)
    assert list(found) == list(expected)
    assert all(torch.equal(found[task], expected[task]) for task in expected)


def test_nothing_is_said_where_it_does_not_help_or_is_not_known():
    model = POYOPlus(readout_specs={TASKS[0]: MODALITY_REGISTRY[TASKS[0]]}, **SIZE)
    known = {TASKS[0]: torch.zeros(3, 2)}
    assert _output_counts(model, batch_on("cpu", **known)) == {}
    assert _output_counts(model, batch_on("cuda", **known, another=torch.zeros(1))) == {}
    arguments = {"sequence_length": 1.0, "bin_size": 0.1, "lags": [0, 1], "readout_specs": [TASKS[0]]}
    baseline = model_from_config({"architecture": "WienerDecoder", **arguments})
    assert _output_counts(baseline, batch_on("cuda", **known)) == {}

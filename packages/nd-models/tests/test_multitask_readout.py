"""The readout of several tasks against plain NumPy in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nd_models import DataType, ModalitySpec
from nd_models.loss import MSELoss
from nd_models.nn import MultitaskReadout

# Ids with gaps and out of order, as a hand-made dictionary may have them.
TASKS = {"velocity": (3, 2), "speed": (1, 1), "image": (7, 5)}
WIDTH = 4


def spec(number: int, channels: int) -> ModalitySpec:
    return ModalitySpec(
        id=number, dim=channels, type=DataType.CONTINUOUS, timestamp_key="t", value_key="v", loss_fn=MSELoss()
    )


def make() -> MultitaskReadout:
    torch.manual_seed(0)
    return MultitaskReadout(WIDTH, {name: spec(*fields) for name, fields in TASKS.items()}).double()


def expected_outputs(readout: MultitaskReadout, queries: np.ndarray, index: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Query by query."""
    windows = []
    for window_queries, window_index in zip(queries, index, strict=True):
        outputs: dict[str, list[np.ndarray]] = {}
        for query, task_id in zip(window_queries, window_index, strict=True):
            for name, (number, _) in TASKS.items():
                if number == task_id:
                    layer = readout.projections[name]
                    value = layer.weight.detach().numpy() @ query + layer.bias.detach().numpy()
                    outputs.setdefault(name, []).append(value)
        windows.append({name: np.stack(values) for name, values in outputs.items()})
    return windows


# 0 is padding; 2, 8 and 900 belong to no task of this model.
indices = st.integers(1, 4).flatmap(
    lambda rows: st.integers(0, 9).flatmap(
        lambda queries: st.lists(
            st.lists(st.sampled_from([0, 1, 2, 3, 7, 8, 900]), min_size=queries, max_size=queries),
            min_size=rows,
            max_size=rows,
        )
    )
)


@given(indices)
def test_every_query_is_read_by_its_task(index):
    readout = make()
    index = np.array(index, dtype=np.int64).reshape(len(index), -1)
    queries = torch.randn(*index.shape, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = expected_outputs(readout, queries.numpy(), index)

    unpacked = readout(queries, torch.from_numpy(index), unpack_output=True)
    assert len(unpacked) == len(expected)
    for found, wanted in zip(unpacked, expected, strict=True):
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name].detach().numpy(), values, atol=1e-12)

    together = readout(queries, torch.from_numpy(index))
    present = [name for name in ("speed", "velocity", "image") if any(name in window for window in expected)]
    assert list(together) == present
    for name in present:
        values = np.concatenate([window[name] for window in expected if name in window])
        np.testing.assert_allclose(together[name].detach().numpy(), values, atol=1e-12)


def test_gradients_reach_queries_and_the_tasks_that_were_asked_for_only():
    readout = make()
    queries = torch.randn(2, 3, WIDTH, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[3, 0, 3], [2, 3, 1]])
    sum(values.sum() for values in readout(queries, index).values()).backward()
    asked = torch.tensor([[True, False, True], [False, True, True]])
    assert torch.equal(queries.grad.abs().sum(-1) > 0, asked)
    assert readout.projections["velocity"].bias.grad.tolist() == [3.0, 3.0]
    assert readout.projections["speed"].bias.grad.tolist() == [1.0]
    assert readout.projections["image"].weight.grad is None


def test_half_precision_queries_are_read_under_autocast():
    readout = make().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = readout(torch.randn(1, 2, WIDTH), torch.tensor([[1, 3]]))
    assert {name: values.dtype for name, values in outputs.items()} == {
        "speed": torch.bfloat16,
        "velocity": torch.bfloat16,
    }


def test_the_state_holds_the_projections_only():
    names = {f"projections.{name}.{part}" for name in TASKS for part in ("weight", "bias")}
    assert set(make().state_dict()) == names


def test_readouts_that_share_an_id_are_refused():
    with pytest.raises(ValueError, match="'a' and 'b' share the id 2"):
        MultitaskReadout(WIDTH, {"a": spec(2, 1), "b": spec(2, 3)})


def test_what_is_no_specification_is_refused():
    with pytest.raises(TypeError, match="'a' must be a ModalitySpec"):
        MultitaskReadout(WIDTH, {"a": {"id": 1}})

"""What a worker sends arrives bit for bit, as a plain dictionary of tensors of their own."""

import math
import pickle
from collections import OrderedDict
from functools import partial
from multiprocessing.reduction import ForkingPickler
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.utils.data import DataLoader

from nd_data import Dataset, DatasetIndex, collate, pad8, shared_ring
from nd_data.transforms import Compose
from nd_data.travelling_batch import TravellingBatch, prepared_to_travel

DTYPES = (np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64)


class Point(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def sent(batch):
    """The batch as it leaves and arrives through a queue of torch.multiprocessing."""
    return pickle.loads(bytes(ForkingPickler.dumps(TravellingBatch(batch))))  # noqa: S301


def assert_identical(one, other):
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.contiguous().numpy().tobytes() == other.numpy().tobytes()


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40))
    )
)
def test_every_tensor_arrives_bit_for_bit(array):
    assert_identical(torch.from_numpy(array), sent({"a": torch.from_numpy(array)})["a"])


@given(
    dtype=st.sampled_from(DTYPES),
    bounds=st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1)),
    equal_rows=st.booleans(),
    seed=st.integers(0, 9),
)
def test_large_tensors_arrive_bit_for_bit_whatever_their_range(dtype, bounds, equal_rows, seed):
    rng = np.random.default_rng(seed)
    limits = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else None
    low, high = sorted(bounds)
    if limits is not None:
        low, high = max(low, int(limits.min)), max(min(high, int(limits.max)), int(limits.min))
        array = rng.integers(min(low, high), high, (8, 2048), dtype=dtype, endpoint=True)
    else:
        array = rng.standard_normal((8, 2048)).astype(dtype)
    if equal_rows:
        array[:] = array[0]
    assert_identical(torch.from_numpy(array), sent({"a": torch.from_numpy(array)})["a"])


@pytest.mark.parametrize("value", [math.nan, -0.0, math.inf])
def test_rows_that_are_only_equal_as_numbers_are_not_taken_for_one(value):
    array = np.zeros((4, 4096))
    array[1, 7] = value
    assert_identical(torch.from_numpy(array), sent({"a": torch.from_numpy(array)})["a"])
    array[:] = array[1]
    assert_identical(torch.from_numpy(array), sent({"a": torch.from_numpy(array)})["a"])


def test_small_numbers_and_equal_rows_take_little_room():
    batch = {
        "index": torch.arange(100_000).reshape(10, 10_000) % 100,
        "grid": torch.linspace(0, 1, 10_000, dtype=torch.float64).repeat(10, 1),
    }
    assert len(pickle.dumps(TravellingBatch(batch))) < 100_000 + 80_000 + 1000


def test_structures_and_other_values_arrive_too():
    batch = {
        "tuple": (torch.arange(3), "text", 1.5, None, ...),
        "list": [torch.zeros(2), {"inner": torch.ones(0)}],
        "bfloat": torch.ones(3, dtype=torch.bfloat16),
        "complex": torch.ones(3, dtype=torch.complex64),
        "strided": torch.arange(20_000).reshape(100, 200).T[::2],
        "expanded": torch.arange(3).expand(2000, 3),
        "number": torch.tensor(7),
        "ids": ["a", "b"],
    }
    arrived = sent(batch)
    assert type(arrived) is dict
    assert list(arrived) == list(batch)
    assert arrived["tuple"][1:] == ("text", 1.5, None, ...)
    assert arrived["ids"] == ["a", "b"]
    for one, other in (
        (batch["tuple"][0], arrived["tuple"][0]),
        (batch["list"][0], arrived["list"][0]),
        (batch["list"][1]["inner"], arrived["list"][1]["inner"]),
        *((batch[key], arrived[key]) for key in ("bfloat", "complex", "strided", "expanded", "number")),
    ):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_kinds_of_container_that_are_not_known_here_go_torchs_way():
    batch = {"point": Point(torch.arange(2), torch.zeros(1)), "ordered": OrderedDict(a=torch.ones(2))}
    arrived = sent(batch)
    assert isinstance(arrived["point"], Point)
    assert type(arrived["ordered"]) is OrderedDict
    assert torch.equal(arrived["point"].x, torch.arange(2))
    assert torch.equal(arrived["ordered"]["a"], torch.ones(2))


def test_tensors_that_arrive_can_be_written_to_one_by_one():
    arrived = sent({"a": torch.zeros(4, 4096), "b": torch.zeros(4, 4096)})
    arrived["a"][0] += 1
    assert arrived["a"][1].sum() == 0
    assert arrived["b"].sum() == 0


def test_tensors_that_need_gradients_stay_what_they_are():
    weight = torch.ones(3, requires_grad=True)
    assert sent({"w": weight})["w"].requires_grad


def test_nothing_travels_outside_of_a_worker():
    batch = {"a": torch.ones(2)}
    assert prepared_to_travel(batch) is batch


# In real workers.

WINDOWS = [DatasetIndex("alpha/s1", 1.0 * k, 1.0 * k + 1.5) for k in range(24)]


def tokens_of_any_length(window):
    return {"times": pad8(np.repeat(window.spikes.timestamps, 20))}


# Made of what another process can import.
padded_times = Compose([attrgetter("spikes.timestamps"), pad8, partial(dict.fromkeys, ["times", "again"])])


def tokens(window):
    return {
        "inputs": {"times": pad8(window.spikes.timestamps), "units": pad8(window.spikes.unit_index)},
        "velocity": window.cursor.vel[:70],
        "start": window.absolute_start,
        "id": window.session.id,
    }


def with_a_mark(batch):
    return {**collate(batch), "mark": torch.arange(3)}


def changed_in_place(batch):
    whole = collate(batch)
    whole["start"] += 1000.0
    whole["inputs"]["times"].numpy()[:] = 7.0
    whole["mark"] = torch.arange(3)
    return whole


def in_a_tuple(batch):
    return collate(batch), collate(batch)


def test_what_is_done_to_a_batch_after_it_was_collated_arrives_too(root):
    dataset = Dataset(root, transform=tokens)
    for collate_fn in (changed_in_place, in_a_tuple):
        expected = list(DataLoader(dataset, sampler=WINDOWS, batch_size=8, collate_fn=collate_fn))
        found = list(DataLoader(dataset, sampler=WINDOWS, batch_size=8, collate_fn=collate_fn, num_workers=1))
        for one, other in zip(expected, found, strict=True):
            members = [(one, other)] if isinstance(one, dict) else zip(one, other, strict=True)
            for left, right in members:
                assert type(right) is dict
                assert list(left) == list(right)
                assert_identical(left["start"], right["start"])
                assert_identical(left["inputs"]["times"], right["inputs"]["times"])


@pytest.mark.parametrize("batches", [1, 40])
def test_batches_that_are_kept_keep_their_values(root, batches):
    # More than there are places in the memory that a worker uses again and again, and of growing size.
    windows = [DatasetIndex("alpha/s1", 1.0, 1.5 + number) for number in range(batches)]
    dataset = Dataset(root, transform=tokens_of_any_length)
    loader = DataLoader(dataset, sampler=windows, batch_size=1, collate_fn=collate, num_workers=1, prefetch_factor=20)
    kept = list(loader)
    for batch, window in zip(kept, windows, strict=True):
        times = dataset[window]["times"].obj
        np.testing.assert_array_equal(batch["times"][0, : len(times)].numpy(), times)


def test_workers_that_are_gone_leave_nothing_behind(root):
    loader = DataLoader(
        Dataset(root, transform=tokens), sampler=WINDOWS, batch_size=4, collate_fn=collate, num_workers=2
    )
    for _ in range(4):
        assert len(list(loader)) == 6
    assert len(shared_ring._REACHED) <= 4  # those of this epoch's workers, and of the last's if they still end


@pytest.mark.parametrize(
    ("start", "transform", "collate_fn"),
    [
        ("fork", tokens, collate),
        ("fork", tokens, with_a_mark),
        ("spawn", padded_times, collate),
        ("forkserver", padded_times, collate),
    ],
)
def test_workers_of_every_kind_send_what_the_main_process_would_make(root, start, transform, collate_fn):
    dataset = Dataset(root, transform=transform)
    expected = list(DataLoader(dataset, sampler=WINDOWS, batch_size=8, collate_fn=collate_fn))
    loader = DataLoader(
        dataset, sampler=WINDOWS, batch_size=8, collate_fn=collate_fn, num_workers=2, multiprocessing_context=start
    )
    found = list(loader)
    assert len(found) == len(expected) == 3
    for one, other in zip(expected, found, strict=True):
        assert type(other) is dict
        assert list(one) == list(other)
        for key, value in one.items():
            if key == "inputs":
                for name in value:
                    assert_identical(value[name], other[key][name])
            elif key == "id":
                assert value == other[key]
            else:
                assert_identical(value, other[key])
                assert other[key].is_shared() == (collate_fn is not collate)  # by value, if collate has the last word

import copy
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.utils.data import default_collate

from nd_data.collate import chain, collate, pad, pad8, track_batch, track_mask, track_mask8


class Point(NamedTuple):
    x: Any
    y: Any


windows_of_floats = st.lists(
    hnp.arrays(np.float64, st.integers(0, 20), elements=st.floats(-5, 5)), min_size=1, max_size=6
)


@given(windows_of_floats)
def test_padding_and_masking_gives_every_window_back(windows):
    batch = collate([{"value": pad(w), "mask": track_mask(w)} for w in windows])
    assert batch["value"].shape == batch["mask"].shape == (len(windows), max(map(len, windows)))
    for row, window in enumerate(windows):
        np.testing.assert_array_equal(batch["value"][row][batch["mask"][row]].numpy(), window)
        assert (batch["value"][row][~batch["mask"][row]] == 0).all()


@given(windows_of_floats)
def test_padding_to_eight_only_adds_zeros_up_to_the_next_multiple(windows):
    wide, narrow = collate([pad8(w) for w in windows]), collate([pad(w) for w in windows])
    mask = collate([track_mask8(w) for w in windows])
    longest = max(map(len, windows))
    assert wide.shape[1] == mask.shape[1] == 8 * ((longest + 7) // 8)
    np.testing.assert_array_equal(wide[:, :longest].numpy(), narrow.numpy())
    assert (wide[:, longest:] == 0).all()
    assert mask.dtype == torch.bool
    assert mask.sum(dim=1).tolist() == [len(w) for w in windows]


@given(windows_of_floats)
def test_chaining_and_tracking_the_batch_gives_every_window_back(windows):
    batch = collate([{"value": chain(w), "window": track_batch(w)} for w in windows])
    assert batch["window"].dtype == torch.int64
    for row, window in enumerate(windows):
        np.testing.assert_array_equal(batch["value"][batch["window"] == row].numpy(), window)


def test_trailing_axes_are_kept():
    windows = [np.ones((n, 2, 3), np.float32) * n for n in (1, 4)]
    assert collate([pad(w) for w in windows]).shape == (2, 4, 2, 3)
    chained = collate([chain(w) for w in windows])
    assert chained.shape == (5, 2, 3)
    assert chained.dtype == torch.float32


@pytest.mark.parametrize("mark", [pad, pad8, chain])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float32, np.float64, np.bool_, np.uint8])
def test_dtypes_are_kept(mark, dtype):
    batch = collate([mark(np.zeros(3, dtype)), mark(np.ones(2, dtype))])
    assert batch.numpy().dtype == dtype


@pytest.mark.parametrize("mark", [pad, pad8, chain])
def test_a_window_without_elements_does_not_change_the_dtype_of_the_others(mark):
    assert collate([mark(np.array([])), mark(np.array([3, 4]))]).dtype == torch.int64


@pytest.mark.parametrize("mark", [pad, pad8, chain])
def test_windows_of_different_precision_take_the_wider_one(mark):
    batch = collate([mark(np.ones(2, np.float32)), mark(np.full(3, 0.1))])
    assert batch.dtype == torch.float64
    assert batch.flatten()[-1] in (0.1, 0.0)


@pytest.mark.parametrize(("mark", "shape"), [(pad, (3, 0)), (pad8, (3, 0)), (chain, (0,))])
def test_windows_that_are_all_empty_give_an_empty_batch(mark, shape):
    assert collate([mark(np.empty(0, np.int64)) for _ in range(3)]).shape == shape


@pytest.mark.parametrize("mark", [pad, pad8, chain])
def test_tensors_are_collated_like_arrays(mark):
    arrays = [np.arange(n, dtype=np.float32) for n in (3, 0, 5)]
    expected = collate([mark(a) for a in arrays])
    assert torch.equal(collate([mark(torch.from_numpy(a)) for a in arrays]), expected)
    mixed = [mark(torch.from_numpy(a)) if i else mark(a) for i, a in enumerate(arrays)]
    assert torch.equal(collate(mixed), expected)


def test_read_only_strided_and_big_endian_arrays_are_collated():
    read_only = np.arange(3.0)
    read_only.flags.writeable = False
    windows = [read_only, np.arange(8.0)[::2], np.arange(2, dtype=">f8")]
    batch = collate([pad(w) for w in windows])
    np.testing.assert_array_equal(batch[:, :2].numpy(), [w[:2] for w in windows])


def test_a_mark_holds_for_all_members_of_a_nested_object():
    window = {"a": np.arange(2), "b": [np.arange(3), Point(np.arange(1), "text")]}
    other = {"a": np.arange(4), "b": [np.arange(1), Point(np.arange(2), "more")]}
    batch = collate([pad(window), pad(other)])
    assert batch["a"].shape == (2, 4)
    assert batch["b"][0].shape == (2, 3)
    assert batch["b"][1].x.shape == (2, 2)
    assert batch["b"][1].y == ["text", "more"]


def test_a_task_that_some_windows_lack_is_chained_over_those_that_have_it():
    windows = [
        {"velocity": np.zeros((2, 2), np.float32), "choice": np.array([1])},
        {"choice": np.array([2, 3])},
        {"velocity": np.ones((1, 2), np.float32)},
    ]
    batch = collate([chain(w, allow_missing_keys=True) for w in windows])
    assert list(batch) == ["velocity", "choice"]
    assert batch["velocity"].tolist() == [[0, 0], [0, 0], [1, 1]]
    assert batch["choice"].tolist() == [1, 2, 3]


def test_the_tracked_window_is_the_one_in_the_batch_even_where_windows_lack_the_key():
    windows = [{}, {"task": {"value": np.array([7]), "window": track_batch([7])}}]
    batch = collate([chain(w, allow_missing_keys=True) for w in windows])
    assert batch["task"]["window"].tolist() == [1]


def test_windows_that_lack_every_task_give_no_tasks():
    assert collate([chain({}, allow_missing_keys=True)] * 2) == {}


def test_what_is_not_marked_is_collated_as_torch_does():
    windows = [
        {
            "float": 0.1 * i,
            "int": i,
            "bool": bool(i),
            "name": f"s{i}",
            "array": np.full((2, 3), i, np.float32),
            "tensor": torch.full((2,), i),
            "tuple": (i, np.float32(i)),
            "list": [1.5 * i, "x"],
            "point": Point(np.int64(i), np.float64(i)),
        }
        for i in range(3)
    ]
    ours, torchs = collate(copy.deepcopy(windows)), default_collate(copy.deepcopy(windows))
    assert ours.keys() == torchs.keys()
    for key in ("float", "int", "bool", "array", "tensor"):
        assert ours[key].dtype == torchs[key].dtype
        assert torch.equal(ours[key], torchs[key])
    assert ours["name"] == torchs["name"] == ["s0", "s1", "s2"]
    assert ours["list"][0].dtype == torch.float64
    assert isinstance(ours["point"], Point)
    assert ours["point"].x.tolist() == [0, 1, 2]


def test_absolute_times_stay_float64():
    start = 123456.789012345
    assert collate([{"absolute_start": start}, {"absolute_start": np.float64(start)}])["absolute_start"].tolist() == [
        start,
        start,
    ]


def test_collating_does_not_touch_the_windows():
    window = {"a": pad8(np.arange(3)), "b": chain({"t": np.ones(2)}, allow_missing_keys=True)}
    before = copy.deepcopy(window)
    batch = collate([window, window])
    batch["a"].fill_(9)
    batch["b"]["t"].fill_(9)
    np.testing.assert_array_equal(window["a"].obj, before["a"].obj)
    np.testing.assert_array_equal(window["b"].obj["t"], before["b"].obj["t"])


@pytest.mark.parametrize(
    ("windows", "error", "message"),
    [
        ([], ValueError, "empty batch"),
        ([np.zeros(2), np.zeros(3)], ValueError, r"one shape.*pad8"),
        ([{"a": 1}, {"b": 1}], ValueError, r"window 0 has \['a'\], window 1 has \['b'\].*allow_missing_keys"),
        ([{"a": 1}, 3], ValueError, "window 1 has int"),
        ([pad(np.zeros((1, 2))), pad(np.zeros((1, 3)))], ValueError, r"\(1, 2\).*window 1 has \(1, 3\)"),
        ([chain(np.zeros(()))], ValueError, "without axes"),
        ([[1, 2], [1]], ValueError, "2 members, window 1 has 1 members"),
        ([pad(np.zeros(1)), pad8(np.zeros(1))], ValueError, "mark a member alike"),
        ([pad(np.zeros(1)), chain(np.zeros(1))], ValueError, r"pad\(\.\.\.\) in window 0, chain\(\.\.\.\) in window 1"),
        ([pad(pad(np.zeros(1)))], TypeError, "mark a member once"),
        ([pad(track_batch(np.zeros(1)))], TypeError, "track_mask"),
        ([object()], TypeError, "cannot collate object"),
        ([np.array(["a"])], TypeError, "array of <U1"),
        ([{"a": None}], TypeError, "cannot collate NoneType"),
        ([1.0, None], TypeError, "NoneType"),
    ],
)
def test_what_cannot_be_collated_is_refused_with_a_reason(windows, error, message):
    with pytest.raises(error, match=message):
        collate(windows)


def test_an_error_says_under_which_keys_it_happened():
    with pytest.raises(ValueError, match="one shape") as caught:
        collate([{"model_inputs": {"x": np.zeros(n)}} for n in (1, 2)])
    assert caught.value.__notes__ == [
        "while collating member 'x' of the windows",
        "while collating member 'model_inputs' of the windows",
    ]


def test_missing_keys_need_a_dictionary():
    with pytest.raises(TypeError, match="needs a dictionary, got ndarray"):
        chain(np.zeros(2), allow_missing_keys=True)
    with pytest.raises(ValueError, match="some allow missing keys"):
        collate([chain({}, allow_missing_keys=True), chain({})])

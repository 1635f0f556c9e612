"""collate against a slow one that puts every number into its place, and against the words of its documentation."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nd_data.collate import chain, collate, pad, pad8, track_batch, track_mask, track_mask8

DTYPES = st.sampled_from([np.bool_, np.uint8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64])
LAYOUTS = st.sampled_from(["plain", "read-only", "strided", "swapped", "tensor"])


def laid_out(array, layout):
    """The same values in another kind of array."""
    if layout == "tensor":
        return torch.from_numpy(array.copy())
    if layout == "strided":
        return np.repeat(array, 2, axis=0)[::2]
    if layout == "swapped":
        return array.astype(array.dtype.newbyteorder("S"))
    array = array.copy()
    array.flags.writeable = layout == "plain"
    return array


@st.composite
def ragged_windows(draw):
    """Arrays that differ in the first axis only, laid out one way or another, mostly of one dtype."""
    dtypes = draw(st.lists(DTYPES, min_size=1, max_size=2))
    trailing = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3) | st.just(()))
    windows = []
    for _ in range(draw(st.integers(1, 6))):
        shape = (draw(st.integers(0, 11)), *trailing)
        numbers = hnp.arrays(np.int8, shape, elements=st.integers(0, 1 if np.bool_ in dtypes else 100))
        windows.append(draw(numbers).astype(draw(st.sampled_from(dtypes))))
    return windows, draw(LAYOUTS), trailing


def common_dtype(windows, layout):
    dtypes = [window.dtype for window in windows if window.size] or [windows[0].dtype]
    if layout == "tensor":  # torch has rules of its own
        tensors = [torch.empty(0, dtype=getattr(torch, dtype.name)) for dtype in dtypes]
        return torch.cat(tensors).numpy().dtype
    return np.result_type(*dtypes)


def slowly_padded(windows, trailing, multiple, dtype):
    longest = max(len(window) for window in windows)
    while longest % multiple:
        longest += 1
    out = np.zeros((len(windows), longest, *trailing), dtype=dtype)
    for row, window in enumerate(windows):
        for place, value in enumerate(window):
            out[row, place] = value
    return out


def assert_same(found, expected):
    assert found.numpy().dtype == expected.dtype
    assert tuple(found.shape) == expected.shape
    np.testing.assert_array_equal(found.numpy(), expected)


@given(ragged_windows(), st.booleans())
def test_padding(case, eight):
    windows, layout, trailing = case
    mark, mask, multiple = (pad8, track_mask8, 8) if eight else (pad, track_mask, 1)
    given_windows = [laid_out(window, layout) for window in windows]
    batch = collate([{"x": mark(window), "mask": mask(window)} for window in given_windows])
    expected = slowly_padded(windows, trailing, multiple, common_dtype(windows, layout))
    assert_same(batch["x"], expected)
    lengths = [len(window) for window in windows]
    assert_same(
        batch["mask"],
        np.array([[place < length for place in range(expected.shape[1])] for length in lengths], dtype=bool).reshape(
            len(windows), expected.shape[1]
        ),
    )


@given(ragged_windows())
def test_chaining(case):
    windows, layout, trailing = case
    given_windows = [laid_out(window, layout) for window in windows]
    batch = collate([{"x": chain(window), "window": track_batch(window)} for window in given_windows])
    values = [value for window in windows for value in window]
    expected = np.array(values, dtype=common_dtype(windows, layout)).reshape(len(values), *trailing)
    assert_same(batch["x"], expected)
    numbers = [row for row, window in enumerate(windows) for _ in window]
    assert_same(batch["window"], np.array(numbers, dtype=np.int64))


@given(
    dtype=DTYPES,
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    count=st.integers(1, 5),
    layout=LAYOUTS,
)
def test_stacking(dtype, shape, count, layout):
    windows = [(np.arange(np.prod(shape)) + number).reshape(shape).astype(dtype) for number in range(count)]
    if not shape and layout == "strided":
        layout = "plain"
    found = collate([laid_out(window, layout) for window in windows])
    expected = np.zeros((count, *shape), dtype=dtype)
    for row, window in enumerate(windows):
        expected[row] = window
    assert_same(found, expected)


@given(st.lists(st.sets(st.sampled_from("abcd")), min_size=1, max_size=5), st.integers(0, 5))
def test_chaining_what_some_windows_lack(keys, seed):
    rng = np.random.default_rng(seed)
    windows = [{key: rng.integers(0, 9, rng.integers(0, 4)) for key in sorted(names)} for names in keys]
    batch = collate([chain(window, allow_missing_keys=True) for window in windows])
    expected = {}
    for window in windows:
        for key, values in window.items():
            expected.setdefault(key, []).extend(values.tolist())
    assert list(batch) == list(expected)
    assert {key: tensor.tolist() for key, tensor in batch.items()} == expected

"""Batches against those of torch_brain 0.1.2's collate, over random structures with marks anywhere in them."""

from collections import OrderedDict, UserList, defaultdict, deque
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import nd_data

peer = pytest.importorskip("torch_brain.data", reason="needs torch_brain 0.1.2 beside")

pytestmark = pytest.mark.compat


class Point(NamedTuple):
    x: Any
    y: Any


KINDS = ("float64", "float32", "int64", "uint8", "bool")


def draw_structure(rng, depth, *, in_mark=None):
    """A recipe for one window: everything but its values and lengths, which differ from window to window."""
    choices = ["array", "tensor", "number", "text"]
    if in_mark is None:
        choices += ["pad", "pad8", "chain", "track_mask", "track_mask8", "track_batch", "missing"]
    if depth:
        # The peer's pad8 fails on the members of lists and tuples.
        choices += ["mapping", "mapping" if in_mark == "pad8" else "sequence"] * 3
    kind = str(rng.choice(choices))
    if kind == "mapping":
        make = (dict, OrderedDict, lambda members: defaultdict(list, members))[rng.integers(3)]
        names = [f"k{number}" for number in range(rng.integers(0, 4))]
        return kind, make, {name: draw_structure(rng, depth - 1, in_mark=in_mark) for name in names}
    if kind == "sequence":
        make = (list, tuple, deque, UserList, lambda members: Point(members, members[:1]))[rng.integers(5)]
        return kind, make, [draw_structure(rng, depth - 1, in_mark=in_mark) for _ in range(rng.integers(0, 3))]
    if kind in ("pad", "pad8", "chain"):
        return kind, None, draw_structure(rng, depth, in_mark=kind)
    if kind == "missing":
        return kind, None, {name: draw_structure(rng, max(depth - 1, 0), in_mark=kind) for name in ("a", "b", "c")}
    return kind, str(rng.choice(KINDS)), tuple(rng.integers(0, 3, rng.integers(0, 2)))


def build(library, structure, rng, *, length=None):
    kind, what, inner = structure
    if kind == "mapping":
        return what({name: build(library, one, rng, length=length) for name, one in inner.items()})
    if kind == "sequence":
        return what([build(library, one, rng, length=length) for one in inner])
    if kind == "missing":
        having = [name for name in inner if rng.random() < 0.6]
        # Length is drawn for all of a window, so that it may be that of another array.
        members = {name: build(library, inner[name], rng, length=int(rng.integers(0, 20))) for name in having}
        return library.chain(members, allow_missing_keys=True)
    if kind in ("pad", "pad8", "chain"):
        return getattr(library, kind)(build(library, inner, rng, length=int(rng.integers(0, 20))))
    if kind == "number":
        return [float, int, bool][KINDS.index(what) % 3](rng.integers(9))
    if kind == "text":
        return str(rng.integers(9))
    rows = 3 if length is None else length
    if kind.startswith("track"):
        return getattr(library, kind)(np.zeros(int(rng.integers(0, 20))))
    array = rng.integers(0, 2, (rows, *inner)).astype(what)
    return torch.from_numpy(array) if kind == "tensor" else array


def assert_same(ours, theirs, where="batch"):
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype, where
        assert torch.equal(ours, theirs), where
    elif isinstance(theirs, dict):
        assert type(ours) is type(theirs), where
        assert set(ours) == set(theirs), where
        for key, value in theirs.items():
            assert_same(ours[key], value, f"{where}[{key!r}]")
    elif isinstance(theirs, (list, tuple, deque, UserList)):
        # What comes out of a tuple or a list of theirs may be a tuple of texts.
        assert type(ours) is type(theirs) or (type(ours) is list and type(theirs) is tuple), where
        assert len(ours) == len(theirs), where
        for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{where}[{place}]")
    else:
        assert ours == theirs, where


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_batches_of_any_structure_are_those_of_the_peer(first):
    for seed in range(first, first + 100):
        rng = np.random.default_rng(seed)
        structure, windows = draw_structure(rng, 3), int(rng.integers(1, 5))
        ours, theirs = (
            library.collate([build(library, structure, value_rng) for _ in range(windows)])
            for library, value_rng in ((nd_data, np.random.default_rng(seed)), (peer, np.random.default_rng(seed)))
        )
        assert_same(ours, theirs, f"seed {seed}")


@pytest.mark.parametrize("mark", [None, "pad", "pad8", "chain"])
@pytest.mark.parametrize(
    ("windows", "error"),
    [
        ([None, None], TypeError),
        ([{"a": None}, {"a": None}], TypeError),
        ([{1}, {2}], TypeError),
        ([np.array(["a"]), np.array(["b"])], TypeError),
        ([{"a": 1.0, "b": 1.0}, {"a": 1.0}], (KeyError, ValueError)),
        ([[1.0], [1.0, 2.0]], (RuntimeError, ValueError)),
    ],
)
def test_what_the_peer_refuses_is_refused(mark, windows, error):
    for library in (nd_data, peer):
        marked = windows if mark is None else [getattr(library, mark)(window) for window in windows]
        with pytest.raises(error):
            library.collate(marked)


@pytest.mark.parametrize("mark", [None, "chain"])  # what the peer's padding does then depends on the order of windows
def test_arrays_that_differ_in_the_second_axis_are_refused_by_both(mark):
    windows = [np.zeros((2, 3)), np.zeros((2, 4))]
    for library in (nd_data, peer):
        with pytest.raises((RuntimeError, ValueError)):
            library.collate(windows if mark is None else [library.chain(window) for window in windows])

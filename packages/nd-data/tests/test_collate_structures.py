"""Collating keeps the structure of a window, whatever it is made of: as torch's default_collate does."""

import copy
import dataclasses
from collections import OrderedDict, UserDict, UserList, defaultdict, deque
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, default_collate

from nd_data.collate import chain, collate, pad, pad8, track_batch


class Point(NamedTuple):
    x: Any
    y: Any


LEAVES = {
    "float": lambda rng: float(rng.normal()),
    "int": lambda rng: int(rng.integers(9)),
    "bool": lambda rng: bool(rng.random() > 0.5),
    "text": lambda rng: str(rng.integers(9)),
    "bytes": lambda rng: b"x",
    "float32": lambda rng: np.float32(rng.normal()),
    "array": lambda rng: rng.normal(size=(2, 3)),
    "counts": lambda rng: rng.integers(0, 9, 4).astype(np.uint8),
    "no axes": lambda rng: np.array(rng.normal()),
    "tensor": lambda rng: torch.from_numpy(rng.normal(size=3)).half(),
}
MAPPINGS = (dict, OrderedDict, UserDict, MappingProxyType, lambda members: defaultdict(list, members))
SEQUENCES = (list, tuple, deque, UserList, lambda members: Point(members, members[:1]))

structures = st.recursive(
    st.sampled_from(sorted(LEAVES)),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(MAPPINGS), st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)),
        st.tuples(st.sampled_from(SEQUENCES), st.lists(inner, max_size=3)),
    ),
    max_leaves=8,
)


def build(structure, rng):
    if isinstance(structure, str):
        return LEAVES[structure](rng)
    make, members = structure
    if isinstance(members, dict):
        return make({key: build(member, rng) for key, member in members.items()})
    return make([build(member, rng) for member in members])


def assert_same(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    elif isinstance(theirs, (dict, UserDict, MappingProxyType)):
        assert type(ours) is type(theirs)
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple, deque, UserList)):
        # torch leaves texts, or nothing, that come out of a tuple or list as a tuple.
        assert type(ours) is type(theirs) or (type(ours) is list and type(theirs) is tuple)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    else:
        assert ours == theirs


@given(structures, st.integers(1, 4), st.integers(0, 99))
def test_any_structure_is_collated_as_torch_does(structure, windows, seed):
    rng = np.random.default_rng(seed)
    batch = [build(structure, rng) for _ in range(windows)]
    assert_same(collate(batch), default_collate(batch))


@given(structures, st.integers(1, 4), st.integers(0, 99))
def test_a_mark_around_a_structure_is_a_mark_on_each_of_its_arrays(structure, windows, seed):
    def marked(value, mark):
        if isinstance(value, (dict, UserDict, MappingProxyType)):
            return {key: marked(member, mark) for key, member in value.items()}
        if isinstance(value, (list, tuple, deque, UserList)):
            return [marked(member, mark) for member in value]
        return mark(value) if isinstance(value, (np.ndarray, torch.Tensor)) else value

    def plain(value):
        if isinstance(value, (dict, UserDict, MappingProxyType)):
            return {key: plain(member) for key, member in value.items()}
        return [plain(member) for member in value] if isinstance(value, (list, tuple, deque, UserList)) else value

    if "no axes" in repr(structure):
        return
    rng = np.random.default_rng(seed)
    batch = [build(structure, rng) for _ in range(windows)]
    for mark in (pad, pad8, chain):
        assert_same(plain(collate([mark(window) for window in batch])), collate([marked(w, mark) for w in batch]))


def test_a_kind_that_cannot_hold_tensors_becomes_a_list_or_a_dictionary():
    class Ids(UserList):
        def __setitem__(self, place, value):
            raise TypeError("ids are text")

    class Fixed(dict):
        def update(self, *_):
            raise ValueError("these keys are fixed")

    assert_same(collate([range(3), range(3)]), default_collate([range(3), range(3)]))
    assert type(collate([Ids([1]), Ids([2])])) is list
    assert type(collate([Fixed(a=1), Fixed(a=2)])) is dict


def test_the_windows_keep_their_members():
    windows = [OrderedDict(a=[1, deque([2])]), OrderedDict(a=[3, deque([4])])]
    before = copy.deepcopy(windows)
    collate(windows)
    assert windows == before


def test_sequences_of_other_kinds_must_have_one_length_too():
    with pytest.raises(ValueError, match="window 0 has 2 members, window 1 has 1 members"):
        collate([deque([1, 2]), deque([1])])
    with pytest.raises(ValueError, match="window 1 has str"):
        collate([deque([1, 2]), "ab"])


def test_a_dataclass_is_refused_like_by_torch():
    @dataclasses.dataclass
    class Sample:
        x: float

    for function in (collate, default_collate):
        with pytest.raises(TypeError, match="Sample"):
            function([Sample(1.0), Sample(2.0)])


def windows_of_many_kinds():
    return [
        OrderedDict(
            spikes=pad8(np.arange(float(n))),
            point=Point(np.float32(n), {"name": f"w{n}"}),
            tasks=chain({"a": (np.arange(n), track_batch(np.arange(n)))} if n % 2 else {}, allow_missing_keys=True),
            kinds=deque([n, [torch.full((2,), n)]]),
        )
        for n in range(1, 7)
    ]


def test_structures_arrive_whole_from_workers():
    alone, sent = (
        list(DataLoader(windows_of_many_kinds(), batch_size=3, collate_fn=collate, num_workers=workers))
        for workers in (0, 2)
    )
    assert len(alone) == 2
    for one, other in zip(sent, alone, strict=True):
        assert_same(one, other)
        assert type(one) is OrderedDict
        assert isinstance(one["point"], Point)

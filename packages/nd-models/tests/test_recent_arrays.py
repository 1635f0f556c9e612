"""What is remembered of arrays of names: found again for the very same array, and for no other."""

import copy
import pickle

import numpy as np

from nd_data.constant_array import constant_array
from nd_models.nn.recent_arrays import ConstantArrays, RecentArrays


def test_only_the_very_same_constant_array_is_found_again():
    known = ConstantArrays()
    names = constant_array(np.array(["a", "b"]))
    known.keep(names, "kept")
    assert known.find(names) == "kept"
    for other in (constant_array(np.array(["a", "b"])), names.copy(), names[:], np.array(["c"])):
        assert known.find(other) is None


def test_arrays_that_can_change_are_not_kept():
    known = ConstantArrays()
    names = np.array(["a", "b"])
    names.flags.writeable = False
    known.keep(names, "kept")
    assert known.find(names) is None


def test_an_array_whose_shape_was_set_is_another_one():
    known = ConstantArrays()
    names = constant_array(np.array(["a", "b"]))
    known.keep(names, "kept")
    names.shape = (2, 1)
    assert known.find(names) is None


def test_the_memory_is_bounded_and_keeps_the_latest():
    known = ConstantArrays()
    arrays = [constant_array(np.array([f"name_{number}"])) for number in range(5000)]
    for number, names in enumerate(arrays):
        known.keep(names, number)
    assert known.find(arrays[0]) is None
    assert known.find(arrays[-1]) == 4999
    assert len(known._entries) <= 4096


def test_copies_remember_nothing():
    known = ConstantArrays()
    names = constant_array(np.array(["a"]))
    known.keep(names, "kept")
    for duplicate in (copy.deepcopy(known), pickle.loads(pickle.dumps(known))):  # noqa: S301
        assert duplicate.find(names) is None


def test_recent_names_are_recognised_by_their_values():
    recent = RecentArrays()
    names = np.array(["a", "b"])
    recent.keep(names, np.array([1, 2]))
    assert recent.find(np.array(["a", "b"])).tolist() == [1, 2]
    assert recent.find(np.array(["a", "c"])) is None
    names[0] = "z"
    assert recent.find(np.array(["a", "b"])).tolist() == [1, 2]

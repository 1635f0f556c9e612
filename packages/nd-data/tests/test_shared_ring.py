"""The ring between a worker and the main process: offered, reached, used again, never needed."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nd_data import shared_ring
from nd_data.shared_ring import Offer, SharedRing, arrays_in, can_share, place_size, reach

pytestmark = pytest.mark.skipif(not can_share(), reason="this system has no memory to share by descriptor")


@pytest.fixture
def ring():
    one = SharedRing(2**16)
    yield one
    one.close()
    shared_ring._REACHED.pop(one.offer, None)


def kinds_of(arrays):
    return [(array.dtype.str, array.shape) for array in arrays]


def test_nothing_is_put_where_nobody_has_come_yet(ring):
    assert ring.put([np.arange(3)]) is None
    reach(ring.offer)
    assert ring.put([np.arange(3)]) is not None


@settings(max_examples=50)
@given(
    st.lists(
        hnp.arrays(
            hnp.integer_dtypes() | hnp.floating_dtypes(sizes=(32, 64)) | hnp.boolean_dtypes(), hnp.array_shapes()
        ),
        max_size=6,
    )
)
def test_arrays_come_out_as_they_went_in(arrays):
    one = SharedRing(2**16)
    reach(one.offer)
    arrays = [*arrays, np.zeros((0, 3)), np.broadcast_to(np.arange(4.0), (5, 4)), np.arange(20)[::3]]
    for _ in range(20):  # more often than there are places
        found = arrays_in(one.offer, one.put([None, *arrays]), kinds_of(arrays))
        for expected, array in zip(arrays, found, strict=True):
            assert array.dtype == expected.dtype
            assert array.shape == expected.shape
            assert array.tobytes() == expected.tobytes()
            assert array.flags.writeable
        del found, array
    one.close()
    shared_ring._REACHED.pop(one.offer)


LARGE = np.arange(2**13, dtype=np.float64)  # bytes as many as make an array stay where it is


def test_a_place_is_free_again_when_its_last_large_array_is_gone():
    ring = SharedRing(2**18)
    reach(ring.offer)
    held = [
        arrays_in(ring.offer, ring.put([LARGE + number, LARGE - number]), kinds_of([LARGE, LARGE]))
        for number in range(ring.offer.places)
    ]
    assert ring.put([LARGE]) is None
    held[3].pop()
    assert ring.put([LARGE]) is None  # the other one is still in use
    tensor = torch.from_numpy(held[3].pop())[5:]
    assert ring.put([LARGE]) is None
    del tensor
    place = ring.put([LARGE + 100.0])
    assert place is not None
    assert arrays_in(ring.offer, place, kinds_of([LARGE]))[0][0] == 100.0
    for number, arrays in enumerate(held):
        if arrays:
            assert (arrays[0] == LARGE + number).all()
            assert (arrays[1] == LARGE - number).all()
    del held, arrays
    ring.close()
    del shared_ring._REACHED[ring.offer]


def test_small_arrays_take_no_place_once_they_came_out(ring):
    reach(ring.offer)
    kept = [arrays_in(ring.offer, ring.put([np.full(10, k)]), [("<i8", (10,))])[0] for k in range(50)]
    assert [array[0] for array in kept] == list(range(50))


def test_a_fork_that_drops_its_copies_frees_nothing():
    ring = SharedRing(2**17)
    reach(ring.offer)
    held = [arrays_in(ring.offer, ring.put([LARGE]), kinds_of([LARGE])) for _ in range(ring.offer.places)]
    child = multiprocessing.get_context("fork").Process(target=held.clear)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert ring.put([LARGE]) is None
    held.clear()
    assert ring.put([LARGE]) is not None
    ring.close()
    del shared_ring._REACHED[ring.offer]


def test_what_is_in_a_ring_outlives_the_end_that_made_it():
    one = SharedRing(2**17)
    reach(one.offer)
    place = one.put([LARGE])
    one.close()
    (array,) = arrays_in(one.offer, place, kinds_of([LARGE]))
    del shared_ring._REACHED[one.offer]
    assert (array == LARGE).all()


def test_a_ring_that_cannot_be_reached_is_left_alone(ring):
    for offer in (
        ring.offer._replace(path="/proc/self/fd/99999"),
        ring.offer._replace(token=os.urandom(16)),
        ring.offer._replace(path=os.devnull),
    ):
        reach(offer)
        assert offer not in shared_ring._REACHED
    assert ring.put([np.zeros(1)]) is None


def test_a_batch_for_another_process_is_refused():
    with pytest.raises(RuntimeError, match="shares with another process"):
        arrays_in(Offer("x", b"y", 2, 9), 0, [])


def test_rings_of_workers_that_are_gone_are_let_go():
    gone = SharedRing(2**16)
    reach(gone.offer)
    gone.close()
    new = SharedRing(2**17)
    reach(new.offer)
    assert gone.offer not in shared_ring._REACHED or Path(gone.offer.path).exists()  # the number may be in use
    assert new.offer in shared_ring._REACHED
    new.close()
    del shared_ring._REACHED[new.offer]


@pytest.mark.parametrize("needed", [0, 1, 1000, 2**16, 10**6, 2**24])
def test_places_have_room_to_grow(needed):
    size = place_size(needed)
    assert size >= 1.25 * needed
    assert size % 4096 == 0


def test_batches_that_are_too_large_get_no_place():
    assert place_size(2**26) is None

"""stitch against a slow float64 NumPy version that knows the true time of every value."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_eval import stitch


def windows(step, offset, length=1.0, stride=0.5, count=6, dtype=np.float32):
    """True index, and absolute time as a decoder gets it (float32 within a window, float64 start), of many windows."""
    indices, times = [], []
    for number in range(count):
        start = offset + number * stride
        begin, end = (int(np.ceil(edge / step - 1e-9)) for edge in (number * stride, number * stride + length))
        inside = np.arange(begin, end)
        relative = (inside * step - number * stride).astype(dtype)
        indices.append(inside)
        times.append(relative.astype(np.float64) + start)
    return np.concatenate(indices), np.concatenate(times)


def mean_of_each(index, values):
    return np.stack([values[index == i].astype(np.float64).mean(axis=0) for i in np.unique(index)])


def vote_of_each(index, labels):
    winners = []
    for i in np.unique(index):
        counts = Counter(labels[index == i].tolist())
        most = max(counts.values())
        winners.append(min(label for label, count in counts.items() if count == most))
    return np.array(winners)


@pytest.mark.parametrize("offset", [0.0, 1.0 / 3.0, 20_000.1, 1e5])
@pytest.mark.parametrize("step", [0.001, 0.01, 0.1, 1.0 / 30.0, 0.0125, 0.3])
def test_every_true_time_gets_exactly_one_value_whatever_the_step_and_the_offset(step, offset):
    rng = np.random.default_rng(0)
    index, times = windows(step, offset)
    values = rng.normal(size=(index.size, 2))
    stitched_times, stitched = stitch(torch.from_numpy(times), torch.from_numpy(values))
    np.testing.assert_allclose(stitched_times.numpy(), offset + np.unique(index) * step, atol=2e-7, rtol=0)
    np.testing.assert_allclose(stitched.numpy(), mean_of_each(index, values), rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", [300, 40_000])
def test_float32_times_within_windows_at_1_khz_and_100000_seconds_give_one_value_each(count):
    # 40,000 windows' worth of values takes the path for many values, 300 the one for few.
    rng = np.random.default_rng(1)
    index = rng.integers(0, count // 3, size=count)
    true_times = 1e5 + 20.0 + index * 0.001
    starts = true_times - rng.uniform(0, 4, size=count)
    times = starts + (true_times - starts).astype(np.float32).astype(np.float64)
    assert np.unique(times).size > 2 * np.unique(index).size  # equality of floats would not do
    labels = rng.integers(-2, 5, size=count)
    stitched_times, votes = stitch(torch.from_numpy(times), torch.from_numpy(labels))
    assert stitched_times.numel() == np.unique(index).size
    np.testing.assert_array_equal(votes.numpy(), vote_of_each(index, labels))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 200),
    distinct=st.integers(1, 60),
    step=st.sampled_from([1e-3, 0.01, 0.1, 1 / 3]),
    offset=st.sampled_from([-50.0, 0.0, 7.7, 99_999.9]),
)
def test_votes_and_means_do_not_depend_on_the_order_of_the_values(seed, count, distinct, step, offset):
    rng = np.random.default_rng(seed)
    index = rng.integers(0, distinct, size=count)
    times = offset + index * step + rng.uniform(-2e-7, 2e-7, size=count)
    values, labels = rng.normal(size=(count, 3)), rng.integers(-3, 4, size=count)
    shuffle = rng.permutation(count)
    for way in (np.arange(count), shuffle):
        found_times, means = stitch(torch.from_numpy(times[way]), torch.from_numpy(values[way]))
        _, votes = stitch(torch.from_numpy(times[way]), torch.from_numpy(labels[way]))
        earliest = np.array([times[index == i].min() for i in np.unique(index)])
        np.testing.assert_array_equal(found_times.numpy(), earliest)
        np.testing.assert_allclose(means.numpy(), mean_of_each(index, values), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(votes.numpy(), vote_of_each(index, labels))


@settings(deadline=None, max_examples=30)
@given(
    ticks=st.lists(st.integers(0, 400), min_size=1, max_size=80),
    tolerance=st.sampled_from([1e-6, 3e-6, 1e-5]),
    many=st.booleans(),
)
def test_no_two_times_a_tolerance_apart_are_merged_and_close_neighbours_are(ticks, tolerance, many):
    # Times on a grid of 0.5 µs, which is dense enough for chains; `many` repeats them to take the path for many values.
    times = np.array(ticks) * 0.5e-6 + 12.0
    given_times = np.tile(times, 40_000 // len(times) + 1) if many else times
    found, lowest = stitch(torch.from_numpy(given_times), torch.from_numpy(given_times), tolerance=tolerance)
    distinct = np.unique(times)
    group = np.searchsorted(found.numpy(), distinct, side="right") - 1
    for i in range(found.numel()):
        members = distinct[group == i]
        assert members[0] == found[i]
        assert members[-1] - members[0] < tolerance + 1e-12
    for earlier, later, i, j in zip(distinct[:-1], distinct[1:], group[:-1], group[1:], strict=True):
        if later - earlier >= tolerance + 1e-12:
            assert i != j
        elif i != j:  # parted although close: only inside a chain that is too wide
            chain_start = distinct[group == i][0]
            assert later - chain_start >= tolerance - 1e-12
    assert lowest.shape == found.shape


def test_a_value_on_either_side_of_a_rounding_boundary_is_the_same_time():
    # A grid of the tolerance, or of any fraction of it, has a boundary near one of these.
    for base in np.linspace(3.0, 3.0 + 2e-6, 41):
        times = torch.tensor([base - 1e-8, base, base + 1e-8], dtype=torch.float64)
        assert stitch(times, torch.tensor([1.0, 2.0, 3.0]))[1].tolist() == [2.0]


def test_distinct_times_are_not_chained_into_one():
    times = torch.arange(1000, dtype=torch.float64) * 0.9e-6
    found, _ = stitch(times[torch.randperm(1000, generator=torch.Generator().manual_seed(0))], times)
    assert found.numel() == 500


def test_a_tolerance_below_the_spacing_of_floats_groups_equal_times():
    times = torch.tensor([1e12, 1e12, 1e12 + 1.0, 1e12, 1e12 + 1.0], dtype=torch.float64)
    assert stitch(times, torch.tensor([0.0, 1.0, 2.0, 5.0, 4.0]))[1].tolist() == [2.0, 3.0]


def test_tolerance_zero_pools_equal_times_only():
    times = torch.tensor([0.0, 1e-9, 0.0, 1e-9, 2e-9], dtype=torch.float64)
    assert stitch(times, torch.arange(5.0), tolerance=0.0)[1].tolist() == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.bool, torch.uint8])
def test_votes_keep_their_dtype_and_ties_go_to_the_smaller_class(dtype):
    times = torch.tensor([0, 0, 1, 1, 1], dtype=torch.float64)
    votes = torch.tensor([1, 0, 1, 0, 1]).to(dtype)
    _, winners = stitch(times, votes)
    assert winners.dtype == dtype
    assert winners.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_means_keep_their_dtype_and_are_accumulated_in_float64(dtype):
    values = torch.tensor([2048.0] + [1.0] * 2047).to(dtype)  # 2048 + 1 = 2048 in half precision
    _, mean = stitch(torch.zeros(2048, dtype=torch.float64), values)
    expected = torch.tensor(4095.0 / 2048.0, dtype=torch.float64).to(dtype)
    assert mean.dtype == dtype
    assert mean.item() == expected.item()


def test_classes_far_apart_need_no_table_of_votes():
    huge = torch.iinfo(torch.int64)
    labels = torch.tensor([huge.max, huge.min, huge.max, 5, 5, huge.min, huge.min])
    times = torch.tensor([0, 0, 0, 1, 1, 1, 1], dtype=torch.float64)
    assert stitch(times, labels)[1].tolist() == [huge.max, huge.min]


def test_each_column_of_labels_is_put_to_the_vote_by_itself():
    labels = torch.tensor([[0, 5], [1, 5], [1, 4]])
    assert stitch(torch.zeros(3, dtype=torch.float64), labels)[1].tolist() == [[1, 5]]


def test_weights_make_a_weighted_mean_and_zero_leaves_a_value_out():
    times = torch.tensor([0, 0, 1, 2], dtype=torch.float64)
    values = torch.tensor([1.0, 4.0, float("nan"), 7.0])
    found, means = stitch(times, values, weights=torch.tensor([2.0, 1.0, 0.0, 0.5]))
    assert found.tolist() == [0.0, 2.0]
    assert means.tolist() == [2.0, 7.0]


def test_weights_decide_a_vote():
    times = torch.zeros(3, dtype=torch.float64)
    assert stitch(times, torch.tensor([3, 1, 1]), weights=torch.tensor([2.5, 1.0, 1.0]))[1].tolist() == [3]
    assert stitch(times, torch.tensor([3, 1, 1]), weights=torch.tensor([2.0, 1.0, 1.0]))[1].tolist() == [1]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 60))
def test_weighted_votes_are_the_same_to_the_bit_in_any_order(seed, count):
    rng = np.random.default_rng(seed)
    times = torch.from_numpy(rng.integers(0, 4, size=count).astype(np.float64))
    labels = torch.from_numpy(rng.integers(0, 3, size=count))
    weights = torch.from_numpy(rng.choice([0.1, 0.2, 0.3, 0.7], size=count))
    way = torch.from_numpy(rng.permutation(count))
    first, second = stitch(times, labels, weights=weights), stitch(times[way], labels[way], weights=weights[way])
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_weights_of_one_change_nothing():
    rng = np.random.default_rng(3)
    times = torch.from_numpy(rng.integers(0, 50, size=400).astype(np.float64))
    for values in (torch.from_numpy(rng.normal(size=(400, 2))), torch.from_numpy(rng.integers(0, 4, size=400))):
        plain, weighted = stitch(times, values), stitch(times, values, weights=torch.ones(400))
        torch.testing.assert_close(plain[1], weighted[1], rtol=0, atol=1e-14)


def test_a_nan_shows_in_the_mean_of_its_time_alone():
    times = torch.tensor([0, 0, 1], dtype=torch.float64)
    means = stitch(times, torch.tensor([[1.0, 2.0], [float("nan"), 4.0], [5.0, 6.0]]))[1]
    assert means[0, 0].isnan()
    assert means[0, 1] == 3.0
    assert means[1].tolist() == [5.0, 6.0]


@pytest.mark.parametrize("values", [torch.empty(0), torch.empty(0, 3), torch.empty(0, dtype=torch.int64)])
def test_nothing_stitches_to_nothing(values):
    times, stitched = stitch(torch.empty(0, dtype=torch.float64), values)
    assert times.shape == (0,)
    assert stitched.shape == values.shape
    assert stitched.dtype == values.dtype


def test_integer_and_float32_times_come_back_as_they_are():
    for dtype in (torch.int64, torch.int32, torch.float32):
        times = torch.tensor([3, 1, 3, 2]).to(dtype)
        found, means = stitch(times, torch.tensor([1.0, 2.0, 3.0, 4.0]))
        assert found.dtype == dtype
        assert found.tolist() == [1, 2, 3]
        assert means.tolist() == [2.0, 4.0, 2.0]


def test_many_values_over_a_long_range_with_negative_times_agree_with_numpy():
    rng = np.random.default_rng(4)
    index = rng.integers(-30_000, 30_000, size=100_000)
    times = index * 0.1 + rng.uniform(-3e-7, 3e-7, size=index.size)
    labels, values = rng.integers(0, 9, size=index.size), rng.normal(size=index.size)
    unique, inverse = np.unique(index, return_inverse=True)
    table = np.zeros((unique.size, 9), dtype=int)
    np.add.at(table, (inverse, labels), 1)
    sums = np.zeros(unique.size)
    np.add.at(sums, inverse, values)
    found, votes = stitch(torch.from_numpy(times), torch.from_numpy(labels))
    means = stitch(torch.from_numpy(times), torch.from_numpy(values))[1]
    assert found.numel() == unique.size
    np.testing.assert_array_equal(votes.numpy(), table.argmax(1))
    np.testing.assert_allclose(means.numpy(), sums / table.sum(1), rtol=0, atol=1e-12)


def test_many_values_in_a_chain_are_cut_as_few_are():
    rng = np.random.default_rng(5)
    few = np.concatenate([5.0 + np.arange(9) * 0.7e-6, [900.0, 2000.0]])
    many = rng.permutation(np.tile(few, 5000))
    expected = stitch(torch.from_numpy(few), torch.from_numpy(few))[0]
    assert 3 < expected.numel() < few.size
    assert torch.equal(stitch(torch.from_numpy(many), torch.from_numpy(many))[0], expected)


@pytest.mark.parametrize(
    ("times", "values", "options", "error", "message"),
    [
        (torch.zeros(3), torch.zeros(4), {}, ValueError, r"\(3,\) times and values of shape \(4,\)"),
        (torch.zeros(3, 1), torch.zeros(3), {}, ValueError, "one row of times"),
        (torch.tensor([0.0, float("nan")]), torch.zeros(2), {}, ValueError, "found nan at position 1"),
        (torch.tensor([float("inf"), 0.0]), torch.zeros(2), {}, ValueError, "found inf at position 0"),
        (torch.tensor([True, False]), torch.zeros(2), {}, TypeError, "floating point or integer"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.complex64), {}, TypeError, "complex"),
        (torch.zeros(2), torch.zeros(2), {"tolerance": -1.0}, ValueError, "tolerance"),
        (torch.zeros(2), torch.zeros(2), {"tolerance": float("nan")}, ValueError, "tolerance"),
        (torch.zeros(2), torch.zeros(2), {"weights": torch.ones(3)}, ValueError, "one entry per value"),
        (torch.zeros(2), torch.zeros(2), {"weights": torch.tensor([1.0, -1.0])}, ValueError, "0 or more"),
        (torch.zeros(2), torch.zeros(2), {"weights": torch.tensor([1.0, float("nan")])}, ValueError, "finite"),
    ],
)
def test_bad_input_is_one_clear_error(times, values, options, error, message):
    with pytest.raises(error, match=message):
        stitch(times, values, **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (2,), (4,), (2, 2), (3,)])
@pytest.mark.parametrize("offset", [0, 1])
def test_rows_of_any_size_and_place_in_memory_are_averaged_alike(dtype, shape, offset):
    size = int(np.prod(shape))
    index = np.array([3, 1, 2, 1, 3, 2, 5])  # one time with another count, so also the uneven way
    for chosen in (index, index[:-1]):
        rows = torch.arange(offset, offset + size * len(index) + 1, dtype=dtype)[offset:][: size * len(chosen)]
        values = rows.reshape(-1, *shape)
        means = stitch(torch.from_numpy(chosen.astype(float)), values)[1]
        np.testing.assert_array_equal(means.double().numpy(), mean_of_each(chosen, values.double().numpy()))
        strided = torch.stack([values, values], dim=-1)[..., 0]
        assert torch.equal(stitch(torch.from_numpy(chosen.astype(float)), strided)[1], means)


@pytest.mark.parametrize("when", [[2.0, 1.0, 1.0, 2.0], [1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_arguments_are_left_as_they_were(when, dtype):
    times = torch.tensor(when, dtype=torch.float64)
    values, labels = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=dtype), torch.tensor([1, 2, 4, 8])
    weights = torch.tensor([1.0, 0.0, 2.0, 3.0])
    copies = [x.clone() for x in (times, values, labels, weights)]
    stitch(times, values, weights=weights)
    stitch(times, values)
    stitch(times, labels)
    assert all(torch.equal(a, b) for a, b in zip((times, values, labels, weights), copies, strict=True))

"""The transforms against torch_brain 0.1.2's: equal where nothing is random, equally distributed where something is."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import stats

import nd_data
from nd_data import transforms

peer = pytest.importorskip("torch_brain.transforms", reason="needs torch_brain 0.1.2 beside")
temporaldata = pytest.importorskip("temporaldata", reason="needs temporaldata 0.1.6 beside")

from torch_brain.transforms.random_time_scaling import rescale as peer_rescale  # noqa: E402
from torch_brain.utils.binning import bin_spikes as peer_bin_spikes  # noqa: E402

pytestmark = pytest.mark.compat

UNITS = 30


@pytest.fixture(autouse=True)
def one_seed():
    """The peer draws from NumPy's and torch's global generators."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    np.random.set_state(state)  # noqa: NPY002


def make_window(library, units=UNITS, seed=0):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 2, 40 * units))
    return library.Data(
        spikes=library.IrregularTimeSeries(
            timestamps=times, unit_index=rng.integers(0, units, len(times)), domain=library.Interval(0.0, 2.0)
        ),
        units=library.ArrayDict(id=np.array([f"{'ab'[i % 2]}/unit_{i}" for i in range(units)]), rate=np.arange(units)),
        calcium=library.RegularTimeSeries(sampling_rate=10.0, df=rng.normal(size=(20, units))),
        trials=library.Interval(np.array([0.25, 1.0]), np.array([0.75, 1.5]), kind=np.array([1, 2])),
        domain=library.Interval(0.0, 2.0),
    )


def assert_same_units(found, expected):
    assert found.units.id.tolist() == expected.units.id.tolist()
    np.testing.assert_array_equal(found.spikes.timestamps, expected.spikes.timestamps)
    np.testing.assert_array_equal(found.spikes.unit_index, expected.spikes.unit_index)


def two_sample(found, expected):
    """The two-sample Kolmogorov-Smirnov test says that both are of one distribution."""
    assert stats.ks_2samp(found, expected).pvalue > 1e-3


# --- units --------------------------------------------------------------------------------------------------------

PARAMETERS = [
    {},
    {"tail_right": 150},
    {"min_units": 5, "mode_units": 10, "max_units": 40},
    {"mode_units": 300, "max_units": 300},
    {"peak": 8, "M": 9},
    {"peak": 3, "M": 2},
]


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_as_many_units_are_drawn(parameters):
    ours = transforms.TriangleDistribution(**parameters, seed=1)
    theirs = peer.TriangleDistribution(**parameters, seed=2)
    for x in np.linspace(ours.min_units, ours.max_units, 50):
        assert ours.unnormalized_density_function(x) == pytest.approx(theirs.unnormalized_density_function(x))
    two_sample([ours.sample(500) for _ in range(3000)], [theirs.sample(500) for _ in range(3000)])
    assert ours.sample(3) == theirs.sample(3) == 3


@pytest.mark.parametrize("reset_index", [True, False])
def test_dropped_units_are_as_many_and_each_as_likely(reset_index):
    parameters = {"min_units": 4, "mode_units": 12, "max_units": 40, "tail_right": 30}
    ours = transforms.UnitDropout("spikes", reset_index, **parameters, seed=3)
    theirs = peer.UnitDropout("spikes", reset_index, **parameters, seed=4)
    rounds = 1500
    numbers, kept = {}, {}
    for library, transform in ((nd_data, ours), (temporaldata, theirs)):
        window = make_window(library)
        number, count = [], np.zeros(UNITS)
        for _ in range(rounds):
            out = transform(copy.deepcopy(window))
            spiking = np.unique(out.spikes.unit_index)
            if reset_index:
                assert len(out.units) == len(spiking)
                spiking = np.array([int(name.rpartition("_")[2]) for name in out.units.id])
            number.append(len(spiking))
            count[spiking] += 1
        numbers[library], kept[library] = number, count
    two_sample(numbers[nd_data], numbers[temporaldata])
    # The chance of each unit is that of all of them, within four standard deviations.
    chance = np.mean(numbers[nd_data]) / UNITS
    assert abs(chance - np.mean(numbers[temporaldata]) / UNITS) < 0.03
    for count in kept.values():
        assert (np.abs(count / rounds - chance) < 4 * math.sqrt(chance * (1 - chance) / rounds) + 0.02).all()


def test_columns_of_dropped_units_go_in_both():
    parameters = {"min_units": 7, "mode_units": 8, "max_units": 8, "seed": 0}
    for namespace, library in ((transforms, nd_data), (peer, temporaldata)):
        window = namespace.UnitDropout("calcium.df", True, **parameters)(make_window(library))
        columns = [int(name.rpartition("_")[2]) for name in window.units.id]
        assert len(columns) == 7
        np.testing.assert_array_equal(window.calcium.df, make_window(library).calcium.df[:, columns])


@pytest.mark.parametrize("reset_index", [True, False])
@pytest.mark.parametrize("keep_matches", [True, False])
def test_units_are_filtered_by_their_id_alike(reset_index, keep_matches):
    found = transforms.UnitFilterById(r"^a/.*[0-5]$", "spikes", reset_index, keep_matches)(make_window(nd_data))
    expected = peer.UnitFilterById(r"^a/.*[0-5]$", "spikes", reset_index, keep_matches)(make_window(temporaldata))
    assert_same_units(found, expected)


def test_units_are_filtered_by_a_function_alike():
    def mask(units):
        return units.rate % 3 == 1

    found = transforms.UnitFilter(mask, field="spikes")(make_window(nd_data))
    assert_same_units(found, peer.UnitFilter(mask, field="spikes")(make_window(temporaldata)))


# --- time ---------------------------------------------------------------------------------------------------------


def test_times_are_scaled_alike():
    ours = transforms.RandomTimeScaling(1.5, 1.5, 0.25, 0.25)(make_window(nd_data))
    theirs = peer_rescale(make_window(temporaldata), 1.5, 0.25)
    for path in ("spikes.timestamps", "calcium.timestamps", "trials.start", "trials.end", "domain.start", "domain.end"):
        np.testing.assert_allclose(ours.get_nested_attribute(path), theirs.get_nested_attribute(path), atol=1e-12)
    assert ours.calcium.sampling_rate == pytest.approx(theirs.calcium.sampling_rate)
    np.testing.assert_array_equal(ours.trials.kind, theirs.trials.kind)


def test_scales_and_offsets_are_drawn_alike():
    ours = transforms.RandomTimeScaling(0.5, 2.0, -1.0, 3.0, generator=torch.Generator().manual_seed(0))
    theirs = peer.RandomTimeScaling(0.5, 2.0, -1.0, 3.0)
    domains = [
        np.array([next(iter(transform(make_window(library, units=1)).domain)) for _ in range(800)])
        for transform, library in ((ours, nd_data), (theirs, temporaldata))
    ]
    two_sample(*[domain[:, 0] for domain in domains])
    two_sample(*[domain[:, 1] - domain[:, 0] for domain in domains])


def test_crops_begin_alike():
    ours = transforms.RandomCrop(0.5, generator=torch.Generator().manual_seed(1))
    theirs = peer.RandomCrop(0.5)
    starts = [
        [transform(make_window(library, units=1)).absolute_start for _ in range(800)]
        for transform, library in ((ours, nd_data), (theirs, temporaldata))
    ]
    two_sample(*starts)
    assert max(starts[0]) <= 1.5


# --- choices ------------------------------------------------------------------------------------------------------


def test_choices_are_made_alike():
    counts = []
    for namespace, more in ((transforms, {"generator": torch.Generator().manual_seed(1)}), (peer, {})):
        choice = namespace.RandomChoice([lambda _, i=i: i for i in range(3)], p=[1, 2, 5], **more)
        counts.append(np.bincount([choice(None) for _ in range(3000)], minlength=3))
        assert namespace.Compose([lambda x: x + 1, lambda x: 3 * x])(1) == 6
        assert namespace.ConditionalChoice(lambda x: x > 1, lambda x: "many", lambda x: "few")(2) == "many"
    assert stats.chi2_contingency(counts).pvalue > 1e-3


# --- bins ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("bin_size", [0.02, 0.05, 0.3, 0.7])
@pytest.mark.parametrize("max_spikes", [None, 2])
def test_spikes_are_binned_alike_off_the_borders(right, bin_size, max_spikes):
    counts = [
        binning(make_window(library).spikes, UNITS, bin_size, max_spikes=max_spikes, right=right)
        for binning, library in ((nd_data.bin_spikes, nd_data), (peer_bin_spikes, temporaldata))
    ]
    np.testing.assert_array_equal(*counts)
    assert counts[0].dtype == counts[1].dtype
    binned = [
        namespace.BinSpikes(bin_size, right=right, max_spikes=max_spikes)(make_window(library)).spikes_binned
        for namespace, library in ((transforms, nd_data), (peer, temporaldata))
    ]
    np.testing.assert_array_equal(binned[0].binned_counts, binned[1].binned_counts)
    assert binned[0].sampling_rate == pytest.approx(binned[1].sampling_rate)


@pytest.mark.parametrize("cut", [0.0, 0.37])
def test_times_are_weighed_alike_off_the_borders(cut):
    from torch_brain.utils.weights import isin_interval, resolve_weights_based_on_interval_membership

    rng = np.random.default_rng(5)
    times = rng.uniform(0, 1.5, 200)
    config = {"trials": 4.0, "movement.reach": 0.5}
    found, expected = (
        library.Data(
            trials=library.Interval(np.array([0.1, 0.8]), np.array([0.5, 1.2])),
            movement=library.Data(
                reach=library.Interval(np.arange(0, 2, 0.25), np.arange(0, 2, 0.25) + 0.2),
                domain=library.Interval(0.0, 2.0),
            ),
            domain=library.Interval(0.0, 2.0),
        ).slice(cut, cut + 1.5)
        for library in (nd_data, temporaldata)
    )
    np.testing.assert_array_equal(
        nd_data.resolve_weights_based_on_interval_membership(times, found, config),
        resolve_weights_based_on_interval_membership(times, expected, config),
    )
    np.testing.assert_array_equal(
        nd_data.isin_interval(times, found.movement.reach), isin_interval(times, expected.movement.reach)
    )

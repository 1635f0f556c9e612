"""Lagged counts against a double loop, and the ridge baseline against its closed form in plain NumPy."""

import numpy as np
import pytest

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries
from nd_models import MODALITY_REGISTRY, DataType, ModalitySpec
from nd_models.loss import CrossEntropyLoss
from nd_train.ridge_baseline import lagged_counts, ridge_scores

VELOCITY = MODALITY_REGISTRY["cursor_velocity_2d"]
MULTITASK = {"config": {"multitask_readout": [{"readout_id": "cursor_velocity_2d"}]}}


def counted(times, spike_times, unit_index, units, lags, bin_width, slack=0.0):
    """Spikes of each unit in each bin around each time, one bin after the other; `slack` widens the bins."""
    counts = np.zeros((len(times), lags, units))
    for row, time in enumerate(times):
        for lag in range(lags):
            start = time - lags * bin_width / 2 + lag * bin_width
            inside = (spike_times >= start - slack) & (spike_times < start + bin_width + slack)
            for unit in range(units):
                counts[row, lag, unit] = (inside & (unit_index == unit)).sum()
    return counts.reshape(len(times), lags * units)


def spikes(rng, count=400, units=4, end=5.0):
    return np.sort(rng.uniform(0.0, end, count)), rng.integers(0, units, count)


@pytest.mark.parametrize(("window_length", "bin_width", "lags"), [(1.0, 0.1, 10), (0.3, 0.1, 3), (0.06, 0.1, 1)])
def test_counts_at_times_on_the_grid_are_those_of_a_double_loop(window_length, bin_width, lags):
    rng = np.random.default_rng(0)
    times = 1.0 + 0.05 * np.sort(rng.choice(60, 20, replace=False))
    spike_times, unit_index = spikes(rng)
    found = lagged_counts(times, spike_times, unit_index, 4, window_length, bin_width)
    assert found.sum() > 0
    np.testing.assert_array_equal(found, counted(times, spike_times, unit_index, 4, lags, bin_width))


def test_counts_at_any_times_are_off_by_no_more_than_half_a_grid_step():
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0.5, 4.5, 25))
    spike_times, unit_index = spikes(rng)
    found = lagged_counts(times, spike_times, unit_index, 4, 0.5, 0.1, grid=0.01)
    narrow = counted(times, spike_times, unit_index, 4, 5, 0.1, slack=-0.00501)
    wide = counted(times, spike_times, unit_index, 4, 5, 0.1, slack=0.00501)
    assert (narrow <= found).all()
    assert (found <= wide).all()
    assert (narrow < wide).any()


def test_a_finer_grid_makes_counts_exact_at_any_times():
    rng = np.random.default_rng(2)
    times = np.sort(rng.uniform(0.5, 1.5, 10))
    spike_times, unit_index = spikes(rng, count=60, end=2.0)
    found = lagged_counts(times, spike_times, unit_index, 4, 0.4, 0.1, grid=1e-6)
    np.testing.assert_array_equal(found, counted(times, spike_times, unit_index, 4, 4, 0.1))


def test_without_times_or_spikes_there_are_no_rows_or_only_zeros():
    none = np.zeros(0)
    assert lagged_counts(none, np.array([0.5]), np.array([0]), 3, 1.0, 0.5).shape == (0, 6)
    assert not lagged_counts(np.array([0.1, 0.7]), none, none.astype(int), 3, 1.0, 0.5).any()


def examples(recording, split):
    """Features and targets of a split of a simulated recording."""
    domain = getattr(recording, f"{split}_domain")
    start, end = domain.start[0], domain.end[0]
    times = np.asarray(recording.cursor.timestamps)
    chosen = (times >= start) & (times < end)
    spike_times = np.asarray(recording.spikes.timestamps)
    inside = (spike_times >= start) & (spike_times < end)
    spike_times, unit_index = spike_times[inside], np.asarray(recording.spikes.unit_index)[inside]
    units = len(recording.units.id)
    features = np.zeros((chosen.sum(), 10 * units))
    for unit in range(units):
        own = spike_times[unit_index == unit]
        for lag in range(10):
            before, after = (np.searchsorted(own, times[chosen] - 0.5 + 0.1 * (lag + edge)) for edge in (0, 1))
            features[:, lag * units + unit] = after - before
    return features, np.asarray(recording.cursor.vel, dtype=np.float64)[chosen]


def predicted(train, penalty, features):
    """Ridge regression on standardised features, by the normal equations."""
    inputs = np.concatenate([part[0] for part in train])
    targets = np.concatenate([part[1] for part in train])
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0)
    scale[scale == 0] = 1.0
    standard = (inputs - mean) / scale
    weights = np.linalg.solve(
        standard.T @ standard + penalty * np.eye(standard.shape[1]), standard.T @ (targets - targets.mean(axis=0))
    )
    return (features - mean) / scale @ weights + targets.mean(axis=0)


def r2(guess, truth):
    return np.mean(1 - ((guess - truth) ** 2).sum(axis=0) / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0))


def test_scores_are_those_of_ridge_regression_with_the_penalty_that_wins_on_validation(recordings):
    penalties = [1.0, 300.0, 1e5]
    found = ridge_scores(recordings, MULTITASK, VELOCITY, window_length=1.0, penalties=penalties)
    assert sorted(found) == ["simulated/session_00", "simulated/session_01"]
    for recording_id, score in found.items():
        recording = Data.load(recordings / f"{recording_id}.h5")
        train, valid, test = (examples(recording, split) for split in ("train", "valid", "test"))
        best = max(penalties, key=lambda penalty: r2(predicted([train], penalty, valid[0]), valid[1]))
        expected = r2(predicted([train, valid], best, test[0]), test[1])
        assert expected > 0.3
        assert score == pytest.approx(expected, abs=1e-6)


STATE = ModalitySpec(101, 3, DataType.MULTINOMIAL, "state.timestamps", "state.label", CrossEntropyLoss())


def save_states(root, *, last_state_time=60.0):
    """A recording of three states in turn, each of which drives its own unit."""
    rng = np.random.default_rng(0)
    times = np.arange(0.5, last_state_time, 1.0)
    label = rng.integers(0, 3, len(times))
    everything = Interval(0.0, 60.0)
    pairs = [
        (time + offset, unit) for time, unit in zip(times, label, strict=True) for offset in rng.uniform(-0.4, 0.4, 8)
    ]
    pairs += [(time, int(unit)) for time, unit in zip(rng.uniform(0, 60, 100), rng.integers(0, 3, 100), strict=True)]
    pairs.sort()
    recording = Data(
        spikes=IrregularTimeSeries(
            np.array([time for time, _ in pairs]), unit_index=np.array([unit for _, unit in pairs]), domain=everything
        ),
        state=IrregularTimeSeries(times, label=label, domain=everything),
        units=ArrayDict(id=np.array(["a", "b", "c"])),
        brainset=Data(id="states"),
        session=Data(id="one"),
        domain=everything,
        train_domain=Interval(0.0, 36.0),
        valid_domain=Interval(36.0, 44.0),
        test_domain=Interval(44.0, 60.0),
    )
    (root / "states").mkdir()
    recording.save(root / "states" / "one.h5")
    return times, label


def test_classes_are_scored_by_balanced_accuracy(tmp_path):
    times, label = save_states(tmp_path)
    found = ridge_scores(tmp_path, {"config": {}}, STATE, window_length=1.0, bin_width=1.0, penalties=[1.0])
    recording = Data.load(tmp_path / "states" / "one.h5")
    spike_times, unit_index = np.asarray(recording.spikes.timestamps), np.asarray(recording.spikes.unit_index)
    features = counted(times, spike_times, unit_index, 3, 1, 1.0)
    test = times >= 44.0
    guess = predicted([(features[~test], np.eye(3)[label[~test]])], 1.0, features[test]).argmax(axis=1)
    truth = label[test]
    recalls = [np.mean(guess[truth == state] == state) for state in np.unique(truth)]
    assert found == {"states/one": pytest.approx(np.mean(recalls))}
    assert np.mean(recalls) > 0.8


def test_a_split_without_targets_is_an_error_with_recording_key_and_split(tmp_path):
    save_states(tmp_path, last_state_time=40.0)
    with pytest.raises(ValueError, match=r"recording 'states/one': no state\.label in its test split"):
        ridge_scores(tmp_path, {"config": {}}, STATE, window_length=1.0)


def test_the_scores_are_those_of_the_traces_in_their_times(recordings, multitask):
    from nd_data import Dataset
    from nd_eval import r2_score
    from nd_models import MODALITY_REGISTRY
    from nd_train.ridge_baseline import ridge_scores, ridge_traces

    spec = MODALITY_REGISTRY["cursor_velocity_2d"]
    traces = ridge_traces(recordings, multitask, spec, window_length=0.5)
    scores = ridge_scores(recordings, multitask, spec, window_length=0.5)
    assert sorted(traces) == sorted(scores)
    intervals = Dataset(recordings, config=multitask, split="test").get_sampling_intervals()
    for recording, trace in traces.items():
        assert scores[recording] == float(r2_score(trace.preds, trace.targets))
        assert float(trace.timestamps[0]) >= intervals[recording].start[0]
        assert float(trace.timestamps[-1]) < intervals[recording].end[-1]
        assert len(trace) == 1200

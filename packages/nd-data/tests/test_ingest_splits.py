"""Ways to split a recording."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nd_data import Data, Dataset, Interval, IrregularTimeSeries
from nd_data.ingest import FractionSplits, NamedSplits, TrialSplits, save_recording, set_splits
from nd_data.ingest.splits import kept_apart


def recording(**parts):
    """100 s, ten trials of 8 s every 10 s."""
    trials = Interval(np.arange(0.0, 100, 10), np.arange(0.0, 100, 10) + 8, kind=np.array(["go", "stop"] * 5))
    return Data(**{"trials": trials, **parts}, domain=Interval(0.0, 100.0))


def bounds(interval):
    return list(zip(interval.start.tolist(), interval.end.tolist(), strict=True))


def test_fractions_follow_one_another_in_time():
    data = recording()
    set_splits(data, FractionSplits())
    assert bounds(data.train_domain) == [(0.0, 70.0)]
    assert bounds(data.valid_domain) == [(70.0, pytest.approx(80.0))]
    assert bounds(data.test_domain) == [(pytest.approx(80.0), 100.0)]
    assert data.valid_domain.end[0] == data.test_domain.start[0]


def test_a_gap_is_taken_from_both_sides_of_a_border():
    data = recording()
    set_splits(data, FractionSplits(train=0.5, valid=0.0, test=0.5, gap=4.0))
    assert bounds(data.train_domain) == [(0.0, 48.0)]
    assert bounds(data.test_domain) == [(52.0, 100.0)]
    assert "valid_domain" not in data


def test_fractions_count_only_the_time_they_are_taken_of():
    wake = Interval([10.0, 60.0], [20.0, 90.0], label=["a", "b"])
    data = recording(wake=wake, invalid_times=Interval([80.0], [100.0]))
    set_splits(data, FractionSplits(train=0.5, valid=0.25, test=0.25, within="wake"))
    # 10 s and, less what is invalid, 20 s: 15, 7.5 and 7.5.
    assert bounds(data.train_domain) == [(10.0, 20.0), (60.0, 65.0)]
    assert bounds(data.valid_domain) == [(65.0, 72.5)]
    assert bounds(data.test_domain) == [(72.5, 80.0)]
    set_splits(data, FractionSplits(train=1.0, valid=0.0, test=0.0, within="wake:label=b", exclude=[]))
    assert bounds(data.train_domain) == [(60.0, 90.0)]
    assert "test_domain" not in data


def test_a_series_lends_its_domain():
    head = IrregularTimeSeries([40.0, 41.0], angle=[0.0, 1.0], domain=Interval(40.0, 50.0))
    data = recording(tracking=Data(head=head, domain=Interval(0.0, 100.0)))
    set_splits(data, FractionSplits(train=0.8, valid=0.0, test=0.2, within="tracking.head"))
    assert bounds(data.train_domain) + bounds(data.test_domain) == [(40.0, 48.0), (48.0, 50.0)]


@given(
    pieces=st.lists(st.tuples(st.floats(0.01, 50), st.floats(0.01, 50)), min_size=1, max_size=8),
    shares=st.tuples(st.integers(1, 8), st.integers(0, 8), st.integers(0, 8)),
    gap=st.sampled_from([0.0, 1e-3]),
)
def test_fractions_are_exact_ordered_and_exclusive(pieces, shares, gap):
    edges = np.cumsum(np.array(pieces).ravel())
    domain = Interval(edges[::2], edges[1::2])
    train, valid, test = (share / sum(shares) for share in shares)
    data = Data(domain=domain)
    try:
        domains = set_splits(data, FractionSplits(train=train, valid=valid, test=test, gap=gap))
    except ValueError as error:
        assume("has no time" not in str(error))
        raise
    assert list(domains) == [name for name, share in zip(("train", "valid", "test"), shares, strict=True) if share]
    total = float((domain.end - domain.start).sum())
    latest = -np.inf
    for name, share in zip(("train", "valid", "test"), (train, valid, test), strict=True):
        if name not in domains:
            continue
        mine = domains[name]
        assert mine.is_disjoint()
        assert mine.start[0] >= latest + gap * (np.isfinite(latest)) - 1e-9
        latest = mine.end[-1]
        # A split loses at most half a gap at each border, and slivers below the time tolerance.
        length = float((mine.end - mine.start).sum())
        assert share * total - gap * 1.001 - 1e-5 <= length <= share * total + 1e-6
        inside = mine & domain
        assert float((inside.end - inside.start).sum()) == pytest.approx(length)


def test_trials_stay_whole_and_in_order_of_time():
    data = recording()
    set_splits(data, TrialSplits(train=0.5, valid=0.2, test=0.3))
    trials = bounds(data.trials)
    assert bounds(data.train_domain) == trials[:5]
    assert bounds(data.valid_domain) == trials[5:7]
    assert bounds(data.test_domain) == trials[7:]


def test_trials_dealt_at_random_are_the_same_for_the_same_seed():
    dealt = []
    for seed in (0, 0, 1):
        data = recording()
        set_splits(data, TrialSplits(train=0.6, valid=0.2, test=0.2, shuffle_seed=seed))
        parts = [bounds(data.train_domain), bounds(data.valid_domain), bounds(data.test_domain)]
        assert [len(part) for part in parts] == [6, 2, 2]
        assert sorted([*parts[0], *parts[1], *parts[2]]) == bounds(data.trials)
        dealt.append(parts)
    assert dealt[0] == dealt[1]
    assert dealt[0] != dealt[2]


def test_trials_that_touch_give_way_to_the_gap_only_between_splits():
    data = Data(trials=Interval.arange(0.0, 40.0, 10.0), domain=Interval(0.0, 40.0))
    set_splits(data, TrialSplits(train=0.5, valid=0.25, test=0.25, gap=1.0))
    assert bounds(data.train_domain) == [(0.0, 10.0), (10.0, 19.5)]
    assert bounds(data.valid_domain) == [(20.5, 29.5)]
    assert bounds(data.test_domain) == [(30.5, 40.0)]


def test_trials_outside_the_domain_and_invalid_ones_belong_to_no_split():
    trials = Interval([-5.0, 0.0, 10.0, 20.0, 30.0, 95.0], [-1.0, 8.0, 18.0, 28.0, 38.0, 105.0])
    data = recording(trials=trials, invalid_times=Interval(15.0, 16.0))
    set_splits(data, TrialSplits(train=0.34, valid=0.33, test=0.33))
    assert bounds(data.train_domain) + bounds(data.valid_domain) + bounds(data.test_domain) == [
        (0.0, 8.0),
        (20.0, 28.0),
        (30.0, 38.0),
    ]


def test_named_intervals_make_the_splits():
    epochs = Interval([0.0, 50.0, 80.0], [50.0, 80.0, 100.0], tags=["sleep", "wake; open field", "rest"])
    data = recording(epochs=epochs)
    set_splits(data, NamedSplits(train=["epochs:tags=wake"], test=["epochs:tags=rest", "epochs:tags=sleep"], gap=2.0))
    assert bounds(data.train_domain) == [(51.0, 79.0)]
    assert bounds(data.test_domain) == [(0.0, 49.0), (81.0, 100.0)]
    assert "valid_domain" not in data


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [("number", "2", [20.0]), ("number", "2.0", [20.0]), ("correct", "true", [0.0, 20.0]), ("pair", "7", [10.0])],
)
def test_numbers_flags_and_lists_can_be_asked_for(column, value, expected):
    trials = Interval([0.0, 10.0, 20.0], [8.0, 18.0, 28.0], number=[0, 1, 2], correct=[True, False, True])
    trials.pair = np.array([[1, 2], [7, 2], [3, 4]])
    data = recording(trials=trials)
    set_splits(data, NamedSplits(train=[f"trials:{column}={value}"]))
    assert data.train_domain.start.tolist() == expected


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (lambda: FractionSplits(train=0.5), "must add up to 1.*0.5, 0.1, 0.2"),
        (lambda: FractionSplits(train=1.2, valid=-0.2, test=0.0), "none be negative"),
        (lambda: TrialSplits(gap=-1.0), "not negative, got -1.0"),
        (NamedSplits, "name the intervals of at least one"),
        (lambda: NamedSplits(train="epochs"), "train must be a list of texts, got the text 'epochs'"),
        (lambda: FractionSplits(exclude="epochs"), "exclude must be a list of texts"),
        (lambda: FractionSplits(within="trails"), "'trails' names no intervals.*trials"),
        (lambda: FractionSplits(within="trials:kind=got"), "selects nothing; did you mean 'go'"),
        (lambda: FractionSplits(within="trials:kin=go"), "no column 'kin'; did you mean 'kind'"),
        (lambda: FractionSplits(within="trials:kind"), "expected PATH or PATH:COLUMN=VALUE"),
        (lambda: FractionSplits(within="number"), "'number' is a int without a domain"),
        (lambda: FractionSplits(exclude=["everything"]), "no time to split in the domain"),
        (lambda: FractionSplits(gap=30.0), "split 'valid' has no time.*gap of 30.0 s"),
        (lambda: TrialSplits(trials="everything"), "too few for 3 splits"),
        (lambda: TrialSplits(trials="overlapping"), r"'overlapping' overlap, first \[0, 10\) and \[5, 15\)"),
        (lambda: NamedSplits(train=["trials"], test=["everything"]), "the splits overlap.*leak"),
        (lambda: NamedSplits(train=["trials"], test=["outside"]), "split 'test' has no time"),
    ],
)
def test_what_cannot_be_split_is_refused(splits, message):
    data = recording(
        everything=Interval(0.0, 100.0),
        outside=Interval(200.0, 300.0),
        overlapping=Interval([0.0, 5.0, 20.0, 30.0], [10.0, 15.0, 25.0, 35.0]),
        number=3,
    )
    with pytest.raises(ValueError, match=message):
        set_splits(data, splits())
    assert not {"train_domain", "valid_domain", "test_domain"} & {*data.keys()}


def test_data_without_a_domain_cannot_be_split():
    with pytest.raises(ValueError, match="without a domain"):
        set_splits(Data(), FractionSplits())


@given(
    steps=st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 5), st.integers(0, 2)), min_size=1, max_size=12),
    gap=st.floats(0, 4),
)
def test_whatever_is_kept_lies_a_gap_from_every_other_split(steps, gap):
    before, length, owner = (np.array(values) for values in zip(*steps, strict=True))
    end = np.cumsum(before + length)
    start = end - length
    kept_start, kept_end, kept_owner = kept_apart(start, end, owner, gap)
    for i in range(len(kept_start)):
        assert kept_end[i] > kept_start[i]
        # It is a part of one interval that was given, of the same owner.
        assert any(
            o == kept_owner[i] and s <= kept_start[i] and kept_end[i] <= e
            for s, e, o in zip(start, end, owner, strict=True)
        )
        for j in range(i):
            if kept_owner[i] != kept_owner[j]:
                assert kept_start[i] - kept_end[j] >= gap - 1e-9
    if len(set(owner)) == 1:
        np.testing.assert_array_equal(kept_start, start)


def test_windows_of_the_splits_pass_the_check_for_leaks(tmp_path):
    data = recording(brainset=Data(id="mine"), session=Data(id="monday"))
    data.spikes = IrregularTimeSeries(np.linspace(0, 99, 500), unit_index=np.zeros(500, int), domain=data.domain)
    set_splits(data, TrialSplits(shuffle_seed=3, gap=0.5))
    save_recording(data, tmp_path)
    for split in ("train", "valid", "test"):
        dataset = Dataset(tmp_path, split=split)
        (intervals,) = dataset.get_sampling_intervals().values()
        for start, end in intervals:
            assert len(dataset.get("mine/monday", start, end).spikes) > 0
        with pytest.raises(ValueError, match="leaves the"):
            dataset.get("mine/monday", float(intervals.start[0]), float(intervals.end[0]) + 1.0)

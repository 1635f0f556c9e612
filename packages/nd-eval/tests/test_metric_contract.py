"""What every metric class must do; a new one joins by a line."""

import copy
import pickle

import pytest
import torch
import torchmetrics

from nd_eval import (
    METRICS,
    Accuracy,
    BalancedAccuracy,
    BitsPerSpike,
    CircularCorrelation,
    CircularError,
    F1Score,
    MaskedMeanAbsoluteError,
    MaskedMeanSquaredError,
    MaskedPearsonCorrCoef,
    MaskedSMAPE,
    MeanAbsoluteError,
    MeanSquaredError,
    PearsonCorrCoef,
    PoissonPseudoR2,
    R2Score,
)

GENERATOR = torch.Generator().manual_seed(0)
CONTINUOUS = tuple(torch.randn(2, 60, 3, generator=GENERATOR).unbind(0))
CLASSES = tuple(torch.randint(0, 4, (2, 60), generator=GENERATOR).unbind(0))
ANGLES = (CONTINUOUS[0] * 3.0, CONTINUOUS[0] * 3.0 + 0.5 * CONTINUOUS[1] + 6.0)
COUNTS = (CONTINUOUS[0].exp(), torch.poisson(CONTINUOUS[0].exp(), generator=GENERATOR) + (CONTINUOUS[1] > 1))
SEQUENCES = tuple(torch.randn(2, 12, 5, 3, generator=GENERATOR).unbind(0))

DATA = {"continuous": CONTINUOUS, "classes": CLASSES, "angles": ANGLES, "counts": COUNTS, "sequences": SEQUENCES}

FAMILY = [
    (R2Score, {}, CONTINUOUS),
    (R2Score, {"multioutput": "raw_values"}, CONTINUOUS),
    (R2Score, {"num_outputs": 3}, CONTINUOUS),
    (PearsonCorrCoef, {}, CONTINUOUS),
    (MeanSquaredError, {}, CONTINUOUS),
    (MeanAbsoluteError, {}, CONTINUOUS),
    (Accuracy, {}, CLASSES),
    (Accuracy, {"num_classes": 4}, CLASSES),
    (BalancedAccuracy, {}, CLASSES),
    (MaskedMeanSquaredError, {"reduction": "flatten"}, SEQUENCES),
    (MaskedMeanAbsoluteError, {}, SEQUENCES),
    (MaskedSMAPE, {"reduction": "between-seq"}, SEQUENCES),
    (MaskedPearsonCorrCoef, {}, SEQUENCES),
    (F1Score, {}, CLASSES),
    (F1Score, {"average": "micro"}, CLASSES),
    (F1Score, {"average": "none", "num_classes": 4}, CLASSES),
    (CircularError, {"period": 2.0}, ANGLES),
    (CircularCorrelation, {"num_outputs": 3}, ANGLES),
    (BitsPerSpike, {"null_rates": torch.tensor([0.5, 1.0, 2.0])}, COUNTS),
    (PoissonPseudoR2, {"average": "deviance_weighted"}, COUNTS),
    (PoissonPseudoR2, {"average": "raw_values"}, COUNTS),
    *((lambda name=name: METRICS[name].build(None, None), {}, DATA[spec.targets]) for name, spec in METRICS.items()),
]
every_metric = pytest.mark.parametrize(("make", "options", "pair"), FAMILY)


def whole(make, options, pair):
    metric = make(**options)
    metric.update(*pair)
    return metric.compute()


@every_metric
def test_the_value_is_that_of_the_whole_however_it_was_batched(make, options, pair):
    metric = make(**options)
    for start, stop in ((5, 9), (0, 5), (9, 60)):
        metric.update(*(x[start:stop] for x in pair))
    torch.testing.assert_close(metric.compute(), whole(make, options, pair), rtol=1e-12, atol=1e-12)


@every_metric
def test_forward_gives_the_value_of_the_batch_and_keeps_the_whole(make, options, pair):
    metric = make(**options)
    first, second = tuple(x[:4] for x in pair), tuple(x[4:] for x in pair)
    torch.testing.assert_close(metric(*first), whole(make, options, first), rtol=1e-12, atol=1e-12, equal_nan=True)
    torch.testing.assert_close(metric(*second), whole(make, options, second), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(metric.compute(), whole(make, options, pair), rtol=1e-12, atol=1e-12)


@every_metric
@pytest.mark.parametrize("shares", [(0, 60), (60, 0), (1, 59), (30, 30)])
def test_ranks_together_have_the_value_of_the_whole_also_if_one_has_no_data(make, options, pair, shares):
    """Torchmetrics' own synchronisation, with the other rank's state in place of a collective."""
    ranks = [make(**options) for _ in shares]
    parts = (tuple(x[: shares[0]] for x in pair), tuple(x[shares[0] :] for x in pair))
    for metric, part in zip(ranks, parts, strict=True):
        if len(part[0]):
            metric.update(*part)
    sent = [
        torch.cat(list(metric.records)) if metric.records else torch.tensor([], dtype=metric.dtype) for metric in ranks
    ]
    for metric, mine, other in ((ranks[0], sent[0], sent[1]), (ranks[1], sent[1], sent[0])):
        received = []

        def gather(state, group=None, received=received, other=other):
            received.append(state)
            return [state, other]

        with metric.sync_context(dist_sync_fn=gather, distributed_available=lambda: True):
            value = metric._value(metric._merge(metric._tables()))
        assert torch.equal(received[0], mine)
        assert received[0].dtype == torch.float64  # what an empty rank sends must fit what the others send
        torch.testing.assert_close(value, whole(make, options, pair), rtol=1e-12, atol=1e-12)


@every_metric
def test_states_merge(make, options, pair):
    first, second = make(**options), make(**options)
    first.update(*(x[:7] for x in pair))
    second.update(*(x[7:] for x in pair))
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), whole(make, options, pair), rtol=1e-12, atol=1e-12)


@every_metric
def test_copies_and_pickles_go_on_where_the_metric_was(make, options, pair):
    metric = make(**options)
    metric.update(*(x[:20] for x in pair))
    for twin in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):  # noqa: S301 our own bytes
        twin.update(*(x[20:] for x in pair))
        torch.testing.assert_close(twin.compute(), whole(make, options, pair), rtol=1e-12, atol=1e-12)


@every_metric
def test_a_reset_metric_is_as_new(make, options, pair):
    metric = make(**options)
    metric.update(*(x[:20] for x in pair))
    metric.reset()
    metric.update(*pair)
    torch.testing.assert_close(metric.compute(), whole(make, options, pair))


@every_metric
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_a_metric_of_nothing_is_nan(make, options, pair):
    assert make(**options).compute().isnan().all()


@every_metric
def test_memory_does_not_grow_with_the_length_of_the_data(make, options, pair):
    metric = make(**options)
    if pair is SEQUENCES:
        longer = tuple(x.repeat(1, 20, 1) for x in pair)
    else:
        longer = tuple(x.repeat(20, *(1 for _ in x.shape[1:])) for x in pair)
    short = make(**options)
    short.update(*pair)
    metric.update(*longer)
    assert sum(x.numel() for x in metric.records) == sum(x.numel() for x in short.records)


@every_metric
def test_a_metric_says_whether_larger_is_better(make, options, pair):
    metric = make(**options)
    assert isinstance(metric, torchmetrics.Metric)
    perfect, poor = make(**options), make(**options)
    perfect.update(pair[1], pair[1])
    poor.update(pair[1].flip(0), pair[1])
    assert bool((perfect.compute() > poor.compute()).all()) is metric.higher_is_better
    assert bool((perfect.compute() < poor.compute()).all()) is not metric.higher_is_better


@every_metric
def test_the_value_of_a_pair_alone_leaves_the_metric_as_it_was(make, options, pair):
    metric = make(**options)
    metric.update(*(x[:7] for x in pair))
    before = metric.compute()
    torch.testing.assert_close(metric.value_of(*pair), whole(make, options, pair), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(metric.compute(), before)


@every_metric
def test_sums_over_time_give_the_value_of_any_choice_of_times(make, options, pair):
    """What a bootstrap relies on: the metric of resampled times is a function of their summed rows."""
    metric = make(**options)
    statistics = metric.additive_statistics(*pair)
    if pair is SEQUENCES or whole(make, options, pair).ndim:
        assert statistics is None
        return
    generator = torch.Generator().manual_seed(2)
    ways = torch.randint(0, 60, (5, 60), generator=generator)
    rows = statistics.rows(*pair)
    values = statistics.value(torch.stack([rows[way].sum(0) for way in ways]))
    expected = torch.stack([whole(make, options, tuple(x[way] for x in pair)) for way in ways])
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-9)

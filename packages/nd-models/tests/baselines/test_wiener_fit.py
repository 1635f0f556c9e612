"""The Wiener filter in closed form, against `RidgeDecoder` and against least squares on augmented equations."""

import dataclasses

import numpy as np
import pytest
import torch

from nd_data import ArrayDict, Data, Interval, IrregularTimeSeries, collate
from nd_models import MODALITY_REGISTRY, DataType, ModalitySpec, RidgeDecoder, WienerDecoder, lagged
from nd_models.baselines.wiener_fit import CrossProducts
from nd_models.loss import BinaryCrossEntropyLoss

BIN, BINS = 0.1, 30
VELOCITY = MODALITY_REGISTRY["cursor_velocity_2d"]


def window(counts: np.ndarray, targets: np.ndarray, *, session: str = "a/1", times=None, **config) -> Data:
    """A window whose bins hold these counts, (T, U), with targets at the bins' middles."""
    bins, units = counts.shape
    spikes = [
        (bin_ * BIN + BIN * (k + 0.5) / counts[bin_, unit], unit)
        for bin_ in range(bins)
        for unit in range(units)
        for k in range(counts[bin_, unit])
    ]
    spikes.sort()
    domain = Interval(0.0, bins * BIN)
    data = Data(
        spikes=IrregularTimeSeries(
            timestamps=np.array([time for time, _ in spikes]),
            unit_index=np.array([unit for _, unit in spikes], dtype=np.int64),
            domain=domain,
        ),
        units=ArrayDict(id=np.array([f"{session}/unit_{unit}" for unit in range(units)])),
        cursor=IrregularTimeSeries(
            timestamps=(np.arange(bins) + 0.5) * BIN if times is None else times, vel=targets, domain=domain
        ),
        session=Data(id=session),
        reach=Interval(np.array([0.0]), np.array([1.0])),
        domain=domain,
    )
    data.config = {"multitask_readout": [{"readout_id": "cursor_velocity_2d", **config}]}
    return data


def in_single_precision(targets: np.ndarray) -> np.ndarray:
    """As tokens hold them."""
    return targets.astype(np.float32).astype(np.float64)


def segments(count: int, units: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    tuning = rng.normal(size=(2 * units, 2))
    parts = []
    for _ in range(count):
        counts = rng.poisson(1.5, (BINS, units))
        counts[:, 0] = 2  # a unit that never changes
        targets = lagged(counts, (0, 1)) @ tuning + rng.normal(size=(BINS, 2)) + [30.0, -5.0]
        parts.append((counts, in_single_precision(targets)))
    return parts


def build(lags, units: dict[str, int], **changes) -> WienerDecoder:
    arguments = {"readout_specs": {"cursor_velocity_2d": VELOCITY}, **changes}
    model = WienerDecoder(sequence_length=BINS * BIN, bin_size=BIN, lags=lags, **arguments)
    model.unit_emb.initialize_vocab(
        [f"{session}/unit_{unit}" for session, count in units.items() for unit in range(count)]
    )
    model.session_emb.initialize_vocab(list(units))
    return model


def batches(model: WienerDecoder, windows: list[Data], size: int = 2) -> list[dict]:
    tokens = [model.tokenize(one) for one in windows]
    return [collate(tokens[start : start + size]) for start in range(0, len(tokens), size)]


def predict(model: WienerDecoder, counts: np.ndarray, session: str) -> np.ndarray:
    batch = collate([model.tokenize(window(counts, np.zeros((len(counts), 2)), session=session))])
    with torch.no_grad():
        return model.eval()(**batch["model_inputs"])["cursor_velocity_2d"].numpy()


@pytest.mark.parametrize("lags", [4, (-2, 0, 3)])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 300.0])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_each_session_gets_the_weights_of_its_ridge_regression(lags, penalty, interpolation):
    parts = {"a/1": segments(5, 6, seed=0), "a/2": segments(4, 3, seed=1)}
    model = build(lags, {"a/1": 6, "a/2": 3}, interpolation=interpolation)
    windows = [window(*part, session=session) for session in parts for part in parts[session]]
    fit = model.fit(batches(model, windows), penalties=[penalty])
    assert fit.penalties == {session: {"cursor_velocity_2d": penalty} for session in parts}
    assert fit.validation_r2 == {}
    for session, learnt in parts.items():
        oracle = RidgeDecoder(lags=lags, penalties=[penalty]).fit(learnt)
        for counts, _ in (*learnt, *segments(2, learnt[0][0].shape[1], seed=7)):
            np.testing.assert_allclose(predict(model, counts, session), oracle.predict(counts), rtol=1e-4, atol=1e-3)


def test_in_double_precision_the_weights_are_equal_to_the_last_digits():
    parts = segments(5, 6, seed=0)
    model = build(3, {"a/1": 6}).double()
    model.fit(batches(model, [window(*part) for part in parts]), penalties=[10.0])
    oracle = RidgeDecoder(lags=3, penalties=[10.0]).fit(parts)
    for counts, _ in parts:
        np.testing.assert_allclose(predict(model, counts, "a/1"), oracle.predict(counts), rtol=1e-10, atol=1e-10)


def test_the_penalty_is_the_one_that_ridge_regression_chooses_on_the_same_validation():
    rng = np.random.default_rng(3)
    parts = [
        (counts, in_single_precision(targets + 6 * rng.normal(size=targets.shape)))
        for counts, targets in segments(6, 6, seed=0)
    ]
    penalties = [1e-2, 1.0, 30.0, 1e3, 1e5]
    oracle = RidgeDecoder(lags=5, penalties=penalties).fit(parts[:4], validation=parts[4:])
    model = build(5, {"a/1": 6})
    fit = model.fit(
        batches(model, [window(*part) for part in parts[:4]]),
        batches(model, [window(*part) for part in parts[4:]]),
        penalties=penalties,
    )
    assert fit.penalties["a/1"]["cursor_velocity_2d"] == oracle.penalty
    assert oracle.penalty not in (penalties[0], penalties[-1])
    targets = np.concatenate([values for _, values in parts[4:]])
    errors = targets - np.concatenate([oracle.predict(counts) for counts, _ in parts[4:]])
    expected = np.mean(1 - (errors**2).sum(0) / ((targets - targets.mean(0)) ** 2).sum(0))
    assert fit.validation_r2["a/1"]["cursor_velocity_2d"] == pytest.approx(expected, rel=1e-6)


def test_weights_of_time_points_count_as_repeating_them_does():
    parts = segments(3, 4, seed=2)
    model = build(2, {"a/1": 4}).double()
    model.fit(batches(model, [window(*part, weights={"reach": 3.0}) for part in parts]), penalties=[5.0])
    features = np.concatenate([lagged(counts, 2) for counts, _ in parts])
    targets = np.concatenate([values for _, values in parts])
    early = np.tile((np.arange(BINS) + 0.5) * BIN < 1.0, 3)
    again = np.concatenate([np.arange(len(early)), np.flatnonzero(early), np.flatnonzero(early)])
    oracle = RidgeDecoder(lags=1, penalties=[5.0]).fit([(features[again], targets[again])])
    found = np.concatenate([predict(model, counts, "a/1") for counts, _ in parts])
    np.testing.assert_allclose(found, oracle.predict(features), rtol=1e-9, atol=1e-9)


def test_targets_between_bins_are_regressed_on_interpolated_counts():
    times = np.sort(np.random.default_rng(5).uniform(0.1, 2.9, BINS))
    parts = segments(3, 4, seed=2)
    model = build(2, {"a/1": 4}).double()
    model.fit(batches(model, [window(*part, times=times) for part in parts]), penalties=[5.0])
    middles = (np.arange(BINS) + 0.5) * BIN
    features = [
        np.stack([np.interp(times, middles, column) for column in lagged(counts, 2).T], axis=1) for counts, _ in parts
    ]
    oracle = RidgeDecoder(lags=1, penalties=[5.0]).fit(list(zip(features, [v for _, v in parts], strict=True)))
    with torch.no_grad():
        batch = batches(model, [window(*parts[0], times=times)])[0]
        found = model(**batch["model_inputs"])["cursor_velocity_2d"].numpy()
    np.testing.assert_allclose(found, oracle.predict(features[0]), rtol=1e-9, atol=1e-9)


def test_yes_and_no_are_told_by_the_sign():
    spec = ModalitySpec(1, 1, DataType.BINARY, "cursor.timestamps", "cursor.vel", BinaryCrossEntropyLoss())
    rng = np.random.default_rng(0)
    parts = [(counts, (counts[:, 1] > 1).astype(np.int64)) for counts in rng.poisson(1.5, (6, BINS, 4))]
    model = build(1, {"a/1": 4}, readout_specs={"cursor_velocity_2d": spec})
    model.fit(batches(model, [window(*part) for part in parts]), penalties=[1.0])
    oracle = RidgeDecoder(lags=1, penalties=[1.0]).fit([(counts, 2.0 * values - 1.0) for counts, values in parts])
    for counts, values in parts:
        with torch.no_grad():
            batch = collate([model.tokenize(window(counts, values))])
            found = model(**batch["model_inputs"])["cursor_velocity_2d"].numpy()
        np.testing.assert_allclose(found, oracle.predict(counts), rtol=1e-4, atol=1e-4)
        assert ((found[:, 0] > 0) == (values == 1)).mean() > 0.8


def test_classes_are_told_by_the_largest():
    spec = dataclasses.replace(MODALITY_REGISTRY["drifting_gratings_orientation"], dim=3, value_key="cursor.vel")
    spec = dataclasses.replace(spec, timestamp_key="cursor.timestamps")
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, (6, BINS))
    parts = [(rng.poisson(1 + 6 * np.eye(3)[one]).astype(np.int64), one) for one in classes]
    model = build(1, {"a/1": 3}, readout_specs={"cursor_velocity_2d": spec})
    model.fit(batches(model, [window(*part) for part in parts]), penalties=[1.0])
    for counts, values in parts:
        with torch.no_grad():
            batch = collate([model.tokenize(window(counts, values))])
            found = model(**batch["model_inputs"])["cursor_velocity_2d"].numpy()
        assert found.shape == (BINS, 3)
        assert (found.argmax(axis=1) == values).mean() > 0.9


def test_sums_of_products_do_not_depend_on_how_they_were_cut():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=(50, 4)) + 1e6, rng.uniform(0, 2, 50)
    weights[10:20] = 0.0
    whole, parts = CrossProducts(), CrossProducts()
    whole.add(values, weights)
    for cut in np.split(np.arange(50), [3, 10, 20, 41]):
        parts.add(values[cut], weights[cut])
    mean = np.average(values, axis=0, weights=weights)
    np.testing.assert_allclose(parts.mean, mean, rtol=1e-14)
    expected = (values - mean).T @ (weights[:, None] * (values - mean))
    np.testing.assert_allclose(parts.centred, expected, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(whole.centred, expected, rtol=1e-7, atol=1e-7)


def test_units_without_data_get_no_weight():
    model = build(2, {"a/1": 4, "a/2": 2})
    model.fit(batches(model, [window(*part) for part in segments(2, 4, seed=0)]), penalties=[1.0])
    assert model.unit_emb.weight[5:].abs().max() == 0
    assert model.session_emb.weight[2].abs().max() == 0
    assert model.unit_emb.weight[2:5].abs().max() > 0


def test_what_cannot_be_fitted_says_why():
    parts = segments(2, 4, seed=0)
    model = build(2, {"a/1": 4, "a/2": 4})
    good = batches(model, [window(*part) for part in parts])
    with pytest.raises(ValueError, match="8 penalties need validation batches"):
        model.fit(good)
    with pytest.raises(ValueError, match="penalties must be one or more numbers of at least 0"):
        model.fit(good, penalties=[-1.0])
    with pytest.raises(ValueError, match="nothing to learn from"):
        model.fit([], penalties=[1.0])
    other = batches(model, [window(*part, session="a/2") for part in parts])
    with pytest.raises(ValueError, match="session 'a/1' has no cursor_velocity_2d in the validation batches"):
        model.fit(good, other, penalties=[1.0, 2.0])
    broken = [(counts, np.where(targets > 31, np.nan, targets)) for counts, targets in parts]
    with pytest.raises(
        ValueError, match=r"recording 'a/1': targets of cursor_velocity_2d hold values that are not finite"
    ):
        model.fit(batches(model, [window(*part) for part in broken]), penalties=[1.0])
    fewer = [window(counts[:, :3], targets) for counts, targets in parts]
    with pytest.raises(ValueError, match=r"windows of session 'a/1' have different units, first 'a/1/unit_3'"):
        model.fit([*good, *batches(model, fewer)], penalties=[1.0])
    shared = [window(*part, session="a/2") for part in parts]
    for one in shared:
        one.units.id = window(*parts[0]).units.id
    with pytest.raises(ValueError, match="sessions 'a/1' and 'a/2' share the unit 'a/1/unit_0'"):
        model.fit([*good, *batches(model, shared)], penalties=[1.0])
    fresh = WienerDecoder(sequence_length=1.0, bin_size=0.1, readout_specs=["cursor_velocity_2d"])
    with pytest.raises(ValueError, match="unit vocabulary is not initialised"):
        fresh.fit(good, penalties=[1.0])

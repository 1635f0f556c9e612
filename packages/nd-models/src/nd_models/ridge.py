"""Ridge regression on lagged spike counts: the decoder that every other has to beat.

Shapes: T time bins, U units, L lags, F = L·U features, C channels.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Segment = tuple[ArrayLike, ArrayLike]

DEFAULT_PENALTIES = tuple(float(10.0**power) for power in range(-1, 7))


def lagged(counts: ArrayLike, lags: int | Sequence[int]) -> NDArray[np.float64]:
    """Put the counts of several bins side by side, for one segment without gaps.

    Args:
        counts: Spike counts of consecutive bins. Shape: (T, U).
        lags: How many bins back each feature looks: a sequence (negative = ahead), or a number n for 0, 1, …, n − 1.

    Returns:
        Shape (T, L·U), float64; lag by lag. Bins before the first and after the last count as silent.

    Raises:
        ValueError: counts are not two-dimensional, or there is no lag.

    >>> lagged([[1], [2], [3]], 2)
    array([[1., 0.],
           [2., 1.],
           [3., 2.]])
    """
    array = np.asarray(counts, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"counts must have shape (bins, units), got {array.shape}")
    shifts = checked_lags(lags)
    bins, units = array.shape
    features = np.zeros((bins, len(shifts), units))
    for column, lag in enumerate(shifts):
        if lag >= 0:
            features[lag:, column] = array[: max(bins - lag, 0)]
        else:
            features[: max(bins + lag, 0), column] = array[-lag:]
    return features.reshape(bins, len(shifts) * units)


def checked_lags(lags: int | Sequence[int]) -> tuple[int, ...]:
    """The lags as a tuple; a number n stands for 0, 1, …, n − 1.

    Raises:
        ValueError: there is no lag, or one comes twice.
    """
    shifts = tuple(range(lags)) if isinstance(lags, int) else tuple(int(lag) for lag in lags)
    if not shifts or len(set(shifts)) != len(shifts):
        raise ValueError(f"lags must be a positive number or distinct whole numbers, got {lags!r}")
    return shifts


class RidgeDecoder:
    """Linear decoder with a squared penalty on its weights, in closed form, in float64.

    Features are standardised (units that never change are left out of it), targets are centred, so that the intercept
    is not penalised. For penalty λ the weights minimise ‖Y − XW‖² + λ‖W‖².

    Args:
        lags: As for `lagged`; by default only the bin of the target, for counts that are lagged already.
        penalties: The values of λ to try; the best on the validation segments stays.

    >>> rng = np.random.default_rng(0)
    >>> counts = rng.poisson(2.0, (200, 5))
    >>> targets = counts @ rng.normal(size=(5, 2))
    >>> decoder = RidgeDecoder(lags=1, penalties=[1e-6]).fit([(counts, targets)])
    >>> bool(np.allclose(decoder.predict(counts), targets, atol=1e-5))
    True
    """

    penalty: float
    """The chosen λ."""
    weights: NDArray[np.float64]
    """For standardised features. Shape: (F, C)."""
    intercept: NDArray[np.float64]
    """Shape: (C,)."""

    def __init__(self, lags: int | Sequence[int] = 1, penalties: Sequence[float] = DEFAULT_PENALTIES) -> None:
        self.lags = checked_lags(lags)
        self.penalties = tuple(float(penalty) for penalty in penalties)
        if not self.penalties or not all(0 <= penalty < np.inf for penalty in self.penalties):
            raise ValueError(f"penalties must be one or more numbers of at least 0, got {penalties!r}")
        self._mean: NDArray[np.float64] | None = None
        self._scale: NDArray[np.float64] = np.ones(0)

    def fit(self, segments: Iterable[Segment], validation: Iterable[Segment] | None = None) -> "RidgeDecoder":
        """Learn from segments of consecutive bins; lags never reach from one segment into another.

        Args:
            segments: Pairs of counts, shape (T, U), and targets, shape (T, C) or (T,).
            validation: Segments to choose the penalty on, by the mean over channels of R². Where None and there are
                several penalties, the last fifth of the bins of `segments`, in their order, chooses, and the weights
                are then learnt from all of them.

        Returns:
            Itself.

        Raises:
            ValueError: shapes do not fit, or there is no bin.
        """
        training = [_checked(segment) for segment in segments]
        if not training or sum(len(counts) for counts, _ in training) == 0:
            raise ValueError("there is no bin to learn from")
        if validation is not None:
            choosing, learning = [_checked(segment) for segment in validation], training
        elif len(self.penalties) > 1:
            learning, choosing = _split_in_time(training, 0.8)
        else:
            learning, choosing = training, []
        solutions = self._solve(learning, self.penalties)
        best = 0
        if len(self.penalties) > 1:
            best = int(np.argmax([self._score(choosing, weights) for weights in solutions]))
        self.penalty = self.penalties[best]
        self.weights = solutions[best]
        if learning is not training:
            (self.weights,) = self._solve(training, (self.penalty,))
        return self

    def predict(self, counts: ArrayLike) -> NDArray[np.float64]:
        """Decode one segment of consecutive bins. Shape: (T, U) to (T, C).

        Raises:
            ValueError: not fitted yet, or another number of units.
        """
        if self._mean is None:
            raise ValueError("the decoder is not fitted yet: call fit(segments) first")
        return self._predict(np.asarray(counts), self.weights)

    def _predict(self, counts: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        features = lagged(counts, self.lags)
        mean = self._mean
        if mean is None or features.shape[1] != len(mean):
            known = 0 if mean is None else len(mean) // len(self.lags)
            raise ValueError(f"the decoder knows {known} units, the counts have shape {np.shape(counts)}")
        prediction: NDArray[np.float64] = (features - mean) / self._scale @ weights + self.intercept
        return prediction

    def _solve(self, segments: list[tuple[NDArray[Any], NDArray[np.float64]]], penalties: Sequence[float]) -> list[Any]:
        features = np.concatenate([lagged(counts, self.lags) for counts, _ in segments])
        targets = np.concatenate([values for _, values in segments])
        self._mean = features.mean(axis=0)
        deviation = features.std(axis=0)
        # A feature that never changes says nothing; dividing by one leaves it at zero.
        self._scale = np.where(deviation > 0, deviation, 1.0)
        self.intercept = targets.mean(axis=0)
        standardised = features
        standardised -= self._mean
        standardised /= self._scale
        # One decomposition serves all penalties: (XᵀX + λ)⁻¹ XᵀY = V (Λ + λ)⁻¹ Vᵀ XᵀY.
        eigenvalues, vectors = np.linalg.eigh(standardised.T @ standardised)
        eigenvalues = np.maximum(eigenvalues, 0.0)
        projected = vectors.T @ (standardised.T @ (targets - self.intercept))
        # Without a penalty, directions that the features do not span get no weight (the pseudo-inverse).
        negligible = eigenvalues.max(initial=0.0) * len(eigenvalues) * np.finfo(np.float64).eps
        solutions = []
        for penalty in penalties:
            divisor = eigenvalues + penalty
            inverse = np.where(divisor > negligible, 1.0 / np.maximum(divisor, negligible or 1.0), 0.0)
            solutions.append(vectors @ (inverse[:, None] * projected))
        return solutions

    def _score(self, segments: list[tuple[NDArray[Any], NDArray[np.float64]]], weights: NDArray[np.float64]) -> float:
        if not segments:
            return 0.0
        targets = np.concatenate([values for _, values in segments])
        errors = targets - np.concatenate([self._predict(counts, weights) for counts, _ in segments])
        spread = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
        varying = spread > 0
        shares = (errors**2).sum(axis=0)[varying] / spread[varying]
        return float(1.0 - shares.mean()) if varying.any() else -float((errors**2).sum())


def _checked(segment: Segment) -> tuple[NDArray[Any], NDArray[np.float64]]:
    counts, targets = np.asarray(segment[0]), np.asarray(segment[1], dtype=np.float64)
    if targets.ndim == 1:
        targets = targets[:, None]
    if counts.ndim != 2 or targets.ndim != 2 or len(counts) != len(targets):
        raise ValueError(
            f"counts (bins, units) and targets (bins, channels) do not fit: {counts.shape}, {targets.shape}"
        )
    if not np.isfinite(targets).all():
        raise ValueError("targets hold values that are not finite; leave those bins out")
    return counts, targets


def _split_in_time(
    segments: list[tuple[NDArray[Any], NDArray[np.float64]]], share: float
) -> tuple[list[tuple[NDArray[Any], NDArray[np.float64]]], list[tuple[NDArray[Any], NDArray[np.float64]]]]:
    first_bins = int(share * sum(len(counts) for counts, _ in segments))
    before, after = [], []
    for counts, targets in segments:
        cut = min(max(first_bins, 0), len(counts))
        first_bins -= len(counts)
        if cut:
            before.append((counts[:cut], targets[:cut]))
        if cut < len(counts):
            after.append((counts[cut:], targets[cut:]))
    return before, after

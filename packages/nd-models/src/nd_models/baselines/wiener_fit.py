"""Ridge regression of every session and task out of one pass over batches, in float64.

Shapes: n time points, U units of a session, L lags, F = L·U features, C channels of a task.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nd_models.baselines.bins import read_bins
from nd_models.modality import DataType, ModalitySpec
from nd_models.ridge import lagged

if TYPE_CHECKING:
    from nd_models.baselines.wiener import WienerDecoder

FloatArray = NDArray[np.float64]
Key = tuple[int, str]


@dataclass(frozen=True)
class WienerFit:
    """What `WienerDecoder.fit` found.

    Attributes:
        penalties: λ by session and task.
        validation_r2: R² on the validation batches by session and task; empty without such batches.
    """

    penalties: dict[str, dict[str, float]]
    validation_r2: dict[str, dict[str, float]]


@dataclass
class CrossProducts:
    """Weighted sums of products of features and targets about their means, built up batch by batch.

    Batches are joined by the rule of Chan et al. (1979), which loses no digits to large means.

    Attributes:
        weight: Sum of the weights.
        mean: Means of the F features and then the C targets. Shape: (F + C,).
        centred: Σ w·(z − mean)·(z − mean)ᵀ. Shape: (F + C, F + C).
    """

    weight: float = 0.0
    mean: FloatArray = field(default_factory=lambda: np.zeros(0))
    centred: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))

    def add(self, values: FloatArray, weights: FloatArray) -> None:
        """Take in time points. Shapes: (n, F + C) and (n,)."""
        total = float(weights.sum())
        if total <= 0.0:
            return
        mean = weights @ values / total
        deviations = values - mean
        centred = deviations.T @ (weights[:, None] * deviations)
        if self.weight == 0.0:
            self.weight, self.mean, self.centred = total, mean, centred
            return
        joined = self.weight + total
        step = mean - self.mean
        self.centred += centred + np.outer(step, step) * (self.weight * total / joined)
        self.mean = self.mean + step * (total / joined)
        self.weight = joined


def fit_wiener(
    model: "WienerDecoder",
    batches: Iterable[Mapping[str, Any]],
    validation: Iterable[Mapping[str, Any]] | None,
    penalties: Sequence[float],
) -> WienerFit:
    """See `WienerDecoder.fit`."""
    tried = tuple(float(penalty) for penalty in penalties)
    if not tried or not all(0 <= penalty < np.inf for penalty in tried):
        raise ValueError(f"penalties must be one or more numbers of at least 0, got {penalties!r}")
    if validation is None and len(tried) > 1:
        raise ValueError(f"{len(tried)} penalties need validation batches to choose among them; or give one penalty")
    for embedding in (model.unit_emb, model.session_emb):
        if embedding.vocab is None:
            raise ValueError(f"the {embedding.kind} vocabulary is not initialised; call initialize_vocab(names) first")
    units: dict[int, NDArray[np.int64]] = {}
    learning = _gather(model, batches, units, use_eval_mask=False)
    if not learning:
        raise ValueError("there is nothing to learn from: no time point of any task in the batches")
    _refuse_shared_units(model, units)
    choosing = {} if validation is None else _gather(model, validation, units, use_eval_mask=True)

    chosen: dict[str, dict[str, float]] = {}
    scores: dict[str, dict[str, float]] = {}
    unit_weights = torch.zeros_like(model.unit_emb.weight, dtype=torch.float64, device="cpu")
    intercepts = torch.zeros_like(model.session_emb.weight, dtype=torch.float64, device="cpu")
    channels = model.channels
    for (session, task), products in learning.items():
        features = len(units[session]) * len(model.lags)
        solutions = [ridge_solution(products, features, penalty) for penalty in tried]
        name = model.session_emb.detokenizer(session)
        best = 0
        held_out = choosing.get((session, task))
        if held_out is not None:
            found = [explained(held_out, features, *solution) for solution in solutions]
            best = int(np.argmax(found))
            scores.setdefault(name, {})[task] = found[best]
        elif len(tried) > 1:
            raise ValueError(
                f"session {name!r} has no {task} in the validation batches, so that no penalty can be chosen; add it, "
                "or give one penalty"
            )
        chosen.setdefault(name, {})[task] = tried[best]
        weights, intercept = solutions[best]
        # Features run lag by lag, units within; a unit's vector has the lags, channels within.
        by_unit = weights.reshape(len(model.lags), len(units[session]), -1).transpose(1, 0, 2)
        rows = torch.from_numpy(units[session])
        lagged_channels = unit_weights[rows].view(len(rows), len(model.lags), -1)
        lagged_channels[:, :, channels[task]] = torch.from_numpy(np.ascontiguousarray(by_unit))
        unit_weights[rows] = lagged_channels.flatten(1)
        intercepts[session, channels[task]] = torch.from_numpy(intercept)
    with torch.no_grad():
        model.unit_emb.weight.copy_(unit_weights)
        model.session_emb.weight.copy_(intercepts)
    return WienerFit(chosen, scores)


def ridge_solution(products: CrossProducts, features: int, penalty: float) -> tuple[FloatArray, FloatArray]:
    """Weights of features as they come, shape (F, C), and intercepts, shape (C,).

    Args:
        products: Of F features and C targets.
        features: F.
        penalty: λ, for standardised features.
    """
    squares = products.centred[:features, :features]
    variance = np.diagonal(squares) / products.weight
    mean, target_mean = products.mean[:features], products.mean[features:]
    # A feature that never changes says nothing; what rounding leaves of its variance is no change.
    constant = variance <= 1e-20 + 1e-24 * mean**2
    scale = np.where(constant, 1.0, np.sqrt(np.where(constant, 1.0, variance)))
    standardised = np.where(constant[:, None] | constant, 0.0, squares / np.outer(scale, scale))
    wanted = np.where(constant[:, None], 0.0, products.centred[:features, features:] / scale[:, None])
    eigenvalues, vectors = np.linalg.eigh(standardised)
    divisor = np.maximum(eigenvalues, 0.0) + penalty
    # Without a penalty, directions that the features do not span get no weight (the pseudo-inverse).
    negligible = max(float(eigenvalues.max(initial=0.0)), 0.0) * features * np.finfo(np.float64).eps
    inverse = np.where(divisor > negligible, 1.0 / np.maximum(divisor, negligible or 1.0), 0.0)
    weights: FloatArray = (vectors @ (inverse[:, None] * (vectors.T @ wanted))) / scale[:, None]
    return weights, target_mean - mean @ weights


def explained(products: CrossProducts, features: int, weights: FloatArray, intercept: FloatArray) -> float:
    """The mean over channels that vary of R², from sums of products alone."""
    targets = products.centred[features:, features:]
    cross = products.centred[:features, features:]
    offset = products.mean[features:] - products.mean[:features] @ weights - intercept
    squares = np.einsum("fc,fg,gc->c", weights, products.centred[:features, :features], weights, optimize=True)
    errors = np.diagonal(targets) - 2 * np.einsum("fc,fc->c", weights, cross) + squares + products.weight * offset**2
    spread = np.diagonal(targets)
    varying = spread > 0
    return float(1.0 - (errors[varying] / spread[varying]).mean()) if varying.any() else -float(errors.sum())


def _gather(
    model: "WienerDecoder",
    batches: Iterable[Mapping[str, Any]],
    units: dict[int, NDArray[np.int64]],
    *,
    use_eval_mask: bool,
) -> dict[Key, CrossProducts]:
    """Sums of products of each session and task; `units` learns the rows of each session's units."""
    gathered: dict[Key, CrossProducts] = {}
    for batch in batches:
        for session, task, features, targets, weights in _windows(model, batch, units, use_eval_mask=use_eval_mask):
            joined = np.concatenate((features, targets), axis=1)
            gathered.setdefault((session, task), CrossProducts()).add(joined, weights)
    return {key: products for key, products in gathered.items() if products.weight > 0}


def _windows(
    model: "WienerDecoder", batch: Mapping[str, Any], units: dict[int, NDArray[np.int64]], *, use_eval_mask: bool
) -> Iterator[tuple[int, str, FloatArray, FloatArray, FloatArray]]:
    inputs: Mapping[str, Tensor] = {name: value.detach().cpu() for name, value in batch["model_inputs"].items()}
    taken: dict[str, int] = {}
    for window, session in enumerate(inputs["input_session_index"].tolist()):
        rows = inputs["input_unit_index"][window].numpy()
        real = rows != model.unit_emb.padding_idx
        counts = inputs["input_counts"][window].double().numpy()[real]
        counts = _in_order_of_session(model, session, rows[real], counts, units)
        bins = torch.from_numpy(lagged(counts.T, model.lags)).unsqueeze(0)
        ids, times = inputs["output_decoder_index"][window], inputs["output_timestamps"][window]
        for task, spec in model.readout_specs.items():
            asked = ids == spec.id
            number = int(asked.sum())
            if not number:
                continue
            first = taken.get(task, 0)
            part = slice(first, first + number)
            taken[task] = first + number
            features = read_bins(bins, times[asked].unsqueeze(0), model.bin_size, model.interpolation)[0].numpy()
            targets = regression_targets(batch["target_values"][task][part], spec)
            if not np.isfinite(targets).all():
                raise ValueError(
                    f"recording {batch['session_id'][window]!r}: targets of {task} hold values that are not finite; "
                    "leave those times out"
                )
            weighting = batch["eval_mask"] if use_eval_mask else batch["target_weights"]
            yield session, task, features, targets, weighting[task][part].double().cpu().numpy()


def regression_targets(values: Tensor, spec: ModalitySpec) -> FloatArray:
    """What a regression aims at: values, one-hot classes, or 1 and −1 for yes and no. Shape: (n, C)."""
    values = values.detach().cpu()
    if spec.type is DataType.MULTINOMIAL:
        one_hot: FloatArray = torch.nn.functional.one_hot(values.long(), spec.dim).double().numpy()
        return one_hot
    numbers: FloatArray = values.double().reshape(len(values), spec.dim).numpy()
    return 2.0 * numbers - 1.0 if spec.type in (DataType.BINARY, DataType.MULTILABEL) else numbers


def _in_order_of_session(
    model: "WienerDecoder",
    session: int,
    rows: NDArray[np.int64],
    counts: FloatArray,
    units: dict[int, NDArray[np.int64]],
) -> FloatArray:
    known = units.setdefault(session, rows)
    if known is rows or np.array_equal(known, rows):
        return counts
    order, other = np.argsort(rows), np.argsort(known)
    if not np.array_equal(rows[order], known[other]):
        differing = np.setxor1d(rows, known)
        raise ValueError(
            f"windows of session {model.session_emb.detokenizer(session)!r} have different units, first "
            f"{model.unit_emb.detokenizer(int(differing[0]))!r}: fit on windows with all units, without UnitDropout"
        )
    sorted_counts = np.empty_like(counts)
    sorted_counts[other] = counts[order]
    return sorted_counts


def _refuse_shared_units(model: "WienerDecoder", units: Mapping[int, NDArray[np.int64]]) -> None:
    owner: dict[int, int] = {}
    for session, rows in units.items():
        for row in rows.tolist():
            other = owner.setdefault(row, session)
            if other != session:
                raise ValueError(
                    f"sessions {model.session_emb.detokenizer(other)!r} and {model.session_emb.detokenizer(session)!r} "
                    f"share the unit {model.unit_emb.detokenizer(row)!r}, whose weights cannot fit both: fit one model "
                    "for each, or train by gradients"
                )

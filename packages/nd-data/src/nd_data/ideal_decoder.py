"""The best that any decoder could make of simulated spikes: the posterior of the movement, given all that is known.

The movement's prior is Gaussian and Markov, spike counts are Poisson with a rate that is log-linear in the velocity,
and the tuning is known. The log posterior is then concave; its maximum is found by Newton's method over all steps at
once, which is the iterated Kalman smoother (Bell 1994, SIAM J. Optim. 4:626; Paninski et al. 2010, J. Comput.
Neurosci. 29:107). With dozens of units the posterior is close to Gaussian, so that its maximum stands for its mean,
and no decoder, causal or not, can do noticeably better.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nd_data.smooth_motion import SmoothMotion

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LogLinearTuning:
    """Poisson rates ``exp(offset + gain · velocity)`` in spikes a second.

    Args:
        offset: Log rate at rest of each unit. Shape: (U,).
        gain: Change of the log rate with the velocity. Shape: (U, 2).
    """

    offset: FloatArray
    gain: FloatArray

    def rates(self, velocity: FloatArray) -> FloatArray:
        """Spikes a second. Shape of the velocity: (T, 2); of the rates: (T, U)."""
        rates: FloatArray = np.exp(self.offset + velocity @ self.gain.T)
        return rates


def decode_velocity(
    counts: NDArray[np.integer],
    tuning: LogLinearTuning,
    motion: SmoothMotion,
    *,
    step: float,
    tolerance: float = 1e-6,
    max_iterations: int = 50,
) -> FloatArray:
    """The most probable velocity, given all spikes before and after.

    Args:
        counts: Spikes of each unit in each step. Shape: (T, U).
        tuning: The units' true tuning.
        motion: The true statistics of the movement.
        step: Seconds a step.
        tolerance: The search ends when no velocity changes by more than this share of its standard deviation.
        max_iterations: The most Newton steps.

    Returns:
        Velocity in the units of the tuning. Shape: (T, 2).

    Raises:
        RuntimeError: the search did not end.
    """
    states = np.zeros((len(counts), 6))  # (x, x', x'') along the first axis, then along the second
    diagonal, above = prior_precision(motion, len(counts))
    velocity_entries = np.array([1, 4])
    gain = tuning.gain * motion.velocity_scale
    scaled = LogLinearTuning(tuning.offset, gain)
    objective = log_posterior(states, counts, scaled, diagonal, above, step)
    for _ in range(max_iterations):
        expected = scaled.rates(states[:, velocity_entries]) * step
        slope = -precision_product(diagonal, above, states)
        slope[:, velocity_entries] += (counts - expected) @ gain
        curvature = diagonal.copy()
        information = np.einsum("tu,ui,uj->tij", expected, gain, gain, optimize=True)
        curvature[:, velocity_entries[:, None], velocity_entries] += information
        change = solve_block_tridiagonal(curvature, above, slope)
        for _halving in range(30):
            proposed = log_posterior(states + change, counts, scaled, diagonal, above, step)
            if proposed >= objective - 1e-9 * abs(objective):
                break
            change /= 2
        states, objective = states + change, proposed
        if np.abs(change[:, velocity_entries]).max() < tolerance:
            return states[:, velocity_entries] * motion.velocity_scale
    raise RuntimeError(f"the ideal decoder did not settle within {max_iterations} Newton steps")


def coefficient_of_determination(prediction: FloatArray, truth: FloatArray) -> FloatArray:
    """R² along each axis, with the mean over the same samples as reference. Shapes: (T, D); result: (D,)."""
    residual = ((truth - prediction) ** 2).sum(axis=0)
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    score: FloatArray = 1.0 - residual / spread
    return score


def prior_precision(motion: SmoothMotion, steps: int) -> tuple[FloatArray, FloatArray]:
    """The inverse covariance of the states of both axes at all steps, which is block tridiagonal.

    Returns:
        The blocks on the diagonal, shape (T, 6, 6), and those above it, shape (T - 1, 6, 6).
    """
    noise_precision = np.linalg.inv(motion.noise)
    carried = motion.transition.T @ noise_precision
    diagonal = np.zeros((steps, 3, 3))
    diagonal[0] = np.linalg.inv(motion.stationary)
    diagonal[1:] += noise_precision
    diagonal[:-1] += carried @ motion.transition
    above = np.broadcast_to(-carried, (steps - 1, 3, 3))
    return two_axes(diagonal), two_axes(above)


def two_axes(blocks: FloatArray) -> FloatArray:
    """The same block for either axis, (N, 3, 3) to (N, 6, 6)."""
    out = np.zeros((len(blocks), 6, 6))
    out[:, :3, :3] = blocks
    out[:, 3:, 3:] = blocks
    return out


def log_posterior(
    states: FloatArray,
    counts: NDArray[np.integer],
    tuning: LogLinearTuning,
    diagonal: FloatArray,
    above: FloatArray,
    step: float,
) -> float:
    """The log posterior up to a constant."""
    log_rates = tuning.offset + states[:, [1, 4]] @ tuning.gain.T
    likelihood = float((counts * log_rates).sum() - step * np.exp(log_rates).sum())
    return likelihood - 0.5 * float((states * precision_product(diagonal, above, states)).sum())


def precision_product(diagonal: FloatArray, above: FloatArray, states: FloatArray) -> FloatArray:
    """A symmetric block-tridiagonal matrix times a vector of shape (T, K)."""
    product: FloatArray = np.matmul(diagonal, states[:, :, None])[:, :, 0]
    product[:-1] += np.matmul(above, states[1:, :, None])[:, :, 0]
    product[1:] += np.matmul(above.transpose(0, 2, 1), states[:-1, :, None])[:, :, 0]
    return product


def solve_block_tridiagonal(diagonal: FloatArray, above: FloatArray, right: FloatArray) -> FloatArray:
    """Solve a symmetric positive definite block-tridiagonal system by cyclic reduction.

    Every second unknown is eliminated at once, which leaves a system of half the size and the same form.

    Args:
        diagonal: Blocks on the diagonal. Shape: (T, K, K).
        above: Blocks above the diagonal; those below are their transposes. Shape: (T - 1, K, K).
        right: Right-hand side. Shape: (T, K).

    Returns:
        The solution. Shape: (T, K).
    """
    steps, width = right.shape
    if steps == 1:
        alone = np.empty_like(right)
        alone[0] = np.linalg.solve(diagonal[0], right[0])
        return alone
    below = above.transpose(0, 2, 1)
    odd, behind = steps // 2, (steps - 1) // 2  # how many odd unknowns there are, and how many have one behind them
    # An odd unknown is own - from_left @ the even one before it - from_right @ the even one after it.
    sides = np.zeros((odd, width, 2 * width + 1))
    sides[:, :, :width] = below[0::2][:odd]
    sides[:behind, :, width : 2 * width] = above[1::2]
    sides[:, :, -1] = right[1::2]
    solved = np.linalg.solve(diagonal[1::2], sides)
    from_left, from_right, own = solved[:, :, :width], solved[:behind, :, width : 2 * width], solved[:, :, -1:]
    to_odd, to_behind = above[0::2][:odd], below[1::2]

    reduced, reduced_right = diagonal[0::2].copy(), right[0::2].copy()
    reduced[:odd] -= to_odd @ from_left
    reduced_right[:odd] -= (to_odd @ own)[:, :, 0]
    reduced[1 : behind + 1] -= to_behind @ from_right
    reduced_right[1 : behind + 1] -= (to_behind @ own[:behind])[:, :, 0]
    reduced_above = -to_odd[:behind] @ from_right

    solution = np.empty_like(right)
    solution[0::2] = even = solve_block_tridiagonal(reduced, reduced_above, reduced_right)
    solution[1::2] = own[:, :, 0] - (from_left @ even[:odd, :, None])[:, :, 0]
    solution[1::2][:behind] -= (from_right @ even[1 : behind + 1, :, None])[:, :, 0]
    return solution


__all__ = ["LogLinearTuning", "coefficient_of_determination", "decode_velocity"]

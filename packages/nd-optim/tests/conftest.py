"""The independent answer: LAMB in float64 NumPy, one step at a time, slow and obvious."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[np.float64]


class NumpyLamb:
    """LAMB of one tensor, from the equations in the README."""

    def __init__(
        self,
        weight: Array,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        clamp_value: float = 10.0,
        adam: bool = False,
        debias: bool = False,
    ) -> None:
        self.weight = np.array(weight, dtype=np.float64)
        self.first = np.zeros_like(self.weight)
        self.second = np.zeros_like(self.weight)
        self.steps = 0
        self.ratio = 1.0
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.clamp_value, self.adam, self.debias = clamp_value, adam, debias

    def step(self, gradient: Array) -> Array:
        beta1, beta2 = self.betas
        self.steps += 1
        self.first = beta1 * self.first + (1 - beta1) * gradient
        self.second = beta2 * self.second + (1 - beta2) * gradient**2
        first, second = self.first, self.second
        if self.debias:
            first, second = first / (1 - beta1**self.steps), second / (1 - beta2**self.steps)
        adam = first / (np.sqrt(second) + self.eps)
        decay = self.weight_decay * self.weight
        if self.adam:
            self.weight = self.weight - self.lr * (adam + decay)
        elif not np.any(gradient):
            self.weight = self.weight - self.lr * (self.ratio * adam + decay)
        else:
            weight_norm = min(float(np.sqrt(np.sum(self.weight**2))), self.clamp_value)
            update_norm = float(np.sqrt(np.sum((adam + decay) ** 2)))
            self.ratio = weight_norm / update_norm if weight_norm > 0 and update_norm > 0 else 1.0
            self.weight = self.weight - self.lr * self.ratio * (adam + decay)
        return self.weight


class NumpyRowLamb:
    """LAMB applied row by row, to the rows whose gradient is not all zero."""

    def __init__(self, weight: Array, **options: Any) -> None:
        self.rows = [NumpyLamb(row, **options) for row in np.asarray(weight, dtype=np.float64)]

    def step(self, gradient: Array) -> Array:
        for row, row_gradient in zip(self.rows, gradient, strict=True):
            if np.any(row_gradient):
                row.step(row_gradient)
        return np.stack([row.weight for row in self.rows])


@pytest.fixture(scope="session")
def numpy_lamb() -> Callable[..., NumpyLamb]:
    return NumpyLamb


@pytest.fixture(scope="session")
def numpy_row_lamb() -> Callable[..., NumpyRowLamb]:
    return NumpyRowLamb

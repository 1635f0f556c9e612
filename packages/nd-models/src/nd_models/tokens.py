"""The input and latent tokens of a window.

Shapes: U units, S latent steps, K latents a step. Times are float64 seconds from the window's start.
"""

from collections.abc import Sized
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class TokenType(IntEnum):
    """Row of the token-type embedding."""

    DEFAULT = 0
    """A spike."""
    START_OF_SEQUENCE = 1
    """Says that a unit is recorded, at the window's start."""
    END_OF_SEQUENCE = 2
    """Says the same at the window's end."""


def create_start_end_unit_tokens(
    unit_ids: Sized, start: float, end: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """A start and an end token for each unit, so that silent units are seen too.

    Args:
        unit_ids: The units; only their number counts.
        start: Time of the start tokens in seconds.
        end: Time of the end tokens in seconds.

    Returns:
        Token types, unit indices within the recording, and times, each of shape (2·U,), start and end in turn.

    >>> create_start_end_unit_tokens(["a", "b"], 0.0, 1.0)
    (array([1, 2, 1, 2]), array([0, 0, 1, 1]), array([0., 1., 0., 1.]))
    """
    count = len(unit_ids)
    types = np.tile(np.array([TokenType.START_OF_SEQUENCE, TokenType.END_OF_SEQUENCE], dtype=np.int64), count)
    units = np.repeat(np.arange(count, dtype=np.int64), 2)
    times = np.tile(np.array([start, end], dtype=np.float64), count)
    return types, units, times


def create_linspace_latent_tokens(
    start: float, end: float, step: float, num_latents_per_step: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The latent grid: the same K latents at the middle of every step.

    Args:
        start: Start of the window in seconds.
        end: End of the window in seconds.
        step: Time between latents in seconds.
        num_latents_per_step: K.

    Returns:
        Latent indices and times, each of shape (S·K,).

    >>> create_linspace_latent_tokens(0.0, 1.0, step=0.5, num_latents_per_step=2)
    (array([0, 1, 0, 1]), array([0.25, 0.25, 0.75, 0.75]))
    """
    times = np.arange(0, end - start, step) + step / 2 + start
    index = np.tile(np.arange(num_latents_per_step, dtype=np.int64), len(times))
    return index, np.repeat(times, num_latents_per_step)

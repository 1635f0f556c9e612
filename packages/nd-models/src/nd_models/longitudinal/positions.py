"""Where a step lies in its sequence: sines and cosines, and rotations (Vaswani et al. 2017; Su et al. 2021).

Shapes: T steps, W width (even), D_h head width (even).
"""

import torch
from torch import Tensor

from nd_models.nn.time_embedding import rotate_pairs


def sinusoidal_positions(positions: Tensor, width: int) -> Tensor:
    """Channel 2i is sin(p / 10000^(2i/W)), channel 2i + 1 the cosine; for any position, however far.

    Args:
        positions: Shape: (..., T), integer or float.
        width: W, even.

    Returns:
        Shape (..., T, W), float64.
    """
    angles = step_angles(positions, width)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


def rotate_by_position(values: Tensor, positions: Tensor) -> Tensor:
    """Turn channels (2i, 2i + 1) by the angle p / 10000^(2i/D_h), so that scores depend on differences of positions.

    Args:
        values: Queries or keys. Shape: (..., T, D_h).
        positions: Broadcasts against `values` in all but its last dimension. Shape: (..., T), integer or float.

    Returns:
        Shape and dtype of `values`.
    """
    angles = step_angles(positions, values.shape[-1])
    return rotate_pairs(values, torch.stack((angles.cos(), angles.sin()), dim=-1))


def step_angles(positions: Tensor, width: int) -> Tensor:
    """Angles p / 10000^(2i/W), in float64 where the device has it. Shape: (..., T) to (..., T, W/2).

    Raises:
        ValueError: an odd width.
    """
    if width % 2:
        raise ValueError(f"positions need an even width, got {width}")
    wide = torch.float32 if positions.device.type == "mps" else torch.float64
    exponents = torch.arange(0, width, 2, dtype=wide, device=positions.device) / width
    return positions.to(wide).unsqueeze(-1) * torch.pow(10000.0, -exponents)

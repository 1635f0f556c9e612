"""Embeddings of time: rotary (turns pairs of channels) and sinusoidal.

Shapes: N tokens, D_h head width (even), R = rotate_dim / 2 pairs that turn. Times are seconds from the window's start.
Angles are computed in float32, or in float64 where the times are float64, whatever the autocast.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nd_models.nn.followers import is_followed


class Rotation(NamedTuple):
    """Cosines and sines of the pairs that turn, and of those only; the compact form that the attention layers use."""

    cosine_sine: Tensor
    """Shape: (..., R, 2), float32 or float64."""

    def of_rows(self, tokens: torch.Size) -> Tensor:
        """The complex cos + i·sin of tokens of shape `tokens`, in rows. Shape: (number of tokens, R), complex64."""
        shape = self.cosine_sine.shape[-2:]
        return torch.view_as_complex(self.cosine_sine.float().expand(*tokens, *shape).reshape(-1, *shape))

    def flat(self) -> "Rotation":
        """(B, N, R, 2) to (B·N, R, 2), for a packed batch."""
        return Rotation(self.cosine_sine.flatten(0, 1))

    def inverse(self) -> "Rotation":
        """The rotation by the opposite angles."""
        cosine, sine = self.cosine_sine.unbind(-1)
        return Rotation(torch.stack((cosine, -sine), dim=-1))


class RotaryTimeEmbedding(nn.Module):
    """Turns each pair of channels (2i, 2i + 1) by the angle 2π·t / period_i (Su et al. 2021, arXiv 2104.09864).

    The periods are spaced evenly in the logarithm from `t_min` to `t_max`, both included. Only the first `rotate_dim`
    channels of a head turn; the others pass unchanged.

    Args:
        head_dim: Width D_h of an attention head, even.
        rotate_dim: Number of channels that turn, even, at most `head_dim`.
        t_min: Shortest period in seconds.
        t_max: Longest period in seconds.

    Raises:
        ValueError: an odd or too large number of channels, or not 0 < t_min < t_max.

    >>> embedding = RotaryTimeEmbedding(head_dim=8, rotate_dim=4, t_min=0.1, t_max=1.0)
    >>> embedding(torch.zeros(2, 5)).shape
    torch.Size([2, 5, 16])
    >>> embedding.rotation(torch.zeros(2, 5)).cosine_sine.shape
    torch.Size([2, 5, 2, 2])
    """

    omega: Tensor

    def __init__(self, head_dim: int, rotate_dim: int, t_min: float, t_max: float) -> None:
        super().__init__()
        if head_dim <= 0 or head_dim % 2:
            raise ValueError(f"head_dim must be a positive even number, got {head_dim}")
        if rotate_dim <= 0 or rotate_dim % 2:
            raise ValueError(f"rotate_dim must be a positive even number, got {rotate_dim}")
        if rotate_dim > head_dim:
            raise ValueError(f"rotate_dim must be at most head_dim, got {rotate_dim} > {head_dim}")
        self.rotate_dim = rotate_dim
        # Zeros for the pairs that do not turn: the buffer keeps the shape that published checkpoints have.
        omega = torch.zeros(head_dim // 2)
        omega[: rotate_dim // 2] = 2 * torch.pi / log_spaced_periods(rotate_dim // 2, t_min, t_max)
        self.register_buffer("omega", omega)

    def forward(self, timestamps: Tensor) -> Tensor:
        """Cosines, then sines, of every channel of a head, each pair's value twice.

        Args:
            timestamps: Times in seconds. Shape: (..., N).

        Returns:
            Shape (..., N, 2·D_h), float32 or float64; for `rotate`, `invert` and the attention layers. Models use the
            compact `rotation` instead.
        """
        with torch.no_grad():
            angles = _angles(timestamps, self.omega).repeat_interleave(2, dim=-1)
            return torch.cat((angles.cos(), angles.sin()), dim=-1)

    def rotation(self, timestamps: Tensor) -> Rotation:
        """Cosines and sines of the turning pairs only.

        Args:
            timestamps: Times in seconds. Shape: (..., N).

        Returns:
            A `Rotation` of shape (..., N, R, 2).
        """
        with torch.no_grad():
            angles = _angles(timestamps, self.omega[: self.rotate_dim // 2])
            # A double angle is exact to 1e-13 turns; wrapped to one turn it fits into float32 with nothing lost that
            # the attention could see, and single-precision sines cost half.
            if angles.dtype == torch.float64 and self.omega.dtype == torch.float32:
                angles = (torch.remainder(angles + math.pi, 2 * math.pi) - math.pi).float()
            if is_followed():  # function transforms refuse to write into a part
                return Rotation(torch.stack((angles.cos(), angles.sin()), dim=-1))
            cosine_sine = torch.empty((*angles.shape, 2), dtype=angles.dtype, device=angles.device)
            cosine_sine[..., 0] = angles.cos()
            cosine_sine[..., 1] = angles.sin()
            return Rotation(cosine_sine)

    @staticmethod
    def rotate(x: Tensor, rotary_emb: "Tensor | Rotation", unsqueeze_dim: int = 2) -> Tensor:
        """Turn the channels of `x`.

        Args:
            x: Queries, keys or values. Shape: (..., D_h) with a dimension of heads.
            rotary_emb: What `forward` or `rotation` gave for the same tokens.
            unsqueeze_dim: Where `x` has its heads: 2 for (B, N, H, D_h), 1 for (B, H, N, D_h).

        Returns:
            Shape and dtype of `x`.
        """
        cosine_sine = as_rotation(rotary_emb).cosine_sine.unsqueeze(unsqueeze_dim)
        return rotate_pairs(x, cosine_sine)

    @staticmethod
    def invert(rotary_emb: Tensor) -> Tensor:
        """The embedding, as `forward` gives it, of the negative times."""
        cosine, sine = rotary_emb.chunk(2, dim=-1)
        return torch.cat((cosine, -sine), dim=-1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "RotaryTimeEmbedding":
        # module.half() and module.bfloat16() would round the frequencies, and with them every angle.
        before = self.omega
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.omega.dtype in (torch.float16, torch.bfloat16):
            self.omega = before.to(device=self.omega.device)
        return self


class SinusoidalTimeEmbedding(nn.Module):
    """Sines, then cosines, of 2π·t / period_i, with periods spaced evenly in the logarithm from `t_min` to `t_max`.

    Args:
        dim: Width of the embedding, even.
        t_min: Shortest period in seconds.
        t_max: Longest period in seconds.

    >>> SinusoidalTimeEmbedding(4, t_min=0.5, t_max=2.0)(torch.zeros(3))
    tensor([[0., 0., 1., 1.],
            [0., 0., 1., 1.],
            [0., 0., 1., 1.]])
    """

    omega: Tensor

    def __init__(self, dim: int, t_min: float, t_max: float) -> None:
        super().__init__()
        if dim <= 0 or dim % 2:
            raise ValueError(f"dim must be a positive even number, got {dim}")
        self.register_buffer("omega", 2 * torch.pi / log_spaced_periods(dim // 2, t_min, t_max))

    def forward(self, timestamps: Tensor) -> Tensor:
        """Embed times in seconds. Shape: (..., N) to (..., N, dim), float32 or float64."""
        with torch.no_grad():
            angles = _angles(timestamps, self.omega)
            return torch.cat((angles.sin(), angles.cos()), dim=-1)


def log_spaced_periods(count: int, t_min: float, t_max: float) -> Tensor:
    """`count` periods in seconds, spaced evenly in the logarithm from `t_min` to `t_max`. Shape: (count,), float32.

    Raises:
        ValueError: not 0 < t_min < t_max.
    """
    if not 0 < t_min < t_max:
        raise ValueError(f"periods must follow 0 < t_min < t_max, got t_min={t_min}, t_max={t_max}")
    # In float32 throughout: published models were trained with periods rounded this way, and at 1e-4 s the rounding
    # turns a late spike by a few hundredths of a radian.
    shares = torch.linspace(0.0, 1.0, count, dtype=torch.float32)
    return torch.lerp(torch.tensor(t_min).log(), torch.tensor(t_max).log(), shares).exp()


def as_rotation(rotary_emb: Tensor | Rotation) -> Rotation:
    """The compact form of either form; of the wide one every pair is kept, as it does not say which ones turn."""
    if isinstance(rotary_emb, Rotation):
        return rotary_emb
    cosine, sine = rotary_emb.chunk(2, dim=-1)
    return Rotation(torch.stack((cosine[..., ::2], sine[..., ::2]), dim=-1))


def rotate_pairs(x: Tensor, cosine_sine: Tensor) -> Tensor:
    """Turn the first 2·R channels of `x`, pair by pair, and pass the others.

    Args:
        x: Any floating dtype. Shape: (..., D_h).
        cosine_sine: Broadcasts against `x` in all but the last dimension. Shape: (..., R, 2).

    Returns:
        Shape and dtype of `x`; differentiable in `x`.
    """
    if _has_complex_kernels(x, x.shape[-1]):
        rotation = torch.view_as_complex(cosine_sine.to(x.dtype).contiguous())
        turned: Tensor = _ComplexRotation.apply(x, rotation)  # type: ignore[no-untyped-call]
        return turned
    return rotate_pairs_in_parts(x, cosine_sine)


def rotate_pairs_in_parts(x: Tensor, cosine_sine: Tensor) -> Tensor:
    """`rotate_pairs` in real arithmetic: for dtypes and compilers that have no complex numbers."""
    turning = cosine_sine.shape[-2] * 2
    cosine, sine = cosine_sine.to(x.dtype).unbind(-1)
    first, second = _in_pairs(x[..., :turning]).unbind(-1)
    turned = torch.stack((first * cosine - second * sine, second * cosine + first * sine), dim=-1).flatten(-2)
    return turned if turning == x.shape[-1] else torch.cat((turned, x[..., turning:]), dim=-1)


def rotate_heads(projected: Tensor, cosine_sine: Tensor, heads: int, turning_heads: int) -> Tensor:
    """Turn the first heads of a projection, in place where that is possible.

    Args:
        projected: The fresh result of a linear layer, which nobody else reads: it may be overwritten. Shape: (B, N,
            heads·D_h).
        cosine_sine: Shape: (B, N, R, 2).
        heads: How many heads lie side by side.
        turning_heads: How many of them turn, from the first.

    Returns:
        Shape (B, N, heads, D_h); differentiable in `projected`.
    """
    # Asked first: a compiler cannot follow the questions about memory.
    is_complex = _has_complex_kernels(projected, projected.shape[-1] // heads)
    if is_complex and projected.is_contiguous() and projected.storage_offset() % 2 == 0:
        rotation = torch.view_as_complex(cosine_sine.to(projected.dtype)).unsqueeze(-2)
        arguments = projected, rotation, heads, turning_heads
        turned: Tensor = _TurnHeadsInPlace.apply(*arguments)  # type: ignore[no-untyped-call]
        return _by_heads(turned, heads)
    by_heads = _by_heads(projected, heads)
    turned = rotate_pairs(by_heads[..., :turning_heads, :], cosine_sine.unsqueeze(-3))
    return turned if turning_heads == heads else torch.cat((turned, by_heads[..., turning_heads:, :]), dim=-2)


class _ComplexRotation(torch.autograd.Function):
    """One complex product for the pairs that turn, written straight into the result; its gradient turns back.

    On CPU this takes a quarter of the time of the real form, which has to gather every other channel.
    """

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor, rotation: Tensor) -> Tensor:
        context.save_for_backward(rotation)
        turning = rotation.shape[-1] * 2
        # Not empty_like: x may be a slice of a larger projection with strides that complex numbers cannot have.
        turned = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        torch.mul(_pairs(x[..., :turning]), rotation, out=_pairs(turned[..., :turning]))
        turned[..., turning:] = x[..., turning:]
        return turned

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        (rotation,) = context.saved_tensors  # type: ignore[attr-defined]
        opposite = rotation.conj().resolve_conj()
        return _ComplexRotation.apply(gradients[0], opposite), None  # type: ignore[no-untyped-call]


class _TurnHeadsInPlace(torch.autograd.Function):
    """`_ComplexRotation` of the first heads of a projection, in the projection's own memory.

    A linear layer does not need its result for its gradient, so the copy would be wasted: half of it is channels that
    do not turn, and at these sizes fresh memory costs more than the product.
    """

    @staticmethod
    def forward(context: Any, projected: Tensor, rotation: Tensor, heads: int, turning_heads: int) -> Tensor:
        context.save_for_backward(rotation)
        context.heads = heads, turning_heads
        context.mark_dirty(projected)
        pairs = _pairs(_by_heads(projected, heads)[..., :turning_heads, : rotation.shape[-1] * 2])
        torch.mul(pairs, rotation, out=pairs)
        return projected

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (rotation,) = context.saved_tensors
        opposite = rotation.conj().resolve_conj()
        # A copy: others may hold the gradient.
        own = gradients[0].clone(memory_format=torch.contiguous_format)
        turned: Tensor = _TurnHeadsInPlace.apply(own, opposite, *context.heads)  # type: ignore[no-untyped-call]
        return turned, None, None, None


def _has_complex_kernels(x: Tensor, width: int) -> bool:
    # Complex numbers lie at even places, which an odd width of heads does not have: they would be written to a copy.
    is_single_or_double = x.dtype in (torch.float32, torch.float64)
    return x.device.type == "cpu" and is_single_or_double and width % 2 == 0 and not is_followed()


def _by_heads(x: Tensor, heads: int) -> Tensor:
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads)


def _pairs(x: Tensor) -> Tensor:
    pairs = _in_pairs(x)
    if pairs.stride(-1) != 1 or pairs.storage_offset() % 2 or any(stride % 2 for stride in pairs.stride()[:-1]):
        pairs = pairs.contiguous()
    return torch.view_as_complex(pairs)


def _in_pairs(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:-1], x.shape[-1] // 2, 2)


def _angles(timestamps: Tensor, omega: Tensor) -> Tensor:
    # Times in half precision have lost what matters already, but their product need not lose more.
    wide = torch.promote_types(torch.promote_types(timestamps.dtype, torch.float32), omega.dtype)
    return timestamps.to(wide).unsqueeze(-1) * omega

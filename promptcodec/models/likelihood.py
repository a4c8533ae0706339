"""What training needs of entropy coding: differentiable rounding and bit counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from promptcodec.coding.entropy.tables import NUM_SCALES, SCALE_MIN, SCALE_STEP

LIKELIHOOD_MIN = 1e-9


class _LowerBound(torch.autograd.Function):
    """max(x, bound) with a gradient below the bound that can raise x, but not lower it."""

    @staticmethod
    def forward(ctx, x: Tensor, bound: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None


def gain_of(steps: Tensor) -> Tensor:
    """Gain of a real number of steps of the scale tables."""
    return torch.exp(steps * SCALE_STEP)


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound) with a gradient that can leave the bound. Source: CompressAI's LowerBound."""
    return _LowerBound.apply(x, bound)  # type: ignore[return-value]


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """x within bounds, with a gradient that can leave both."""
    return -lower_bound(-lower_bound(x, low), -high)


def round_ste(x: Tensor) -> Tensor:
    """Round; the gradient passes straight through."""
    return x + (torch.round(x) - x).detach()


def add_noise(x: Tensor) -> Tensor:
    """Uniform noise of one quantisation step, the usual stand-in for rounding."""
    return x + torch.empty_like(x).uniform_(-0.5, 0.5)


def index_to_scale(index: Tensor) -> Tensor:
    """Standard deviation of a real-valued table index, kept inside the tables.

    Args:
        index: table indexes, any shape; may be below 0 or above the last table.
    """
    return SCALE_MIN * torch.exp(SCALE_STEP * bounded(index, 0.0, NUM_SCALES - 1.0))


def gaussian_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """Bits of a (noisy) residual under a zero-mean Gaussian convolved with a unit interval.

    Args:
        residual: r = (y - mu) * gain, noisy while training.
        scale: standard deviation, same shape.
    """
    magnitude = residual.abs()
    inverse = 1.0 / (scale * math.sqrt(2.0))
    upper = torch.erfc((magnitude - 0.5) * inverse)
    lower = torch.erfc((magnitude + 0.5) * inverse)
    return -torch.log2(lower_bound(0.5 * (upper - lower), LIKELIHOOD_MIN))

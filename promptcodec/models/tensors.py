"""Arrays of coding to tensors and back; a CPU shares their memory."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents
from promptcodec.errors import ShapeError


def arrays_of(latents: Latents[Tensor]) -> Latents[NDArray]:
    """Latents as arrays."""
    return Latents(**{name: value.cpu().numpy() for name, value in vars(latents).items()})


def tensor_of(array: NDArray, device: torch.device) -> Tensor:
    """An array as a tensor."""
    return torch.from_numpy(array).to(device)


def multipliers(gains: Gains, device: torch.device) -> Tensor:
    """Continuous gains, float32 (1, M, 1, 1)."""
    return torch.from_numpy(gains.multipliers()).to(device)[None, :, None, None]


def offsets(gains: Gains, device: torch.device) -> Tensor:
    """Whole table steps, int32 (1, M, 1, 1)."""
    return torch.from_numpy(gains.offsets()).to(device)[None, :, None, None]


def from_pixels(rgb: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Scale (B, H, W, 3) to (B, 3, H, W) float32 in [0, 1], channels last in memory."""
    return torch.from_numpy(rgb).to(device).permute(0, 3, 1, 2).float().div_(255)


def to_pixels(x: Tensor) -> NDArray[np.uint8]:
    """Clamp and round (B, 3, H, W) in [0, 1] to (B, H, W, 3); NaN becomes 0."""
    levels = x.detach().float().permute(0, 2, 3, 1).clamp(0, 1).mul_(255).round_()
    return levels.nan_to_num_(0.0).to(torch.uint8).contiguous().cpu().numpy()


def pad(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of (N, C, H, W) until H and W are multiples of `multiple`."""
    if x.ndim != 4 or min(x.shape) < 1 or multiple < 1:
        raise ShapeError(
            f"x has shape {tuple(x.shape)} and multiple is {multiple}; "
            "need a non-empty (N, C, H, W) and a positive multiple"
        )
    bottom, right = -x.shape[2] % multiple, -x.shape[3] % multiple
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """The top left (N, C, height, width) of x; undoes `pad`. A view."""
    if not (1 <= height <= x.shape[-2] and 1 <= width <= x.shape[-1]):
        raise ShapeError(
            f"cannot crop {tuple(x.shape)} to {height} x {width}; need 1 x 1 up to the size of x"
        )
    return x[..., :height, :width]

"""Arrays of coding to tensors and back; a CPU shares their memory."""

from __future__ import annotations

import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents


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

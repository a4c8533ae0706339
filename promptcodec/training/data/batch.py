"""Batches of several tensors, which move as one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor

INITIAL_STEP = 2**32  # of batches for initial weights, which no step of a run has


class Batch(Protocol):
    """Pictures of one step, as a tensor or a dataclass of tensors."""

    def to(self, device: torch.device) -> Any:
        """The same on a device."""
        ...


class TensorBatch:
    """A dataclass some of whose fields are tensors."""

    def to(self, device: torch.device) -> Self:
        """The same with all tensors on a device."""
        tensors = {n: v.to(device) for n, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)  # type: ignore[type-var]

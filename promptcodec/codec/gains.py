"""Per-channel gains of a rate, in fixed point so that every machine shifts the tables alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from promptcodec.coding.entropy.tables import SCALE_STEP

FRACTION_BITS = 8  # a log-gain is an integer in 1/256 of a table step


@dataclass(frozen=True)
class Gains:
    """Log-gains of the latent channels.

    Args:
        log_gains: int16 (M,), in 1/256 of a table step; zero leaves a channel as it is.
    """

    log_gains: Tensor

    @classmethod
    def constant(cls, channels: int, steps: int = 0) -> Gains:
        """The same log-gain for every channel, `steps` in 1/256 of a table step."""
        return cls(torch.full((channels,), steps, dtype=torch.int16))

    def moved(self, steps: int) -> Gains:
        """Every log-gain moved by `steps` in 1/256 of a table step, cut at the ends of int16."""
        total = self.log_gains.to(torch.int32) + steps
        return Gains(total.clamp_(-(1 << 15), (1 << 15) - 1).to(torch.int16))

    @staticmethod
    def multiplier(steps: Tensor) -> Tensor:
        """Gain of a real number of table steps."""
        return torch.exp(steps * SCALE_STEP)

    def multipliers(self, device: torch.device) -> Tensor:
        """Continuous gains, float32 (1, M, 1, 1)."""
        steps = self.log_gains.to(device=device, dtype=torch.float64) / (1 << FRACTION_BITS)
        return self.multiplier(steps).float()[None, :, None, None]

    def offsets(self, device: torch.device) -> Tensor:
        """Whole table steps, rounded half up in integers, int32 (1, M, 1, 1)."""
        half = 1 << (FRACTION_BITS - 1)
        steps = (self.log_gains.to(device=device, dtype=torch.int32) + half) >> FRACTION_BITS
        return steps[None, :, None, None]

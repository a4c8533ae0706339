"""Per-channel gains of a rate, in fixed point, so that table offsets are exact on any machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptcodec.coding.entropy.tables import SCALE_STEP

FRACTION_BITS = 8  # a log-gain is an integer in 1/256 of a table step
LEAST, MOST = -(1 << 15), (1 << 15) - 1  # of a log-gain


@dataclass(frozen=True)
class Gains:
    """Log-gains of the latent channels.

    Args:
        log_gains: log-gains, int16 (M,), in 1/256 of a table step; zero is a gain of 1.
    """

    log_gains: NDArray[np.int16]

    @classmethod
    def constant(cls, channels: int, steps: int = 0) -> Gains:
        """The same log-gain for every channel, `steps` in 1/256 of a table step."""
        return cls(np.full(channels, steps, np.int16))

    def shifted(self, steps: int) -> Gains:
        """Every log-gain shifted by `steps` in 1/256 of a table step, cut at the ends of int16."""
        total = self.log_gains.astype(np.int32) + steps
        return Gains(total.clip(LEAST, MOST).astype(np.int16))

    def multipliers(self) -> NDArray[np.float32]:
        """Continuous gains, (M,)."""
        steps = self.log_gains.astype(np.float64) / (1 << FRACTION_BITS)
        return np.exp(steps * SCALE_STEP).astype(np.float32)

    def offsets(self) -> NDArray[np.int32]:
        """Whole table steps, rounded half up in integers, (M,)."""
        half = 1 << (FRACTION_BITS - 1)
        return (self.log_gains.astype(np.int32) + half) >> FRACTION_BITS


def finer(steps: int) -> float:
    """Factor on lambda that corresponds to a gain of `steps`, in 1/256 of a table step."""
    return float(Gains.constant(1, steps).multipliers()[0]) ** 2

"""Steps that moved nothing, as their gradient was not finite."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


class SkippedSteps:
    """Number of skipped steps, on the device of the run.

    Args:
        device: device of the run.
    """

    def __init__(self, device: torch.device) -> None:
        self._untold = torch.zeros((), device=device)
        self._in_row = torch.zeros((), device=device)

    def add(self, skipped: Tensor) -> None:
        """Count a step without waiting for the device; `skipped` is a scalar, 1.0 or 0.0."""
        self._untold += skipped
        self._in_row = (self._in_row + skipped) * skipped

    def in_row(self) -> int:
        """Skipped steps since the last one that moved the weights."""
        return int(self._in_row)

    def tell(self, step: int) -> None:
        """Log the number of steps skipped since the last call, up to `step`."""
        skipped = int(self._untold)
        if skipped:
            logger.warning(
                "up to step %d: %d steps whose gradient was not finite were skipped", step, skipped
            )
            self._untold.zero_()

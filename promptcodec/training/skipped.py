"""Steps that moved nothing as their gradient was not finite, and runs that diverge by them."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from promptcodec.errors import DivergenceError
from promptcodec.training.config import LoopConfig

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


def check_row(in_row: int, *, step: int, last: bool, config: LoopConfig, kept: int | None) -> None:
    """End a run that diverges.

    Args:
        in_row: skipped steps since the last one that moved the weights.
        step: steps done.
        last: whether no step follows.
        config: recipe.
        kept: step of the state in the run folder; None without a state.
    Raises:
        DivergenceError: as many steps in a row as the recipe allows, or all steps of a short run.
    """
    if in_row >= config.max_skipped or (last and 0 < step <= in_row):
        what = f"the gradient of the last {in_row} steps was not finite"
        raise _diverged(what, step=step, good=step - in_row, config=config, kept=kept)


def check_loss(loss: float, *, step: int, config: LoopConfig, kept: int | None) -> None:
    """End a run whose held-out loss is no number, or infinite.

    Args:
        loss: held-out loss.
        step: steps done.
        config: recipe.
        kept: step of the state in the run folder; None without a state.
    Raises:
        DivergenceError: the loss is one of these.
    """
    if not loss < math.inf:
        what = f"the held-out loss is {loss}"
        raise _diverged(what, step=step, good=step, config=config, kept=kept)


def _diverged(
    what: str, *, step: int, good: int, config: LoopConfig, kept: int | None
) -> DivergenceError:
    optimizer = config.optimizer
    then = "start again in another run folder"
    if kept is None:
        then = "start again, as no state was saved before"
    elif kept < good:
        then = f"add --resume, which goes on from step {kept}"
    return DivergenceError(
        f"step {step}: {what}: lower optimizer.learning_rate (now {optimizer.learning_rate:g}) or "
        f"optimizer.clip_norm (now {optimizer.clip_norm:g}) in the recipe and {then}"
    )

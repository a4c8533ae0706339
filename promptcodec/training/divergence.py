"""Divergence of a run: gradients that are not finite, or a held-out loss that explodes.

    gradient not finite in `max_skipped` steps in a row            -> the run ends
    held-out loss not finite, or above `max_rise` times its lowest -> the run ends

Either leaves the last good state of `state_file` behind.
"""

from __future__ import annotations

import math

import torch

from promptcodec.errors import DivergenceError
from promptcodec.training.config import LoopConfig
from promptcodec.training.progress import LOG_EVERY
from promptcodec.training.skipped import SkippedSteps
from promptcodec.training.state import HeldOut
from promptcodec.training.state_file import StateFile


class Watch:
    """Watch over the steps and held-out losses of a run.

    Args:
        config: recipe.
        device: device of the run.
        state_file: state in the run folder.
        held_out: held-out losses before a resume; None without any.
    """

    def __init__(
        self,
        config: LoopConfig,
        *,
        device: torch.device,
        state_file: StateFile,
        held_out: HeldOut | None,
    ) -> None:
        self.config, self.state_file, self.held_out = config, state_file, held_out
        self.skipped = SkippedSteps(device)
        self._on_cpu = device.type == "cpu"

    def check_step(self, step: int, *, last: bool = False) -> None:
        """Count skipped steps: after every step on a CPU, on a GPU only where it is waited for.

        Args:
            step: steps done.
            last: whether no step follows.
        Raises:
            DivergenceError: as many steps in a row as the recipe allows, or all of a short run.
        """
        logged = last or step % LOG_EVERY == 0
        if not (logged or self._on_cpu or self.state_file.waits):
            return
        if logged:
            self.skipped.tell(step)
        in_row = self.skipped.in_row()
        if in_row == 0:
            self.state_file.prove()
        if in_row >= self.config.max_skipped or (last and 0 < step <= in_row):
            what = f"the gradient of the last {in_row} steps was not finite"
            raise self._diverged(what, step=step, good=step - in_row - 1)

    def check_loss(self, loss: float, *, step: int) -> None:
        """Compare a held-out loss with those before.

        Args:
            loss: held-out loss.
            step: steps done.
        Raises:
            DivergenceError: the loss is not finite, or above that of the start and more than
                `max_rise` times the lowest.
        """
        before = self.held_out
        if before is None:
            before = HeldOut(start=loss, lowest=loss, step=step)
        limit = self.config.max_rise
        rise = limit is not None and before.start < loss > limit * before.lowest
        if rise or not math.isfinite(loss):
            what = f"the held-out loss is {loss:.4g}"
            if math.isfinite(loss):
                what += f", after {before.start:.4g} at the start and {before.lowest:.4g} at best"
            good = self.held_out.step if self.held_out else -1
            self.state_file.go_back(good)
            raise self._diverged(what, step=step, good=good)
        self.held_out = HeldOut(before.start, min(before.lowest, loss), step)

    def _diverged(self, what: str, *, step: int, good: int) -> DivergenceError:
        optimizer, kept = self.config.optimizer, self.state_file.kept
        then = "start again in another run folder"
        if kept is None:
            then = "start again, as no state was saved before"
        elif kept <= good:
            then = f"add --resume, which goes on from step {kept}"
        return DivergenceError(
            f"step {step}: {what}: lower optimizer.learning_rate (now "
            f"{optimizer.learning_rate:g}) or optimizer.clip_norm (now {optimizer.clip_norm:g}) "
            f"in the recipe and {then}"
        )

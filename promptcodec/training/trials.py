"""Batch size of the highest throughput on a device, by measurement."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from promptcodec.errors import UsageError

logger = logging.getLogger(__name__)

MAX_MEMORY_FAULTS = 3
WARM_UP, MEASURED = 2, 7  # steps of a trial
WORTH = 1.05  # least gain in throughput for a batch twice as large


@dataclass(frozen=True)
class Trial:
    """Result of the trials.

    Args:
        batch: batch size of the highest throughput.
        seconds: median time of a step with it.
    """

    batch: int
    seconds: float


def try_batches(
    step: Callable[[int], object],
    *,
    batch: int,
    grow: bool,
    device: torch.device,
    seconds: float,
) -> Trial:
    """Time steps, doubling the batch while throughput rises and memory suffices.

    Args:
        step: function that runs a step with a batch of the given size.
        batch: first batch size.
        grow: whether to try larger batches.
        device: device that steps run on.
        seconds: time after which no larger batch is tried.
    Raises:
        RuntimeError: the first trial failed, for instance out of memory.
    """
    began = time.monotonic()
    best = Trial(batch, _time(step, batch, device=device))
    while grow and time.monotonic() - began < seconds:
        batch *= 2
        try:
            found = Trial(batch, _time(step, batch, device=device))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if found.batch / found.seconds < WORTH * best.batch / best.seconds:
            break
        best = found
    logger.warning("batch %d: %.3g s a step", best.batch, best.seconds)
    return best


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)  # the CPU allocator raises a plain RuntimeError
    return "DefaultCPUAllocator" in text or "out of memory" in text


class MemoryFaults:
    """Batches in a row that did not fit in memory."""

    def __init__(self) -> None:
        self._in_row = 0

    def clear(self) -> None:
        """A batch did fit."""
        self._in_row = 0

    def add(self, error: Exception, *, step: int, alone: bool) -> None:
        """Count a batch that is skipped.

        Args:
            error: what the step raised; another error than lack of memory is raised again.
            step: steps done.
            alone: whether no other process waits for the gradient of this one.
        Raises:
            UsageError: others wait, or too many batches in a row.
        """
        if not is_out_of_memory(error):
            raise error
        if not alone:
            raise UsageError(
                f"step {step}: out of memory; lower batch or data.crop in the recipe, raise "
                "accumulate, and add --resume"
            ) from None
        self._in_row += 1
        logger.warning("step %d: out of memory; its batch is skipped", step)
        if self._in_row >= MAX_MEMORY_FAULTS:
            raise UsageError(
                f"{MAX_MEMORY_FAULTS} batches in a row did not fit in memory; lower batch "
                "or data.crop in the recipe, raise accumulate, and add --resume"
            ) from None


def _time(step: Callable[[int], object], batch: int, *, device: torch.device) -> float:
    """Median time of a step: another process may hold up some of them."""
    taken = []
    for _ in range(WARM_UP + MEASURED):
        began = time.monotonic()
        step(batch)
        _wait(device)
        taken.append(time.monotonic() - began)
    return statistics.median(taken[WARM_UP:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

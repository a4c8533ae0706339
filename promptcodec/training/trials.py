"""Batch size of the highest throughput on a device, by measurement."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

logger = logging.getLogger(__name__)

WARM_UP, MEASURED = 2, 6  # steps of a trial
WORTH = 1.05  # least gain in throughput for a batch twice as large


@dataclass(frozen=True)
class Trial:
    """Result of the trials.

    Args:
        batch: batch size of the highest throughput.
        seconds: time of a step with it.
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


def _time(step: Callable[[int], object], batch: int, *, device: torch.device) -> float:
    for _ in range(WARM_UP):
        step(batch)
    _wait(device)
    began = time.monotonic()
    for _ in range(MEASURED):
        step(batch)
    _wait(device)
    return (time.monotonic() - began) / MEASURED


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

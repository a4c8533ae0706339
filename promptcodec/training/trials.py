"""Which batch a device works fastest with, found by trying."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

logger = logging.getLogger(__name__)

WARM_UP, MEASURED = 2, 6  # steps of a trial
WORTH = 1.05  # a batch twice as large must see so much more in the same time


@dataclass(frozen=True)
class Trial:
    """What was found.

    Args:
        batch: that sees most.
        seconds: of a step with it.
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
    """Time steps, with the batch doubled for as long as that pays and fits in memory.

    Args:
        step: does a step with a batch of so many.
        batch: the first one tried.
        grow: try others too.
        device: that a step runs on.
        seconds: after which no other batch is tried.
    Raises:
        RuntimeError: what the first trial raises, out of memory included.
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
    """Whether a batch did not fit."""
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

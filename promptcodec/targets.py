"""Searching the ladder for a position that meets a size or a quality.

A trial at a position runs g_a once. What a trial gives, the logarithm of a size or a PSNR, is
nearly a line over positions, so each trial lands close to the place where the line through the
two nearest ones meets the target. The last step moves the gain of the best trial instead: that
needs no g_a and lands within a fraction of the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from promptcodec.bitstream import GAIN_STEPS, RATE_STEPS, fixed_to_rate
from promptcodec.errors import UsageError

MAX_PASSES = 6  # of g_a
TUNING_STEPS = 12
MAX_TUNING = 3 * GAIN_STEPS  # about one rate
NEAR = 0.75  # table steps that are left to the gain
BEYOND = 2.5  # table steps that it may go past either end of the ladder
SIZE_TOLERANCE = 0.01  # of the size
PSNR_TOLERANCE = 0.05  # dB


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a stream should become; exactly one of the three is given.

    Args:
        bpp: 8 * bytes of the file / pixels of the original picture.
        size: bytes of the file.
        psnr: dB over RGB.
        strict: never above the size.
    Raises:
        UsageError: none or several given, not a positive number, or strict with a PSNR.
    """

    bpp: float | None = None
    size: float | None = None
    psnr: float | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        names = {"target_bpp": self.bpp, "target_bytes": self.size, "target_psnr": self.psnr}
        given = {name: value for name, value in names.items() if value is not None}
        if len(given) != 1:
            known = ", ".join(names)
            raise UsageError(f"{' and '.join(given) or 'no target'} given: choose one of {known}")
        name, value = next(iter(given.items()))
        if not 0 < value < math.inf:
            raise UsageError(f"{name} is {value}; need a positive number")
        if self.strict and self.psnr is not None:
            raise UsageError("strict is for target_bpp and target_bytes: a PSNR has no ceiling")


class Trial(Protocol):
    """One encoding at a position."""

    @property
    def measure(self) -> float:
        """What is searched for: logarithm of the bytes, or PSNR in dB."""
        ...

    def tuned(self, gain: int) -> Self:
        """The same latents with another gain, in 1/256 of a table step from the position's."""
        ...


@dataclass(frozen=True)
class Goal:
    """A target in the units of `Trial.measure`.

    Args:
        wanted: where to aim.
        least: smallest value that meets the target.
        most: largest one.
        slope: expected change of the measure from one rate index to the next.
        tuning_slope: expected change for a table step of gain.
    """

    wanted: float
    least: float
    most: float
    slope: float
    tuning_slope: float

    @classmethod
    def size(cls, size: float, *, strict: bool) -> Goal:
        """Bytes of a file, within 1 %; from below when strict."""
        most = math.log(size) + (0.0 if strict else math.log1p(SIZE_TOLERANCE))
        least = math.log(size) + math.log1p(-SIZE_TOLERANCE)
        aim = least + 0.7 * (most - least) if strict else math.log(size)
        return cls(aim, least, most, slope=0.33, tuning_slope=0.1)

    @classmethod
    def psnr(cls, psnr: float) -> Goal:
        """A PSNR within 0.05 dB."""
        near = 0.8 * PSNR_TOLERANCE  # a decoder with other float kernels may differ by 0.001 dB
        return cls(psnr, psnr - near, psnr + near, slope=1.6, tuning_slope=0.5)

    def distance(self, trial: Trial) -> float:
        """How far a trial is from where to aim."""
        return abs(trial.measure - self.wanted)

    def met_by(self, trial: Trial) -> bool:
        """Whether the trial meets the target."""
        return self.least - 1e-12 <= trial.measure <= self.most + 1e-12

    def miss(self, trial: Trial) -> float:
        """How far off a trial is; one above `most` is behind all that are not."""
        return self.distance(trial) + (1e3 if trial.measure > self.most + 1e-12 else 0.0)


T = TypeVar("T", bound=Trial)


class Unreachable(Exception):
    """The target lies outside what the ladder gives for this picture.

    Args:
        lowest: measure at the low end of the ladder.
        highest: measure at its high end.
    """

    def __init__(self, lowest: float, highest: float) -> None:
        super().__init__(f"the ladder gives {lowest} to {highest}")
        self.lowest, self.highest = lowest, highest


def search(
    run: Callable[[float], T], *, goal: Goal, low: float, high: float, start: float
) -> tuple[T, int]:
    """Find a trial that meets the goal.

    Args:
        run: makes a trial at a position, a rate index.
        goal: the target.
        low: smallest position.
        high: largest one.
        start: first position.
    Returns:
        The trial that meets the goal, or the nearest one where a picture is so small that single
        bytes are coarser than the tolerance; and how many positions were tried.
    Raises:
        Unreachable: the target lies outside what `low` and `high` give.
    """
    tried: dict[float, T] = {}
    best: T | None = None
    position = min(max(start, low), high)
    while True:
        trial = tried[position] = run(position)
        if goal.met_by(trial):
            return trial, len(tried)
        short = position == high and trial.measure < goal.least
        beyond = position == low and trial.measure > goal.most
        if (short or beyond) and goal.distance(trial) > BEYOND * goal.tuning_slope:
            raise Unreachable(*(_measure_at(end, tried, run) for end in (low, high)))
        near = goal.distance(trial) < NEAR * goal.tuning_slope
        following = _next_position(tried, goal, low=low, high=high)
        stuck = following in tried or len(tried) == MAX_PASSES
        if near or stuck:
            nearest = trial if near else min(tried.values(), key=goal.distance)
            best = min(best or nearest, _tune(nearest, goal), *tried.values(), key=goal.miss)
            if stuck or goal.met_by(best):
                return best, len(tried)
        position = following


def _measure_at(position: float, tried: dict[float, T], run: Callable[[float], T]) -> float:
    return (tried[position] if position in tried else run(position)).measure


def _next_position(tried: dict[float, T], goal: Goal, *, low: float, high: float) -> float:
    """Where the line through the two nearest trials meets the target, in steps of the header."""
    below = [p for p, trial in tried.items() if trial.measure < goal.wanted]
    above = [p for p, trial in tried.items() if trial.measure >= goal.wanted]
    near, slope = max(below) if below else min(above), goal.slope
    others = [min(above)] if below and above else [p for p in tried if p != near]
    if others:
        other = min(others, key=lambda p: abs(p - near))
        slope = (tried[other].measure - tried[near].measure) / (other - near)
    slope = max(slope, 0.1 * goal.slope)  # where nothing changes, look at the end at once
    position = near + (goal.wanted - tried[near].measure) / slope
    return fixed_to_rate(round(min(max(position, low), high) * RATE_STEPS))


def _tune(trial: T, goal: Goal) -> T:
    """Move the gain of a trial until it meets the goal; else the nearest one that came up."""
    best, gain, slope = trial, 0, goal.tuning_slope / GAIN_STEPS
    last_gain, last = 0, trial
    for _ in range(TUNING_STEPS):
        step = round((goal.wanted - last.measure) / slope)
        step = step or (-1 if last.measure > goal.wanted else 1)
        gain = min(max(last_gain + step, -MAX_TUNING), MAX_TUNING)
        if gain == last_gain:
            break
        found = trial.tuned(gain)
        best = min(best, found, key=goal.miss)
        if goal.met_by(best):
            break
        measured = (found.measure - last.measure) / (gain - last_gain)
        # Near the target single symbols hide the slope; then the expected one leads on.
        slope = measured if measured > 0.3 * goal.tuning_slope / GAIN_STEPS else slope
        last_gain, last = gain, found
    return best

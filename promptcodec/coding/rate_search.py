"""Search over positions of the ladder for a size or a PSNR.

A trial at a position runs g_a once. Its measure, the logarithm of a size or a PSNR, is nearly
linear in the position. The next trial is therefore where the line through the two nearest ones
meets the target. Last, the gain of the best trial is changed, which needs no g_a and meets the
target within a fraction of the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from promptcodec.bitstream import GAIN_STEPS, RATE_STEPS, fixed_to_rate

MAX_PASSES = 6  # of g_a
TUNING_STEPS = 12
MAX_TUNING = 3 * GAIN_STEPS  # about one rate
NEAR = 0.75  # table steps from the target, within which only the gain changes
BEYOND = 2.5  # table steps of gain that are allowed past either end of the ladder
SIZE_TOLERANCE = 0.01  # of the size
PSNR_TOLERANCE = 0.05  # dB


class Codable(Protocol):
    """A picture coded at a position."""

    def with_gain(self, gain: int) -> Self:
        """The same latents with another gain, in 1/256 of a table step from the position's."""
        ...


T = TypeVar("T", bound=Codable)


@dataclass(frozen=True, eq=False)
class Trial(Generic[T]):
    """One encoding and its measure.

    Args:
        candidate: encoding at a position.
        measure: logarithm of its bytes, or its PSNR in dB.
    """

    candidate: T
    measure: float


@dataclass(frozen=True)
class Goal:
    """A target in the units of `Trial.measure`.

    Args:
        wanted: value to approach.
        least: smallest value that meets the target.
        most: largest value that meets the target.
        slope: expected change of the measure from one rate index to the next.
        tuning_slope: expected change of the measure for a table step of gain.
    """

    wanted: float
    least: float
    most: float
    slope: float
    tuning_slope: float

    @classmethod
    def size(cls, size: float, *, strict: bool) -> Goal:
        """Goal of a file size in bytes, within 1 %; from below if strict."""
        most = math.log(size) + (0.0 if strict else math.log1p(SIZE_TOLERANCE))
        least = math.log(size) + math.log1p(-SIZE_TOLERANCE)
        aim = least + 0.7 * (most - least) if strict else math.log(size)
        return cls(aim, least, most, slope=0.33, tuning_slope=0.1)

    @classmethod
    def psnr(cls, psnr: float) -> Goal:
        """Goal of a PSNR in dB, within 0.05 dB."""
        near = 0.8 * PSNR_TOLERANCE  # a decoder with other float kernels may differ by 0.001 dB
        return cls(psnr, psnr - near, psnr + near, slope=1.6, tuning_slope=0.5)

    def distance(self, trial: Trial[Any]) -> float:
        """Distance of a trial from the wanted value."""
        return abs(trial.measure - self.wanted)

    def met_by(self, trial: Trial[Any]) -> bool:
        """Whether the trial meets the target."""
        return self.least - 1e-12 <= trial.measure <= self.most + 1e-12

    def miss(self, trial: Trial[Any]) -> float:
        """Distance of a trial, plus a penalty for a measure above `most`."""
        return self.distance(trial) + (1e3 if trial.measure > self.most + 1e-12 else 0.0)


class TargetUnreachable(Exception):
    """The target is outside the range of the ladder for this picture.

    Args:
        lowest: measure at the low end of the ladder.
        highest: measure at its high end.
    """

    def __init__(self, lowest: float, highest: float) -> None:
        super().__init__(f"the ladder gives {lowest} to {highest}")
        self.lowest, self.highest = lowest, highest


def search_rate(
    encode_at: Callable[[float], T],
    measure: Callable[[T], float],
    *,
    goal: Goal,
    low: float,
    high: float,
    start: float,
) -> tuple[Trial[T], int]:
    """Find a trial that meets the goal.

    Args:
        encode_at: function from a rate index to the encoding there.
        measure: function from an encoding to the logarithm of its bytes, or to its PSNR in dB.
        goal: target of the search.
        low: smallest rate index.
        high: largest rate index.
        start: rate index of the first trial.
    Returns:
        The trial that meets the goal, or the nearest one for a picture so small that one byte is
        more than the tolerance; and the number of positions tried.
    Raises:
        TargetUnreachable: the target is outside the measures at `low` and `high`.
    """

    def run(position: float) -> Trial[T]:
        candidate = encode_at(position)
        return Trial(candidate, measure(candidate))

    tried: dict[float, Trial[T]] = {}
    best: Trial[T] | None = None
    position = min(max(start, low), high)
    while True:
        trial = tried[position] = run(position)
        if goal.met_by(trial):
            return trial, len(tried)
        short = position == high and trial.measure < goal.least
        beyond = position == low and trial.measure > goal.most
        if (short or beyond) and goal.distance(trial) > BEYOND * goal.tuning_slope:
            ends = [tried[end] if end in tried else run(end) for end in (low, high)]
            raise TargetUnreachable(*(end.measure for end in ends))
        near = goal.distance(trial) < NEAR * goal.tuning_slope
        following = _next_position(tried, goal, low=low, high=high)
        stuck = following in tried or len(tried) == MAX_PASSES
        if near or stuck:
            nearest = trial if near else min(tried.values(), key=goal.distance)
            tuned = _tune(nearest, measure, goal)
            best = min(best or nearest, tuned, *tried.values(), key=goal.miss)
            if stuck or goal.met_by(best):
                return best, len(tried)
        position = following


def _next_position(tried: dict[float, Trial[T]], goal: Goal, *, low: float, high: float) -> float:
    """Position where the line through the two nearest trials meets the target, as in a header."""
    below = [p for p, trial in tried.items() if trial.measure < goal.wanted]
    above = [p for p, trial in tried.items() if trial.measure >= goal.wanted]
    near, slope = max(below) if below else min(above), goal.slope
    others = [min(above)] if below and above else [p for p in tried if p != near]
    if others:
        other = min(others, key=lambda p: abs(p - near))
        slope = (tried[other].measure - tried[near].measure) / (other - near)
    slope = max(slope, 0.1 * goal.slope)  # a measure that does not change leads to the end at once
    position = near + (goal.wanted - tried[near].measure) / slope
    return fixed_to_rate(round(min(max(position, low), high) * RATE_STEPS))


def _tune(trial: Trial[T], measure: Callable[[T], float], goal: Goal) -> Trial[T]:
    """Change the gain of a trial until it meets the goal; return the nearest one tried."""
    best, gain, slope = trial, 0, goal.tuning_slope / GAIN_STEPS
    last_gain, last = 0, trial
    for _ in range(TUNING_STEPS):
        step = round((goal.wanted - last.measure) / slope)
        step = step or (-1 if last.measure > goal.wanted else 1)
        gain = min(max(last_gain + step, -MAX_TUNING), MAX_TUNING)
        if gain == last_gain:
            break
        candidate = trial.candidate.with_gain(gain)
        found = Trial(candidate, measure(candidate))
        best = min(best, found, key=goal.miss)
        if goal.met_by(best):
            break
        measured = (found.measure - last.measure) / (gain - last_gain)
        # Near the target the measured slope is noisy; then the expected one is used.
        slope = measured if measured > 0.3 * goal.tuning_slope / GAIN_STEPS else slope
        last_gain, last = gain, found
    return best

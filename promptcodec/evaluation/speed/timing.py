"""Medians with quartiles, and runs in turn, so that a busy machine affects all equally."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NOISY = 0.15  # quartile distance over median; above it a figure gets a warning


@dataclass(frozen=True)
class Summary:
    """Repeated measurements of one quantity.

    Attributes:
        median: median of the values.
        low: first quartile.
        high: third quartile.
        values: all values in the order of measurement.
    """

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def noisy(self) -> bool:
        """Whether the middle half is too wide for a reliable median."""
        return self.high - self.low > NOISY * self.median


def summarise(values: list[float]) -> Summary:
    """Median and quartiles of at least one value."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return Summary(float(median), float(low), float(high), tuple(values))


def ratio(numerator: list[float], denominator: list[float]) -> Summary:
    """Ratio of two lists measured in turn, pair by pair."""
    return summarise([a / b for a, b in zip(numerator, denominator, strict=True)])


def in_turn(
    actions: dict[str, Callable[[], object]], *, repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Run all actions in rounds, each once per round.

    Args:
        actions: functions by name.
        repeats: number of measured rounds.
        warm_up: number of rounds before them that are not measured.

    Returns:
        Wall seconds of each round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(warm_up + repeats):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds

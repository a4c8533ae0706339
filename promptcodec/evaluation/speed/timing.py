"""Medians with their spread, and runs taken in turn so that a busy machine hits both alike."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NOISY = 0.15  # quartile distance over median above which a figure deserves a warning


@dataclass(frozen=True)
class Summary:
    """Repeated measurements of one thing.

    Attributes:
        median: in the unit of the values.
        low: first quartile.
        high: third quartile.
        values: all, in the order in which they were taken.
    """

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def noisy(self) -> bool:
        """The middle half is spread too wide for the median to be trusted."""
        return self.high - self.low > NOISY * self.median


def summarise(values: list[float]) -> Summary:
    """Median and quartiles of at least one value."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return Summary(float(median), float(low), float(high), tuple(values))


def ratio(numerator: list[float], denominator: list[float]) -> Summary:
    """Ratio of two lists taken in turn: each pair saw the same machine."""
    return summarise([a / b for a, b in zip(numerator, denominator, strict=True)])


def in_turn(
    actions: dict[str, Callable[[], object]], *, repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Run each action once, then each again, and so on.

    Args:
        actions: by name.
        repeats: rounds that are measured.
        warm_up: rounds before them that are not.

    Returns:
        Wall seconds by name, one for each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(warm_up + repeats):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds

"""Progress of a run: by steps, or by the clock.

A schedule (except warm-up) is a function of the share of the run that is done. By the clock it ends
in time, decay to zero included, for any speed of the steps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

from promptcodec.errors import UsageError

MARGIN = 1.15  # factor on measured times
FIXED_SECONDS = 2.0  # for files, and for start and end of Python


class Pace(Protocol):
    """Progress of a run."""

    def share(self, step: int) -> float:
        """Share of the run that is done before step `step`; 1 or more ends it."""
        ...


@dataclass(frozen=True)
class StepPace:
    """Progress by steps.

    Args:
        steps: number of steps of the whole run.
    """

    steps: int

    def share(self, step: int) -> float:
        """Share of the steps."""
        return step / self.steps


@dataclass
class ClockPace:
    """Progress by the clock.

    Args:
        seconds: time left for steps.
        done: share of the run that an earlier part has done.
    """

    seconds: float
    done: float = 0.0
    _start: float = field(default_factory=lambda: time.monotonic())
    _asked: float = 0.0

    def share(self, step: int) -> float:
        """Share of the time; 1 or more if a step as long as the last one would end too late."""
        now = time.monotonic() - self._start
        last, self._asked = now - self._asked, now
        if step and now + last > self.seconds:
            return 1.0
        return min(1.0, self.done + (1.0 - self.done) * now / self.seconds)


@dataclass(frozen=True)
class Budget:
    """Wall time of a run, from its first import to its last file.

    Args:
        seconds: wall time in all.
        parts: number of runs that share the time left in equal parts, this one included.
        validation_pictures: number of pictures of one validation.
        table_pictures: largest number of training pictures that writing codes.
        batch: batch found by the trials of another run; None runs trials.
        steps: number of steps of that other run.
        began: start of the time, by `time.monotonic`.
    """

    seconds: float
    parts: int = 1
    validation_pictures: int = 1
    table_pictures: int = 0
    batch: int | None = None
    steps: int = 0
    began: float = field(default_factory=lambda: time.monotonic())

    def pace(self, *, validating: float, pictures: int, done: float) -> ClockPace:
        """The pace of the steps within the budget.

        Args:
            validating: seconds of one validation.
            pictures: number of training pictures.
            done: share of the run that an earlier part has done.
        Raises:
            UsageError: no time is left for steps.
        """
        coded = self.validation_pictures + min(self.table_pictures, pictures)
        writing = MARGIN * validating * coded / self.validation_pictures + FIXED_SECONDS
        gone = time.monotonic() - self.began
        left = (self.seconds - gone) / self.parts
        if left <= writing:
            raise UsageError(
                f"{self.seconds / 60:.2g} minutes are too few: {gone:.0f} s are gone and writing "
                f"takes about {self.parts * writing:.0f} s; give more minutes"
            )
        return ClockPace(left - writing, done)

"""How far a run is: by steps, or by the clock.

A schedule (warm-up apart) is a function of the share of the run that is done. By the clock it ends
in time, decay to zero included, however fast the steps are and however that changes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

from promptcodec.errors import UsageError

MARGIN = 1.15  # over what was measured
FIXED_SECONDS = 2.0  # of files, and of Python's own start and end


class Pace(Protocol):
    """How far a run is."""

    def share(self, step: int) -> float:
        """Share of the run that is done before step `step`; 1 or more ends it."""
        ...


@dataclass(frozen=True)
class StepPace:
    """A run of so many steps.

    Args:
        steps: of the whole run.
    """

    steps: int

    def share(self, step: int) -> float:
        """By the step alone."""
        return step / self.steps


@dataclass
class ClockPace:
    """A run that ends at a time.

    Args:
        seconds: that are left for steps.
        done: share that an earlier part of the run has done.
    """

    seconds: float
    done: float = 0.0
    _start: float = field(default_factory=lambda: time.monotonic())
    _asked: float = 0.0

    def share(self, step: int) -> float:
        """By the clock; ends the run where a step as long as the last one would end too late."""
        now = time.monotonic() - self._start
        last, self._asked = now - self._asked, now
        if step and now + last > self.seconds:
            return 1.0
        return min(1.0, self.done + (1.0 - self.done) * now / self.seconds)


@dataclass(frozen=True)
class Budget:
    """Wall time of a run, from its first import to its last file.

    Args:
        seconds: in all.
        parts: runs that share what is left of them, this one included, in equal parts.
        validation_pictures: that one validation takes.
        table_pictures: that writing codes besides, as far as there are so many to train on.
        batch: that trials of another run have found; None tries.
        steps: that the other run had.
        began: when it started, by `time.monotonic`.
    """

    seconds: float
    parts: int = 1
    validation_pictures: int = 1
    table_pictures: int = 0
    batch: int | None = None
    steps: int = 0
    began: float = field(default_factory=lambda: time.monotonic())

    def pace(self, *, validating: float, pictures: int, done: float) -> ClockPace:
        """The pace of the steps that fit in.

        Args:
            validating: seconds that one validation took.
            pictures: to train on.
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

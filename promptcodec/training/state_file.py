"""The state in a run folder: that of weights which gave a finite gradient.

    write -> state-unproven.safetensors -> the next step is finite -> state.safetensors

A run that diverges thereby leaves the last state before it did. Weights may also explode and stay
finite, which only a validation shows: until the next one, the last state that was validated stays
in state-validated.safetensors.
"""

from __future__ import annotations

import os
from pathlib import Path

from promptcodec.io.atomic import write_atomically
from promptcodec.training.state import TrainingState, step_of, write_state

STATE_FILE = "state.safetensors"
UNPROVEN_FILE = "state-unproven.safetensors"
VALIDATED_FILE = "state-validated.safetensors"


class StateFile:
    """State of a run on disk.

    Args:
        out: folder of the run.
        state: state that is there; None without one.
        main: whether this is the first process, which alone writes.
    """

    def __init__(self, out: Path, state: TrainingState | None, *, main: bool) -> None:
        self.out, self.kept, self.main = out, state and state.step, main
        self._unproven: int | None = None
        self._validated = {state.step} if state and state.validated else set()  # steps
        old = out / VALIDATED_FILE
        if main and old.exists() and (state is None or step_of(old) > state.step):
            old.unlink()  # of another run, or of a part that was given up

    @property
    def waits(self) -> bool:
        """Whether a state waits for a finite step."""
        return self._unproven is not None

    def write(self, state: TrainingState | None, *, step: int) -> None:
        """Write a state beside the one that is there; None on all processes but the first."""
        if state is not None:
            write_state(self.out / UNPROVEN_FILE, state)
            self._validated |= {step} if state.validated else set()
        self._unproven = step

    def prove(self) -> None:
        """Put the state that waits in the place of the earlier one."""
        if self._unproven is None:
            return
        if self.main:
            if self._unproven in self._validated:
                (self.out / VALIDATED_FILE).unlink(missing_ok=True)
            elif self.kept in self._validated:
                content = (self.out / STATE_FILE).read_bytes()  # copied: one is always there
                write_atomically(self.out / VALIDATED_FILE, content, force=True)
            os.replace(self.out / UNPROVEN_FILE, self.out / STATE_FILE)
        self.kept, self._unproven = self._unproven, None

    def go_back(self, step: int) -> None:
        """Put back the last validated state, if the one that is there is newer than `step`."""
        older = self.out / VALIDATED_FILE
        if self.main and self.kept is not None and self.kept > step and older.exists():
            self.kept = step_of(older)
            os.replace(older, self.out / STATE_FILE)

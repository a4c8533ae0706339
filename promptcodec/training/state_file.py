"""The state in a run folder: that of weights which gave a finite gradient.

    write -> state-unproven.safetensors -> the next step is finite -> state.safetensors

A run that diverges thereby leaves the last state before it did.
"""

from __future__ import annotations

import os
from pathlib import Path

from promptcodec.training.state import TrainingState, write_state

STATE_FILE = "state.safetensors"
UNPROVEN_FILE = "state-unproven.safetensors"


class StateFile:
    """State of a run on disk.

    Args:
        out: folder of the run.
        kept: step of the state that is there; None without a state.
    """

    def __init__(self, out: Path, *, kept: int | None) -> None:
        self.out, self.kept = out, kept
        self._unproven: int | None = None

    @property
    def waits(self) -> bool:
        """Whether a state waits for a finite step."""
        return self._unproven is not None

    def write(self, state: TrainingState | None, *, step: int) -> None:
        """Write a state beside the one that is there; None on all processes but the first."""
        if state is not None:
            write_state(self.out / UNPROVEN_FILE, state)
        self._unproven = step

    def prove(self) -> None:
        """Put the state that waits in the place of the earlier one."""
        if self._unproven is None:
            return
        if (self.out / UNPROVEN_FILE).exists():
            os.replace(self.out / UNPROVEN_FILE, self.out / STATE_FILE)
        self.kept, self._unproven = self._unproven, None

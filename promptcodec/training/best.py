"""Averaged weights of the lowest held-out loss, for runs that few pictures would overfit.

They are kept in `best.safetensors` of the run folder, with the number of validations since.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from promptcodec.errors import CheckpointError
from promptcodec.io.atomic import write_atomically

BEST_FILE = "best.safetensors"


class Best:
    """The best validation of a run.

    Args:
        folder: run folder.
        patience: number of validations in a row without a lower loss that end the run; None keeps
            nothing and ends nothing.
        resumed: whether to go on with what the folder has.
    Raises:
        CheckpointError: the file of an earlier part of the run is damaged.
    """

    def __init__(self, folder: Path, *, patience: int | None, resumed: bool) -> None:
        self._path, self._patience = folder / BEST_FILE, patience
        self._loss, self._misses = math.inf, 0
        self.values: dict[str, Tensor] = {}
        if patience is not None and resumed and self._path.exists():
            self._read()

    @property
    def is_over(self) -> bool:
        """Whether the run has had its patience."""
        return self._patience is not None and self._misses >= self._patience

    def add(self, loss: float, values: Mapping[str, Tensor]) -> None:
        """Keep the weights of a validation if its loss is the lowest; count it if not.

        Args:
            loss: held-out loss.
            values: averaged weights by name.
        """
        if self._patience is None:
            return
        if loss < self._loss:
            self._loss, self._misses = loss, 0
            self.values = {
                name: v.detach().cpu().contiguous().clone() for name, v in values.items()
            }
        else:
            self._misses += 1
        facts = {"loss": repr(self._loss), "misses": str(self._misses)}
        write_atomically(self._path, save(self.values, facts), force=True)

    def _read(self) -> None:
        try:
            with safe_open(self._path, "pt") as file:
                facts = file.metadata()
                self.values = {name: file.get_tensor(name) for name in file.keys()}
            self._loss, self._misses = float(facts["loss"]), int(facts["misses"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            line = " ".join(str(error).split())
            raise CheckpointError(
                f"{self._path} cannot be read ({line}): remove the run folder and start again"
            ) from None

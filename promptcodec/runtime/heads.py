"""Heads of a base as graphs, read at their first use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.coding.head_config import LOG_MIDDLE, HeadConfig
from promptcodec.coding.head_file import head_folder, read_stored_head
from promptcodec.config import LAMBDAS, LATENT_STRIDE
from promptcodec.runtime.files import read_graphs
from promptcodec.runtime.sessions import Models, Sessions


@dataclass(frozen=True, eq=False)
class Head:
    """A head that can run.

    Args:
        config: configuration of the head.
        sessions: session of its graph.
    """

    config: HeadConfig
    sessions: Sessions

    def scores(self, y_hat: NDArray[Any], *, lmbdas: Sequence[float]) -> NDArray[np.float32]:
        """Calibrated scores; see `Engine.predict`."""
        pictures, channels, height, width = y_hat.shape
        tokens = np.ascontiguousarray(y_hat.transpose(0, 2, 3, 1), np.float32)
        rates = np.log(np.clip(lmbdas, LAMBDAS[0], LAMBDAS[-1])) - LOG_MIDDLE
        (scores,) = self.sessions.get(self.config.task, None).run(
            height * LATENT_STRIDE,
            width * LATENT_STRIDE,
            y_hat=tokens.reshape(pictures, height * width, channels),
            rate=rates.astype(np.float32).reshape(-1, 1, 1),
        )
        return (scores / self.config.temperature).astype(np.float32)


class HeadFolders:
    """Heads by task.

    Args:
        folders: folders of heads.
        base_sha256: hash of their base, 32 bytes.
        models: loading of graphs.
    """

    def __init__(self, folders: Sequence[Path], *, base_sha256: bytes, models: Models) -> None:
        self._folders, self._base_sha256 = tuple(folders), base_sha256
        self._models = models
        self._heads: dict[str, Head] = {}

    def head(self, task: str) -> Head:
        """The head of a task, "classify" or "segment".

        Raises:
            CheckpointError: the task has no head, or several; or the head has no graph.
            ModelMismatchError: the head belongs to another base.
        """
        if task not in self._heads:
            self._heads[task] = self._read(head_folder(self._folders, task))
        return self._heads[task]

    def _read(self, folder: Path) -> Head:
        stored = read_stored_head(folder, base_sha256=self._base_sha256)
        weights = {name: value.astype(np.float32) for name, value in stored.weights.items()}
        config, graphs = stored.config, read_graphs(folder, stored.config)
        sessions = Sessions(graphs, weights, config, models=self._models)
        sessions.get(config.task, None)  # a damaged graph shows before anything is decoded
        return Head(config, sessions)

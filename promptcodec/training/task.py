"""Interfaces of the training loop: the subject of training and its store of pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from promptcodec.training.data.batch import Batch
from promptcodec.training.data.opening import CropStore, open_pictures
from promptcodec.training.losses import Loss


class Store(Protocol):
    """Source of batches.

    Attributes:
        name: name of the data, for the record of the run.
    """

    name: str

    def __len__(self) -> int:
        """Pictures to train on."""
        ...

    def batch(
        self, count: int, *, seed: int, step: int, rank: int = 0, share: float = 0.0
    ) -> Batch:
        """Batch of one step of one process, on any device, a function of the arguments alone.

        Args:
            count: pictures, as the recipe's `batch`.
            seed: seed of the run.
            step: position in the run.
            rank: number of the process.
            share: share of the run that is done.
        """
        ...


class Task(ABC):
    """Subject of a training run: a base codec, an adapter, a head.

    Attributes:
        config: recipe, a `LoopConfig`.
        result: name of the folder for `write`, inside that of the run.
        resting: whether some parameters get no gradient in some steps.
    """

    config: Any
    result: str
    resting: bool = False

    @abstractmethod
    def open_store(self, data: Path, *, device: str, validation: Path | None) -> Store:
        """Read the pictures to train on."""

    @abstractmethod
    def build(self, store: Any) -> nn.Module:
        """A fresh module for what a store holds; frozen parts have `requires_grad` off."""

    def initialise(self, model: Any, store: Any) -> None:  # noqa: B027
        """Set the initial weights of a fresh module; by default they stay as built."""

    def factor(self, name: str) -> float:
        """Learning rate of a parameter over the recipe's, by its name."""
        return 1.0

    def compiled(self, model: Any) -> Sequence[nn.Module]:
        """Modules to compile for training."""
        return ()

    @abstractmethod
    def loss(self, model: Any, batch: Any, *, step: int, share: float = 0.0) -> Loss:
        """Loss of a batch of the store.

        Args:
            model: the module in training, possibly wrapped for several processes.
            batch: batch of the store, on the device of the model.
            step: steps done.
            share: share of the run that is done.
        """

    @abstractmethod
    def validate(self, model: Any, store: Any, *, samples: Path) -> dict[str, float]:
        """Figures of averaged weights on held-out pictures, by name; `loss`, of 0 or more, is one.

        Args:
            model: the module with averaged weights, in eval mode.
            store: source of the held-out pictures.
            samples: folder for pictures to look at.
        """

    @abstractmethod
    def write(self, model: Any, folder: Path, *, store: Any) -> dict[str, Any]:
        """Write averaged weights into `folder`; return further entries of the record."""


class PictureTask(Task):
    """A task on crops of pictures without labels.

    Args:
        config: recipe with `data`, a `DataConfig`.
        cache: file for decoded pictures; None keeps them in memory.
        open_pictures: maker of the store; runs on the same pictures may share one.
    """

    def __init__(
        self,
        config: Any,
        *,
        cache: Path | None = None,
        open_pictures: Callable[..., CropStore] = open_pictures,
    ) -> None:
        self.config, self.cache, self.open_pictures = config, cache, open_pictures

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> CropStore:
        """Read the pictures."""
        return self.open_pictures(
            data, self.config.data, device=device, validation=validation, cache=self.cache
        )

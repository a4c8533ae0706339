"""Training data of joint training: crops of pictures with or without labels, a rate a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptcodec.training.data.augmented import ViewConfig, fit, random_crop
from promptcodec.training.data.batch import TensorBatch
from promptcodec.training.data.labelled import LabelledPictures
from promptcodec.training.data.opening import CropStore


@dataclass(frozen=True)
class JointBatch(TensorBatch):
    """Batch of one step.

    Args:
        x: RGB in [0, 1], (B, 3, size, size).
        targets: probabilities of the classes, (B, classes); zeros for a picture without a label.
        rate: rate index of the step.
    """

    x: Tensor
    targets: Tensor
    rate: int

    @property
    def labelled(self) -> Tensor:
        """Which pictures have a label, bool (B,)."""
        return self.targets.sum(dim=1) > 0.0


class JointStore:
    """Pictures with and without labels, cropped anew at every step.

    Args:
        name: name of the data.
        training: training pictures.
        held: validation pictures.
        rates: rate indexes of the steps, in turn.
        config: augmentation of the pictures.
        unlabelled: pictures without labels; None has none.
        share: share of pictures without labels in a batch.
    """

    def __init__(
        self,
        name: str,
        training: LabelledPictures,
        held: LabelledPictures,
        *,
        rates: Sequence[int],
        config: ViewConfig,
        unlabelled: CropStore | None = None,
        share: float = 0.5,
    ) -> None:
        self.name, self.config, self.rates = name, config, tuple(rates)
        self.training, self.held = training, held
        self.unlabelled, self.share = unlabelled, share

    def __len__(self) -> int:
        return len(self.training.labels)

    def batch(
        self, count: int, *, seed: int, step: int, rank: int = 0, share: float = 0.0
    ) -> JointBatch:
        """Crops of one step, at one rate."""
        rng = np.random.default_rng([seed, step, rank])
        others = 0 if self.unlabelled is None else round(self.share * count)
        chosen = rng.integers(len(self), size=count - others)
        crops = [random_crop(self.training.pictures[n], rng, config=self.config) for n in chosen]
        targets = F.one_hot(self.training.labels[torch.from_numpy(chosen)], len(self.classes))
        # All rates in turn, so that all have the same number of steps.
        rate = self.rates[step % len(self.rates)]
        x, targets = torch.stack(crops).float() / 255.0, targets.float()
        if self.unlabelled is not None:
            x = torch.cat([x, self.unlabelled.batch(others, seed=seed, step=step, rank=rank)])
            targets = torch.cat([targets, targets.new_zeros(others, len(self.classes))])
        return JointBatch(x, targets, rate)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.training.classes

    def sample(self, count: int) -> list[Tensor]:
        """Training pictures, uint8, spread over the set."""
        step = max(1, len(self) // count)
        return [fit(p, self.config.size) for p in self.training.pictures[::step][:count]]

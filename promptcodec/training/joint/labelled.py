"""Joint training on pictures with labels: cross-entropy to the classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from promptcodec.errors import ConfigError
from promptcodec.training.classifier import cross_entropy
from promptcodec.training.data.augmented import AugmentedPictures, LabelledBatch, as_input
from promptcodec.training.data.inputs import OriginalInput
from promptcodec.training.data.labelled import read_labelled
from promptcodec.training.joint.config import LabelledJointConfig
from promptcodec.training.joint.model import HeadOutput
from promptcodec.training.joint.task import JointTask, Judged
from promptcodec.training.losses import ClassificationLoss
from promptcodec.training.temperature import best_temperature


class LabelledJointTask(JointTask[Tensor]):
    """Joint training of codec and classifier by labels; arguments and errors as `JointTask`."""

    config: LabelledJointConfig
    figure = "accuracy"

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> AugmentedPictures:
        """Read the pictures.

        Raises:
            ConfigError: their classes are not those of the head.
        """
        config = self.config
        training, held = read_labelled(data, split="train").held_out(one_in=config.one_in)
        if validation is not None:
            held = read_labelled(validation, split="val")
        if training.classes != self.head.config.labels:
            raise ConfigError(
                f"{data} has classes {', '.join(training.classes[:4])} ..., and the head has "
                f"{', '.join(self.head.config.labels[:4])} ...: train a head for these pictures"
            )
        return AugmentedPictures(
            Path(data).name,
            training,
            held,
            head_input=OriginalInput(),
            config=replace(config.views, settings=(0.0,)),
            seed=config.views.seed,
            cache=self.cache,
        )

    def pictures(self, batch: LabelledBatch) -> Tensor:
        """See `JointTask`."""
        return batch.inputs

    def wanted(self, batch: LabelledBatch) -> Tensor:
        """Probabilities of the classes, (B, classes)."""
        return batch.targets

    def compare(self, found: HeadOutput, wanted: Tensor) -> ClassificationLoss:
        """See `JointTask`."""
        return cross_entropy(found.scores, wanted, smoothing=self.config.smoothing)

    def held(self, store: AugmentedPictures) -> Iterator[tuple[Tensor, Tensor]]:
        """See `JointTask`; with the probabilities of the classes, (1, classes)."""
        (kept,) = store.held.values()
        certain = torch.eye(len(store.classes))[store.held_labels]
        for picture, target in zip(kept, certain, strict=True):
            yield as_input(picture[None]), target[None]

    def judge(self, found: HeadOutput, wanted: Tensor) -> Judged:
        """See `JointTask`; counts are right ones and all."""
        loss = cross_entropy(found.scores.cpu(), wanted, smoothing=0.0)
        return Judged(float(loss.loss), np.array([float(loss.accuracy), 1.0]))

    def score(self, counts: np.ndarray) -> float:
        """Share of right ones."""
        return float(counts[0] / counts[1])

    def sample(self, store: AugmentedPictures, count: int) -> list[Tensor]:
        """See `JointTask`."""
        return store.sample(count)

    def temperature(self, outputs: list[Tensor], wanted: list[Tensor]) -> float:
        """See `JointTask`."""
        return best_temperature(torch.cat(outputs), torch.cat(wanted))

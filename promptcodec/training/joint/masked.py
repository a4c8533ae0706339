"""Joint training on pictures with masks: cross-entropy of their pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from promptcodec.coding.head_config import SEGMENT
from promptcodec.coding.predict import classes_of
from promptcodec.models.heads.iou import confusion_counts, mean_iou
from promptcodec.training.data.augmented import as_input
from promptcodec.training.data.inputs import OriginalInput
from promptcodec.training.data.masked import read_masked
from promptcodec.training.data.segmentation_crops import SegmentationBatch, SegmentationCrops
from promptcodec.training.joint.config import MaskedJointConfig
from promptcodec.training.joint.model import HeadOutput
from promptcodec.training.joint.task import JointTask, Judged
from promptcodec.training.losses import ClassificationLoss
from promptcodec.training.segmenter import class_weights, weighted_cross_entropy


class MaskedJointTask(JointTask[Tensor]):
    """Joint training of codec and segmentation head; arguments and errors as `JointTask`."""

    config: MaskedJointConfig
    reads = SEGMENT
    figure = "miou"

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> SegmentationCrops:
        """Read the pictures."""
        config, count = self.config, len(self.head.config.labels)
        whole = read_masked(data, split="train", classes=count, ignore=config.ignore)
        training, held = whole.held_out(one_in=config.one_in)
        self._weights = class_weights(training, classes=count, balance=config.balance)
        return SegmentationCrops(
            Path(data).name,
            training,
            held,
            head_input=OriginalInput(),
            config=replace(config.scenes, settings=(0.0,), held_settings=(0.0,)),
            seed=config.seed,
        )

    def pictures(self, batch: SegmentationBatch) -> Tensor:
        """See `JointTask`."""
        return batch.inputs

    def wanted(self, batch: SegmentationBatch) -> Tensor:
        """Masks, int64 (B, H, W)."""
        return batch.masks

    def compare(self, found: HeadOutput, wanted: Tensor) -> ClassificationLoss:
        """See `JointTask`."""
        weights = self._weights.to(found.scores.device)
        return weighted_cross_entropy(found.scores, wanted, weights=weights)

    def held(self, store: SegmentationCrops) -> Iterator[tuple[Tensor, Tensor]]:
        """See `JointTask`; with masks, int64 (1, H, W)."""
        (kept,) = store.held.values()
        for picture, mask in zip(kept, store.held_masks, strict=True):
            yield as_input(picture), mask[None].long()

    def judge(self, found: HeadOutput, wanted: Tensor) -> Judged:
        """See `JointTask`; counts are the confusion matrix."""
        scores = found.scores.cpu()
        _, height, width = wanted.shape
        classes = classes_of(scores[0].numpy(), height=height, width=width)
        counts = confusion_counts(classes, wanted[0].numpy(), classes=scores.shape[1])
        loss = weighted_cross_entropy(scores, wanted, weights=self._weights)
        return Judged(float(loss.loss), counts)

    def score(self, counts: np.ndarray) -> float:
        """Mean IoU."""
        return float(mean_iou(counts))

    def sample(self, store: SegmentationCrops, count: int) -> list[Tensor]:
        """See `JointTask`."""
        return store.sample(count)

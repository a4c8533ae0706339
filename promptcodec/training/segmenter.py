"""Training of a segmentation head on latents of a frozen codec, or on pixels to compare.

It begins as a head with stages of a trained network, up to 1/16.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.head_config import IGNORE, LATENTS, SEGMENT, HeadConfig
from promptcodec.coding.predict import SCORE_STRIDE, classes_of
from promptcodec.config import Count, Positive, Share, Within
from promptcodec.errors import ConfigError
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import build_head, write_head
from promptcodec.models.heads.iou import confusion_counts, mean_iou
from promptcodec.training.config import LoopConfig, OptimizerConfig, Rise
from promptcodec.training.data.augmented import as_input
from promptcodec.training.data.inputs import INPUTS, input_of
from promptcodec.training.data.masked import MaskedPictures, read_masked
from promptcodec.training.data.segmentation_crops import (
    SceneConfig,
    SegmentationBatch,
    SegmentationCrops,
)
from promptcodec.training.losses import ClassificationLoss
from promptcodec.training.optim import device_of
from promptcodec.training.start import BUNDLED, copy_start, is_end, read_start
from promptcodec.training.task import Task

MOST_IGNORED = 16
THINNED = 2  # px between rows, and columns, in the loss


@dataclass(frozen=True, kw_only=True)
class SegmenterTrainingConfig(LoopConfig):
    """Recipe of a segmentation head; what every recipe has is in `LoopConfig`.

    Args:
        labels: names of the classes, in the order of their numbers in the masks.
        task: "segment".
        ignore: numbers in the masks of pixels that have no class.
        base: folder of the frozen base, or a Hub id; None is the bundled one.
        input: kind of input: "latents", "decoded" pixels, the "original", or pixels of "jpeg",
            "webp" or "avif" files.
        start: folder of a head which the new one begins as up to 1/16; "bundled" is the classifier
            of the bundled base.
        body_factor: learning rate of a start's layers over that of the others.
        balance: exponent of the class weights, (median share / own share) ** balance.
        one_in: number of runs of neighbouring training pictures of which one is held out.
        scenes: augmentation of the pictures.
    """

    labels: tuple[str, ...]
    task: str = SEGMENT
    ignore: tuple[Annotated[int, Within(0, 255)], ...] = (IGNORE,)
    max_rise: Rise | None = None
    base: str | None = None
    input: str = LATENTS
    start: str = BUNDLED
    body_factor: Positive = 0.1
    balance: Share = 0.5
    one_in: Annotated[int, Within(2)] = 10
    scenes: SceneConfig = field(default_factory=SceneConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=1e-3, warmup_steps=100, decay_fraction=0.7, ema_decay=0.995
        )
    )
    steps: Count = 2000
    batch: Count = 8
    validate_every: Count = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task != SEGMENT:
            raise ConfigError(f"task is {self.task!r}; need {SEGMENT!r}")
        if self.input not in INPUTS:
            raise ConfigError(f"input is {self.input!r}; need one of {', '.join(INPUTS)}")
        if len(self.ignore) > MOST_IGNORED:
            raise ConfigError(f"ignore has {len(self.ignore)} numbers; need {MOST_IGNORED} at most")
        if not 2 <= len(self.labels) <= IGNORE or len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"{len(self.labels)} labels; need 2 to {IGNORE}, all different")


def class_weights(training: MaskedPictures, *, classes: int, balance: float) -> Tensor:
    """Weights of the classes, (classes,): (median share / own share) ** balance."""
    shares = training.frequencies(classes).clamp_min(1e-6)
    return ((shares.median() / shares) ** balance).float()


def weighted_cross_entropy(scores: Tensor, masks: Tensor, *, weights: Tensor) -> ClassificationLoss:
    """Cross-entropy of the labelled pixels in every second row and column.

    The loss on all pixels costs as much as the network and is nearly the same.

    Args:
        scores: logits, (B, classes, H/8, W/8).
        masks: numbers of the classes, int64 (B, H, W); `IGNORE` is no class.
        weights: weights of the classes, (classes,).
    """
    masks = masks[:, ::THINNED, ::THINNED]
    factor = SCORE_STRIDE // THINNED
    full = F.interpolate(scores.float(), scale_factor=factor, mode="bilinear", align_corners=False)
    full = full[:, :, : masks.shape[1], : masks.shape[2]]
    counted = masks != IGNORE
    # A crop without any label has a loss of 0, not the mean of an empty set.
    losses = F.cross_entropy(full, masks, weight=weights, ignore_index=IGNORE, reduction="sum")
    total = (weights[masks.where(counted, 0)] * counted).sum().clamp_min(1e-6)
    with torch.no_grad():
        right = (full.argmax(dim=1) == masks) & counted
    return ClassificationLoss(
        loss=losses / total, accuracy=right.sum() / counted.sum().clamp_min(1)
    )


class SegmenterTask(Task):
    """Training of a segmentation head.

    Args:
        config: recipe.
    Raises:
        CheckpointError: there is no usable start.
        ConfigError: the start reads something else.
    """

    result = "head"

    def __init__(self, config: SegmenterTrainingConfig) -> None:
        self.config = config
        self.codec = TorchCodec.load(config.base)
        self._start = read_start(config.start, codec=self.codec, latents=config.input == LATENTS)
        self._weights = torch.ones(len(config.labels))

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> SegmentationCrops:
        """Read the pictures and send them through the codec once."""
        config, count = self.config, len(self.config.labels)
        whole = read_masked(data, split="train", classes=count, ignore=config.ignore)
        training, held = whole.held_out(one_in=config.one_in)
        self._weights = class_weights(training, classes=count, balance=config.balance)
        return SegmentationCrops(
            Path(data).name,
            training,
            held,
            head_input=input_of(config.input, self.codec),
            config=config.scenes,
            seed=config.seed,
        )

    def build(self, store: SegmentationCrops) -> nn.Module:
        """A head as the start up to 1/16."""
        head = build_head(self._head_config())
        copy_start(head, self._start, labels=self.config.labels)
        return head

    def factor(self, name: str) -> float:
        """What a start knows learns more slowly than the rest."""
        return 1.0 if is_end(name) else self.config.body_factor

    def _head_config(self) -> HeadConfig:
        return replace(
            self._start.config,
            task=SEGMENT,
            labels=self.config.labels,
            trunk=self._start.config.trunk.without_classes(),
            temperature=1.0,
        )

    def loss(
        self, model: nn.Module, batch: SegmentationBatch, *, step: int, share: float = 0.0
    ) -> ClassificationLoss:
        """Cross-entropy on a batch."""
        scores = model(batch.inputs, batch.lmbda)
        weights = self._weights.to(scores.device)
        return weighted_cross_entropy(scores, batch.masks, weights=weights)

    @torch.inference_mode()
    def validate(
        self, model: nn.Module, store: SegmentationCrops, *, samples: Path
    ) -> dict[str, float]:
        """Mean IoU on the held-out pictures at every held setting."""
        overlaps, losses, count = {}, [], len(self.config.labels)
        device = device_of(model)
        for setting, kept in store.held.items():
            lmbda = torch.full((1,), store.head_input.lmbda(setting), device=device)
            total = np.zeros((count, count), np.int64)
            for inputs, mask in zip(kept, store.held_masks, strict=True):
                scores = model(as_input(inputs).to(device), lmbda).cpu()
                height, width = mask.shape
                found = classes_of(scores[0].numpy(), height=height, width=width)
                total += confusion_counts(found, mask.numpy(), classes=count)
                step = weighted_cross_entropy(scores, mask[None].long(), weights=self._weights)
                losses.append(float(step.loss))
            overlaps[f"miou_{setting:g}"] = float(mean_iou(total))
        mean = sum(overlaps.values()) / len(overlaps)
        return {"loss": sum(losses) / len(losses), "miou": mean, **overlaps}

    def write(self, model: nn.Module, folder: Path, *, store: SegmentationCrops) -> dict[str, Any]:
        """Write the head."""
        write_head(folder, model, config=self._head_config())
        return {
            "base_sha256": self.codec.base_hash.hex(),
            "held_pictures": len(store.held_masks),
        }

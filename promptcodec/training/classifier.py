"""Training of a classifier of own classes on latents of a frozen codec, or on pixels to compare.

It begins as a head with stages of a trained network, of all but its classes: these learn first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.head_config import CLASSIFY, LATENTS, SEGMENT, HeadConfig
from promptcodec.config import Count, Positive, Share, ShareBelow1, Within
from promptcodec.errors import ConfigError
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import build_head, write_head
from promptcodec.training.config import LoopConfig, OptimizerConfig, Rise
from promptcodec.training.data.augmented import (
    AugmentedPictures,
    LabelledBatch,
    ViewConfig,
    as_input,
)
from promptcodec.training.data.inputs import INPUTS, input_of
from promptcodec.training.data.labelled import read_labelled
from promptcodec.training.losses import ClassificationLoss
from promptcodec.training.optim import device_of
from promptcodec.training.start import BUNDLED, copy_start, is_end, read_start
from promptcodec.training.task import Task
from promptcodec.training.temperature import best_temperature


@dataclass(frozen=True, kw_only=True)
class ClassifierTrainingConfig(LoopConfig):
    """Recipe of a classifier; what every recipe has is in `LoopConfig`.

    Args:
        task: "classify".
        base: folder of the frozen base, or a Hub id; None is the bundled one.
        input: kind of input: "latents", "decoded" pixels, the "original", or pixels of "jpeg",
            "webp" or "avif" files.
        start: folder of a head which the new one begins as, of all but its classes; "bundled" is
            that of the bundled base.
        thaw: share of the run after which a start's layers learn as well as the classes.
        body_factor: their learning rate over that of the classes.
        smoothing: share of a label that is spread over all classes.
        one_in: number of training pictures of which one is held out for validation.
        views: augmentation of the pictures.
    """

    task: str = CLASSIFY
    max_rise: Rise | None = None
    base: str | None = None
    input: str = LATENTS
    start: str = BUNDLED
    thaw: Share = 0.3
    body_factor: Positive = 0.1
    smoothing: ShareBelow1 = 0.1
    one_in: Annotated[int, Within(2)] = 10
    views: ViewConfig = field(default_factory=lambda: ViewConfig(size=224, views=4))
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=1e-3, warmup_steps=20, decay_fraction=0.7, ema_decay=0.98
        )
    )
    steps: Count = 300
    batch: Count = 32
    validate_every: Count = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task != CLASSIFY:
            raise ConfigError(f"task is {self.task!r}; need {CLASSIFY!r} or {SEGMENT!r}")
        if self.input not in INPUTS:
            raise ConfigError(f"input is {self.input!r}; need one of {', '.join(INPUTS)}")


def cross_entropy(logits: Tensor, targets: Tensor, *, smoothing: float) -> ClassificationLoss:
    """Cross-entropy with smoothed targets; logits and targets (B, classes)."""
    smooth = (1.0 - smoothing) * targets + smoothing / targets.shape[1]
    right = logits.argmax(dim=1) == targets.argmax(dim=1)
    loss = F.cross_entropy(logits.float(), smooth)
    return ClassificationLoss(loss=loss, accuracy=right.float().mean())


class ClassifierTask(Task):
    """Training of a classifier.

    Args:
        config: recipe.
        cache: file for the augmented pictures, which take as long to make as training does; runs
            with the same input share it. None keeps them in memory.
    Raises:
        CheckpointError: there is no usable start.
        ConfigError: the start reads something else, or is no classifier.
    """

    result = "head"

    def __init__(self, config: ClassifierTrainingConfig, *, cache: Path | None = None) -> None:
        self.config, self.cache = config, cache
        self.codec = TorchCodec.load(config.base)
        latents = config.input == LATENTS
        self._start = read_start(config.start, codec=self.codec, latents=latents, task=CLASSIFY)
        self.resting = config.thaw > 0.0

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> AugmentedPictures:
        """Read the pictures and send them through the codec once."""
        config = self.config
        training, held = read_labelled(data, split="train").held_out(one_in=config.one_in)
        if validation is not None:
            held = read_labelled(validation, split="val")
        return AugmentedPictures(
            Path(data).name,
            training,
            held,
            head_input=input_of(config.input, self.codec),
            config=config.views,
            seed=config.views.seed,
            cache=self.cache,
        )

    def build(self, store: AugmentedPictures) -> nn.Module:
        """A head of the classes that the store has, as the start without its own."""
        head = build_head(self._head_config(store.classes))
        copy_start(head, self._start, labels=store.classes)
        return head

    def factor(self, name: str) -> float:
        """What a start knows learns more slowly than new classes."""
        return 1.0 if is_end(name) else self.config.body_factor

    def _head_config(self, classes: tuple[str, ...]) -> HeadConfig:
        return replace(self._start.config, labels=classes, temperature=1.0)

    def loss(
        self, model: nn.Module, batch: LabelledBatch, *, step: int, share: float = 0.0
    ) -> ClassificationLoss:
        """Cross-entropy on a batch."""
        learns = share >= self.config.thaw
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(learns or is_end(name))
        logits = model(batch.inputs, batch.lmbda)
        return cross_entropy(logits, batch.targets, smoothing=self.config.smoothing)

    def validate(
        self, model: nn.Module, store: AugmentedPictures, *, samples: Path
    ) -> dict[str, float]:
        """Accuracy on the held-out pictures at every setting."""
        accuracies, losses = {}, []
        for setting, logits in self._held_logits(model, store).items():
            right = logits.argmax(dim=1) == store.held_labels
            accuracies[f"accuracy_{setting:g}"] = float(right.float().mean())
            losses.append(float(F.cross_entropy(logits, store.held_labels)))
        mean = sum(accuracies.values()) / len(accuracies)
        return {"loss": sum(losses) / len(losses), "accuracy": mean, **accuracies}

    @torch.inference_mode()
    def _held_logits(self, model: nn.Module, store: AugmentedPictures) -> dict[float, Tensor]:
        """Logits of the held-out pictures, (N, classes), by setting."""
        found, device = {}, device_of(model)
        for setting, kept in store.held.items():
            lmbda = torch.full((len(kept),), store.head_input.lmbda(setting))
            parts = zip(kept.split(64), lmbda.split(64), strict=True)
            logits = [model(as_input(x).to(device), own.to(device)).cpu() for x, own in parts]
            found[setting] = torch.cat(logits)
        return found

    def write(self, model: nn.Module, folder: Path, *, store: AugmentedPictures) -> dict[str, Any]:
        """Fit the temperature and write the head."""
        logits = self._held_logits(model.eval(), store)
        labels = store.held_labels.repeat(len(logits))
        temperature = best_temperature(torch.cat(list(logits.values())), labels)
        config = replace(self._head_config(store.classes), temperature=temperature)
        write_head(folder, model, config=config)
        return {"base_sha256": self.codec.base_hash.hex(), "classes": store.classes}

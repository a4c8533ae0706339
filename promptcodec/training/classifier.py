"""Training of a classifier on latents of a frozen codec, or on pixels for comparison.

Label smoothing, mixup and a teacher make a classifier underconfident without changing its ranking
of classes. Its logits are therefore divided by a temperature that is fitted to pictures held out
of training. Source: Guo et al. 2017, arXiv:1706.04599.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.head_config import CLASSIFY, LATENTS, PIXELS, SEGMENT, HeadConfig, Ratio
from promptcodec.config import Count, Positive, Share, ShareBelow1, Within
from promptcodec.errors import ConfigError
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import build_head, write_head
from promptcodec.models.heads.classifier import LatentClassifier
from promptcodec.models.heads.pixel_classifier import PixelClassifier
from promptcodec.training.config import LoopConfig, OptimizerConfig, Rise
from promptcodec.training.data.augmented import (
    AugmentedPictures,
    LabelledBatch,
    ViewConfig,
    as_input,
)
from promptcodec.training.data.inputs import INPUTS, input_of
from promptcodec.training.data.labelled import read_labelled
from promptcodec.training.distillation import DistilledHead, TeacherConfig, read_teacher
from promptcodec.training.losses import ClassificationLoss
from promptcodec.training.optim import device_of
from promptcodec.training.start import copy_known, is_end, read_start
from promptcodec.training.task import Task

TEMPERATURES = torch.logspace(-1.0, 1.0, 201)


@dataclass(frozen=True, kw_only=True)
class ClassifierTrainingConfig(LoopConfig):
    """Recipe of a classifier; what every recipe has is in `LoopConfig`.

    Args:
        task: "classify".
        base: folder of the frozen base, or a Hub id; None is the bundled one.
        input: kind of input: "latents", "decoded" pixels, the "original", or pixels of "jpeg",
            "webp" or "avif" files.
        start: folder of a head with stages of a trained network, which the new head begins as, of
            all but its classes; "bundled" is that of the base. None trains all of a new one.
        thaw: share of the run after which a start's layers learn as well as the classes.
        body_factor: their learning rate over that of the classes.
        body: kind of stages as in `HeadConfig`.
        stride: px between tokens of latents as in `HeadConfig`.
        patch: px between tokens of pixels as in `HeadConfig`.
        film: scaling by the rate as in `HeadConfig`.
        dropout: share of dropped channels as in `HeadConfig`.
        widths: channels of the stages as in `HeadConfig`.
        depths: blocks of the stages as in `HeadConfig`.
        mlp_ratio: ratio of widths as in `HeadConfig`.
        smoothing: share of a label that is spread over all classes.
        teacher: teacher for distillation; None trains on labels alone.
        one_in: number of training pictures of which one is held out for validation.
        shuffle_labels: control: train on labels in random order.
        views: augmentation of the pictures.
    """

    task: str = CLASSIFY
    max_rise: Rise | None = None
    base: str | None = None
    input: str = "latents"
    start: str | None = None
    thaw: Share = 0.3
    body_factor: Positive = 0.1
    body: str = "swin"
    stride: int = 16
    patch: int = 4
    film: bool = False
    dropout: ShareBelow1 = 0.0
    widths: tuple[Count, ...] = (128, 192)
    depths: tuple[Count, ...] = (4, 2)
    mlp_ratio: Ratio = 2.0
    smoothing: ShareBelow1 = 0.1
    teacher: TeacherConfig | None = None
    one_in: Annotated[int, Within(2)] = 10
    shuffle_labels: bool = False
    views: ViewConfig = field(default_factory=ViewConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=1e-3, warmup_steps=200, decay_fraction=0.7, ema_decay=0.998
        )
    )
    steps: Count = 3000
    batch: Count = 32
    validate_every: Count = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task != CLASSIFY:
            raise ConfigError(f"task is {self.task!r}; need {CLASSIFY!r} or {SEGMENT!r}")
        if self.input not in INPUTS:
            raise ConfigError(f"input is {self.input!r}; need one of {', '.join(INPUTS)}")
        if self.start is not None and self.teacher is not None:
            raise ConfigError("a start and a teacher are given; need one of them")
        self.head_config(labels=("a", "b"), latent_channels=1, base_sha256="")

    def head_config(
        self, *, labels: tuple[str, ...], latent_channels: int, base_sha256: str
    ) -> HeadConfig:
        """The head that this run trains.

        Args:
            labels: names of the classes.
            latent_channels: M of the base.
            base_sha256: hash of the base, hexadecimal.
        Raises:
            ConfigError: it cannot be one.
        """
        latents = self.input == LATENTS
        return HeadConfig(
            labels=labels,
            reads=LATENTS if latents else PIXELS,
            latent_channels=latent_channels if latents else 0,
            body=self.body,
            stride=self.stride,
            patch=self.patch,
            film=self.film and latents,
            dropout=self.dropout,
            widths=self.widths,
            depths=self.depths,
            mlp_ratio=self.mlp_ratio,
            base_sha256=base_sha256 if latents else "",
        )


def own_classes(start: str) -> ClassifierTrainingConfig:
    """Recipe for a few hundred pictures of own classes.

    Args:
        start: head to start from, as in `ClassifierTrainingConfig`.
    """
    return ClassifierTrainingConfig(
        start=start,
        views=ViewConfig(size=224, views=4),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=1e-3, warmup_steps=20, decay_fraction=0.7, ema_decay=0.98
        ),
        steps=300,
        validate_every=100,
    )


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
    """

    result = "head"

    def __init__(self, config: ClassifierTrainingConfig, *, cache: Path | None = None) -> None:
        self.config, self.cache = config, cache
        self.codec = TorchCodec.load(config.base)
        self._start = None
        if config.start is not None:
            latents = config.input == LATENTS
            self._start = read_start(config.start, codec=self.codec, latents=latents, task=CLASSIFY)
            self.resting = config.thaw > 0.0

    def open_store(self, data: Path, *, device: str, validation: Path | None) -> AugmentedPictures:
        """Read the pictures and send them through the codec once."""
        config = self.config
        training, held = read_labelled(data, split="train").held_out(one_in=config.one_in)
        if validation is not None:
            held = read_labelled(validation, split="val")
        if config.shuffle_labels:
            generator = torch.Generator().manual_seed(config.seed)
            order = torch.randperm(len(training.labels), generator=generator)
            training.labels.copy_(training.labels[order])
        teacher = None
        if config.teacher is not None:
            teacher = read_teacher(config.teacher, classes=training.classes)
        return AugmentedPictures(
            Path(data).name,
            training,
            held,
            head_input=input_of(config.input, self.codec),
            config=config.views,
            seed=config.views.seed,
            teacher=teacher,
            cache=self.cache,
        )

    def build(self, store: AugmentedPictures) -> nn.Module:
        """A fresh head of the classes that the store has; with a teacher a `DistilledHead`."""
        head = build_head(self._head_config(store.classes))
        if self._start is not None:
            copy_known(head, self._start.model.state_dict())
        if not store.feature_channels:
            return head
        assert isinstance(head, LatentClassifier | PixelClassifier)
        return DistilledHead(head, store.feature_channels)

    def factor(self, name: str) -> float:
        """What a start knows learns more slowly than its new classes."""
        known = self._start is not None and not is_end(name)
        return self.config.body_factor if known else 1.0

    def _head_config(self, classes: tuple[str, ...]) -> HeadConfig:
        if self._start is not None:
            return replace(self._start.config, labels=classes, temperature=1.0)
        return self.config.head_config(
            labels=classes,
            latent_channels=self.codec.config.codec.latent_channels,
            base_sha256=self.codec.base_hash.hex(),
        )

    def initialise(self, model: nn.Module, store: AugmentedPictures) -> None:
        """Standardise the latents."""
        if isinstance(model, DistilledHead):
            model = model.head
        if isinstance(model, LatentClassifier):
            model.stem.standardise(store.sample(1000))

    def loss(
        self, model: nn.Module, batch: LabelledBatch, *, step: int, share: float = 0.0
    ) -> ClassificationLoss:
        """Cross-entropy on a batch, plus the loss on a teacher's features."""
        config = self.config
        if self._start is not None:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(is_end(name) or share >= config.thaw)
        logits = model(batch.inputs, batch.lmbda)
        if config.teacher is None:
            return cross_entropy(logits, batch.targets, smoothing=config.smoothing)
        logits, features = logits
        labels = 1.0 - config.teacher.share
        found = cross_entropy(logits, batch.targets, smoothing=labels * config.smoothing)
        rows, columns = batch.features.shape[2:]  # without the padding of the picture
        apart = (features[:, :, :rows, :columns].float() - batch.features).square().mean()
        return replace(found, loss=found.loss + config.teacher.hints * apart)

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
        model = (model.head if isinstance(model, DistilledHead) else model).eval()
        logits = self._held_logits(model, store)
        temperature = best_temperature(
            torch.cat(list(logits.values())), store.held_labels.repeat(len(logits))
        )
        config = replace(self._head_config(store.classes), temperature=round(temperature, 4))
        write_head(folder, model, config=config)
        return {"base_sha256": self.codec.base_hash.hex(), "classes": store.classes}


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature of least cross-entropy, from 0.1 to 10.

    Args:
        logits: logits, (N, classes).
        labels: indexes of the right classes, (N,).
    """
    losses = [F.cross_entropy(logits / t, labels) for t in TEMPERATURES]
    return float(TEMPERATURES[int(torch.stack(losses).argmin())])

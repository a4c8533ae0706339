"""A trained classifier that another one learns from: from its opinion, and from what it sees.

    target = (1 - share) * label + share * softmax(logits of the teacher / temperature)
    loss   = cross-entropy + hints * mean squared error of its features at 1/16, standardised

The teacher looks at the original crop and the student at what a codec makes of it. Latents have few
pixels' habits built in, so pictures alone teach them slowly: a teacher's features say at every
position what is there.
Sources: Hinton et al. 2015, arXiv:1503.02531 (opinions); Romero et al. 2015, arXiv:1412.6550
(hints).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from promptcodec.errors import ConfigError
from promptcodec.heads.classifier import LatentClassifier
from promptcodec.heads.config import CLASSIFY, PIXELS, RESNET
from promptcodec.heads.pixels import PixelClassifier
from promptcodec.heads.residual import ResidualStages
from promptcodec.heads.store import WEIGHTS_FILE, read_head, read_head_config

BATCH = 64
STRIDE = 16  # px between two features that are compared


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Whom a head learns from, and how much.

    Args:
        head: folder of a classifier on pixels with residual stages.
        share: of its opinion in a target.
        temperature: that its logits are divided by.
        hints: weight of its features.
    """

    head: str
    share: float = 0.5
    temperature: float = 1.5
    hints: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0 or self.temperature <= 0.0 or self.hints < 0.0:
            raise ConfigError(
                f"share is {self.share}, temperature {self.temperature}, hints {self.hints}; need "
                "0 to 1, above 0, 0 or more"
            )


@dataclass(frozen=True, eq=False)
class Teaching:
    """What a teacher makes of some pictures.

    Args:
        shares: of the classes, (N, classes).
        features: at 1/16, (N, C, h, w), float16.
    """

    shares: Tensor
    features: Tensor


@dataclass(frozen=True, eq=False)
class Teacher:
    """A classifier on pixels.

    Args:
        model: on the CPU, in eval mode.
        config: how much it says.
        sha256: of its weights, hexadecimal.
    """

    model: PixelClassifier
    config: TeacherConfig
    sha256: str

    def __str__(self) -> str:
        return f"teacher {self.sha256} at {self.config.temperature:g}"

    @torch.inference_mode()
    def look(self, pictures: Tensor) -> Teaching:
        """Shares and features of uint8 pictures, (N, 3, H, W)."""
        shares, features = [], []
        for part in pictures.split(BATCH):
            x = self.model.tokens(part.float() / 255.0, torch.ones(len(part)))
            middle, logits = split_pass(self.model, x)
            shares.append(torch.softmax(logits / self.config.temperature, dim=1))
            features.append(middle.half().contiguous())
        return Teaching(torch.cat(shares), torch.cat(features))


class Student(nn.Module):
    """A head with a map from its features to a teacher's.

    Args:
        head: with residual stages.
        channels: of the teacher's features.
    """

    def __init__(self, head: LatentClassifier | PixelClassifier, channels: int) -> None:
        super().__init__()
        self.head = head
        self.hint = nn.Conv2d(width_at_16(head), channels, 1)

    def forward(self, x: Tensor, lmbda: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits, (B, classes); in training also features as the teacher's, (B, channels, h, w)."""
        if not self.training:
            return self.head(x, lmbda)
        middle, logits = split_pass(self.head, self.head.tokens(x, lmbda))
        return logits, self.hint(middle)


def split_pass(model: PixelClassifier | LatentClassifier, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features at 1/16, (B, C, h, w), and logits of tokens, (B, h', w', width)."""
    stages = residual_stages(model)
    last = stage_at_16(model)
    middle = stages[: last + 1](x.permute(0, 3, 1, 2))
    return middle, model.judge(stages[last + 1 :](middle).permute(0, 2, 3, 1))


def stage_at_16(model: PixelClassifier | LatentClassifier) -> int:
    """Place of the stage whose features stand at 1/16."""
    first = model.config.patch if isinstance(model, PixelClassifier) else model.config.stride
    return (STRIDE // first).bit_length() - 1


def width_at_16(model: PixelClassifier | LatentClassifier) -> int:
    """Channels of that stage."""
    return model.config.widths[stage_at_16(model)]


def residual_stages(model: PixelClassifier | LatentClassifier) -> nn.Sequential:
    """Its stages.

    Raises:
        ConfigError: a body of another kind, or one that ends before 1/16.
    """
    if not isinstance(model.body, ResidualStages) or stage_at_16(model) >= len(model.config.widths):
        raise ConfigError(
            f"a head with body {model.config.body!r} and {len(model.config.widths)} stages has no "
            f"features to compare at 1/16; need body {RESNET!r} and a stage there"
        )
    return model.body.stages


def read_teacher(config: TeacherConfig, *, classes: Sequence[str]) -> Teacher:
    """Read a teacher.

    Raises:
        CheckpointError: no usable head there.
        ConfigError: a head that reads latents, has no residual stages, or knows other classes.
    """
    folder = Path(config.head)
    found = read_head_config(folder)
    if found.task != CLASSIFY or found.reads != PIXELS:
        raise ConfigError(
            f"teacher {folder} is a head to {found.task} on {found.reads}; need a classifier on "
            "pixels"
        )
    if found.labels != tuple(classes):
        raise ConfigError(
            f"teacher {folder} knows {', '.join(found.labels[:4])} ..., the pictures are of "
            f"{', '.join(classes[:4])} ...: name one that was trained on these classes"
        )
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    model = read_head(folder, base_sha256=b"").model
    assert isinstance(model, PixelClassifier)
    residual_stages(model)
    return Teacher(model, config=config, sha256=digest)

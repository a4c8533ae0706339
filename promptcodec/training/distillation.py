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

from promptcodec.config import LATENT_STRIDE
from promptcodec.errors import CheckpointError, ConfigError
from promptcodec.io.hub import HEAD_WEIGHTS
from promptcodec.models.heads.checkpoint import read_head, read_head_config
from promptcodec.models.heads.classifier import LatentClassifier
from promptcodec.models.heads.config import CLASSIFY, PIXELS
from promptcodec.models.heads.pixel_classifier import PixelClassifier

BATCH = 64
RIDGE = 1e-3  # of the first least squares, over the number of positions


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Whom a head learns from, and how much.

    Args:
        head: folder of a classifier on pixels.
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
class TeacherOutput:
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
    def predict(self, pictures: Tensor) -> TeacherOutput:
        """Shares and features of uint8 pictures, (N, 3, H, W)."""
        shares, features = [], []
        for part in pictures.split(BATCH):
            x = self.model.tokens(part.float() / 255.0, torch.ones(len(part)))
            middle, logits = split_pass(self.model, x)
            shares.append(torch.softmax(logits / self.config.temperature, dim=1))
            features.append(middle.half().contiguous())
        return TeacherOutput(torch.cat(shares), torch.cat(features))


class DistilledHead(nn.Module):
    """A head with a map from its features to a teacher's.

    Args:
        head: that learns.
        channels: of the teacher's features.
    """

    def __init__(self, head: LatentClassifier | PixelClassifier, channels: int) -> None:
        super().__init__()
        self.head = head
        self.hint = nn.Conv2d(head.config.widths[stage_at_16(head)], channels, 1)

    def forward(self, x: Tensor, lmbda: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits, (B, classes); in training also features as the teacher's, (B, channels, h, w)."""
        if not self.training:
            return self.head(x, lmbda)
        middle, logits = split_pass(self.head, self.head.tokens(x, lmbda))
        return logits, self.hint(middle)


class FeatureProjection(nn.Module):
    """A map from a head's features at 1/16 to a teacher's, both of one picture.

    Args:
        width: channels of the head's.
        channels: of the teacher's.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(width, channels, 1)
        self.register_buffer("center", torch.zeros(channels, 1, 1))
        self.register_buffer("spread", torch.ones(channels, 1, 1))

    @torch.no_grad()
    def fit(self, middle: Tensor, features: Tensor) -> None:
        """Standardise some of the teacher's features and solve for them by least squares.

        Args:
            middle: the head's, (N, width, h, w).
            features: the teacher's, (N, channels, h, w).
        """
        self.center.copy_(features.mean(dim=(0, 2, 3))[:, None, None])
        self.spread.copy_(features.std(dim=(0, 2, 3)).clamp_min(1e-3)[:, None, None])
        wanted = ((features - self.center) / self.spread).movedim(1, -1).flatten(0, -2).double()
        known = middle.movedim(1, -1).flatten(0, -2).double()
        known = torch.cat([known, torch.ones_like(known[:, :1])], dim=1)
        ridge = RIDGE * len(known) * torch.eye(known.shape[1], dtype=torch.float64)
        solved = torch.linalg.solve(known.T @ known + ridge, known.T @ wanted)
        assert self.project.bias is not None
        self.project.weight.copy_(solved[:-1].T[:, :, None, None])
        self.project.bias.copy_(solved[-1])

    def forward(self, middle: Tensor, features: Tensor) -> Tensor:
        """Mean squared error over the grid that the teacher sees; scalar."""
        rows, columns = features.shape[2:]
        found = self.project(middle[:, :, :rows, :columns]).float()
        return (found - (features - self.center) / self.spread).square().mean()


def split_pass(model: PixelClassifier | LatentClassifier, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features at 1/16, (B, C, h, w), and logits of tokens, (B, h', w', width)."""
    outputs = model.body.outputs(x)
    return outputs[stage_at_16(model)].permute(0, 3, 1, 2), model.judge(outputs[-1])


def stage_at_16(model: PixelClassifier | LatentClassifier) -> int:
    """Place of the stage whose features stand at 1/16.

    Raises:
        ConfigError: there is none.
    """
    config = model.config
    first = config.patch if isinstance(model, PixelClassifier) else config.stride
    place = (LATENT_STRIDE // first).bit_length() - 1
    if place >= len(config.widths):
        raise ConfigError(
            f"a head on {config.reads} of {len(config.widths)} stages from 1/{first} on has none "
            "at 1/16, where teacher and student are compared; give it more widths and depths"
        )
    return place


def read_teacher(config: TeacherConfig, *, classes: Sequence[str]) -> Teacher:
    """Read a teacher.

    Raises:
        CheckpointError: no usable head there.
        ConfigError: a head that reads latents, has no stage at 1/16, or knows other classes.
    """
    folder = Path(config.head)
    if not folder.is_dir():
        raise CheckpointError(
            f"teacher {folder} does not exist: train a classifier on pixels by `train-head` into "
            "it, or name another one as `teacher.head` in the recipe"
        )
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
    digest = hashlib.sha256((folder / HEAD_WEIGHTS).read_bytes()).hexdigest()
    model = read_head(folder, base_sha256=b"").model
    assert isinstance(model, PixelClassifier)
    stage_at_16(model)
    return Teacher(model, config=config, sha256=digest)

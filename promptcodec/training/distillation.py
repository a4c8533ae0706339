"""Knowledge distillation: soft targets and features of a trained classifier.

    target = (1 - share) * label + share * softmax(logits of the teacher / temperature)
    loss   = cross-entropy + hints * mean squared error of its features at 1/16, standardised

The teacher's input is the original crop, the student's is that crop after the codec. A head on
latents learns slowly from labels alone; the teacher's features are a target at every position.
Sources: Hinton et al. 2015, arXiv:1503.02531 (soft targets); Romero et al. 2015, arXiv:1412.6550
(hints).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from promptcodec.coding.head_config import CLASSIFY, PIXELS
from promptcodec.coding.head_file import read_head_config
from promptcodec.config import LATENT_STRIDE, NotNegative, Positive, Ranged, Share
from promptcodec.errors import CheckpointError, ConfigError, not_found
from promptcodec.io.checkpoints import HEAD_WEIGHTS
from promptcodec.models.heads.checkpoint import read_head
from promptcodec.models.heads.classifier import LatentClassifier
from promptcodec.models.heads.pixel_classifier import PixelClassifier
from promptcodec.training.optim import device_of

BATCH = 64
RIDGE = 1e-3  # regularisation of the initial least squares, per position


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Ranged):
    """Teacher of a head and the weights of its outputs.

    Args:
        head: folder of the teacher, a classifier on pixels.
        share: weight of the teacher's probabilities in a target, 0 to 1.
        temperature: divisor of the teacher's logits.
        hints: weight of the loss on features.
    """

    head: str
    share: Share = 0.5
    temperature: Positive = 1.5
    hints: NotNegative = 1.0


@dataclass(frozen=True, eq=False)
class TeacherOutput:
    """Outputs of a teacher for N pictures.

    Args:
        shares: probabilities of the classes, (N, classes).
        features: feature maps at 1/16, (N, C, h, w), float16.
    """

    shares: Tensor
    features: Tensor


@dataclass(frozen=True, eq=False)
class Teacher:
    """A classifier on pixels.

    Args:
        model: network in eval mode.
        config: temperature and weights of its outputs.
        sha256: hash of its weights, hexadecimal.
    """

    model: PixelClassifier
    config: TeacherConfig
    sha256: str

    def __str__(self) -> str:
        return f"teacher {self.sha256} at {self.config.temperature:g}"

    @torch.inference_mode()
    def predict(self, pictures: Tensor) -> TeacherOutput:
        """Probabilities and features of uint8 pictures, (N, 3, H, W)."""
        shares, features, device = [], [], device_of(self.model)
        for part in pictures.split(BATCH):
            ones = torch.ones(len(part), device=device)
            x = self.model.tokens(part.to(device).float() / 255.0, ones)
            middle, logits = split_pass(self.model, x)
            shares.append(torch.softmax(logits / self.config.temperature, dim=1))
            features.append(middle.half().contiguous())
        return TeacherOutput(torch.cat(shares), torch.cat(features))


class DistilledHead(nn.Module):
    """A head with a map from its features to a teacher's.

    Args:
        head: student.
        channels: channels of the teacher's features.
    """

    def __init__(self, head: LatentClassifier | PixelClassifier, channels: int) -> None:
        super().__init__()
        self.head = head
        self.hint = nn.Conv2d(head.config.widths[stage_at_16(head)], channels, 1)

    def forward(self, x: Tensor, lmbda: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits, (B, classes); in training also projected features, (B, channels, h, w)."""
        if not self.training:
            return self.head(x, lmbda)
        middle, logits = split_pass(self.head, self.head.tokens(x, lmbda))
        return logits, self.hint(middle)


class FeatureProjection(nn.Module):
    """Linear map from a head's features at 1/16 to a teacher's of the same picture.

    Args:
        width: channels of the head's features.
        channels: channels of the teacher's features.
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
        """Standardise the teacher's features and fit the map to them by ridge regression.

        Args:
            middle: features of the head, (N, width, h, w).
            features: features of the teacher, (N, channels, h, w).
        """
        self.center.copy_(features.mean(dim=(0, 2, 3))[:, None, None])
        self.spread.copy_(features.std(dim=(0, 2, 3)).clamp_min(1e-3)[:, None, None])
        wanted = ((features - self.center) / self.spread).movedim(1, -1).flatten(0, -2).double()
        known = middle.movedim(1, -1).flatten(0, -2).double()
        known = torch.cat([known, torch.ones_like(known[:, :1])], dim=1)
        ridge = RIDGE * len(known) * torch.eye(known.shape[1]).to(known)
        solved = torch.linalg.solve(known.T @ known + ridge, known.T @ wanted)
        assert self.project.bias is not None
        self.project.weight.copy_(solved[:-1].T[:, :, None, None])
        self.project.bias.copy_(solved[-1])

    def forward(self, middle: Tensor, features: Tensor) -> Tensor:
        """Mean squared error over the teacher's grid; scalar."""
        rows, columns = features.shape[2:]
        found = self.project(middle[:, :, :rows, :columns]).float()
        return (found - (features - self.center) / self.spread).square().mean()


def split_pass(model: PixelClassifier | LatentClassifier, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features at 1/16, (B, C, h, w), and logits of tokens, (B, h', w', width)."""
    outputs = model.body.outputs(x)
    return outputs[stage_at_16(model)].permute(0, 3, 1, 2), model.judge(outputs[-1])


def stage_at_16(model: PixelClassifier | LatentClassifier) -> int:
    """Index of the stage whose features are at 1/16.

    Raises:
        ConfigError: no stage is at 1/16.
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
        CheckpointError: the folder has no usable head.
        ConfigError: the head reads latents, has no stage at 1/16, or has other classes.
    """
    folder = Path(config.head)
    if not folder.is_dir():
        message = (
            f"teacher {folder} does not exist: train a classifier on pixels by `train-head` into "
            "it, or name another one as `teacher.head` in the recipe"
        )
        raise CheckpointError(not_found(folder, message))
    found = read_head_config(folder)
    if found.task != CLASSIFY or found.reads != PIXELS:
        raise ConfigError(
            f"teacher {folder} is a head to {found.task} on {found.reads}; need a classifier on "
            "pixels"
        )
    if found.labels != tuple(classes):
        raise ConfigError(
            f"teacher {folder} has {', '.join(found.labels[:4])} ..., the pictures are of "
            f"{', '.join(classes[:4])} ...: name one that was trained on these classes"
        )
    digest = hashlib.sha256((folder / HEAD_WEIGHTS).read_bytes()).hexdigest()
    model = read_head(folder, base_sha256=b"").model
    assert isinstance(model, PixelClassifier)
    stage_at_16(model)
    return Teacher(model, config=config, sha256=digest)

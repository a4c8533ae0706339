"""Tiny heads with stages of a network, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from promptcodec.coding.head_config import SEGMENT, HeadConfig
from promptcodec.coding.trunk import StageConfig, StemConfig, TrunkConfig
from promptcodec.models.heads.checkpoint import build_head, write_head
from promptcodec.models.heads.network import HeadNetwork

STAGES = tuple(StageConfig(width=8, blocks=1, stride=2, expansion=2) for _ in range(4))
TRUNK = TrunkConfig(network="tiny", begins=1, channels=3, entry=8, stages=STAGES, last=16)


def on_pixels(labels: Sequence[str], *, task: str = "classify") -> HeadConfig:
    """A whole network of five steps of 2."""
    trunk = TRUNK.without_classes() if task == SEGMENT else TRUNK
    return HeadConfig(task=task, labels=tuple(labels), reads="pixels", trunk=trunk)


def on_latents(
    labels: Sequence[str], *, channels: int, base: bytes, task: str = "classify"
) -> HeadConfig:
    """The same network behind a stem.

    Args:
        labels: classes.
        channels: M of the base.
        base: hash of the base, 32 bytes.
        task: "classify" or "segment".
    """
    return replace(
        on_pixels(labels, task=task),
        reads="latents",
        latent_channels=channels,
        stem=StemConfig(width=16),
        base_sha256=base.hex(),
    )


def write_lively(folder: Path, config: HeadConfig, *, seed: int = 2) -> HeadNetwork:
    """Write an untrained head whose outputs depend on its input, and return its network."""
    torch.manual_seed(seed)
    model = build_head(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    write_head(folder, model, config=config)
    return model

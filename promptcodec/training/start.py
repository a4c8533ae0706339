"""Heads from which other heads start."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from promptcodec.coding.head_config import LATENTS, PIXELS
from promptcodec.coding.head_file import head_folder, read_head_config
from promptcodec.config import CLASSIFY
from promptcodec.errors import ConfigError
from promptcodec.io.checkpoints import find_heads
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import Head, read_head

BUNDLED = "bundled"
ENDS = ("trunk.out.", "pyramid.")  # classes and their layers
WRAPPED = "module."  # before the names of a model that several processes train


def read_start(place: str, *, codec: TorchCodec, latents: bool, task: str | None = None) -> Head:
    """A head to start from.

    Args:
        place: folder of the head; "bundled" is the classifier of the bundled codec.
        codec: codec of the new head.
        latents: whether the new head reads latents; otherwise pixels.
        task: task of the head; None is any.
    Raises:
        CheckpointError: there is no usable head.
        ModelMismatchError: it belongs to another base.
        ConfigError: it has another task, or reads something else.
    """
    folder = head_folder(find_heads(None), CLASSIFY) if place == BUNDLED else Path(place)
    config, wanted = read_head_config(folder), LATENTS if latents else PIXELS
    if config.reads != wanted:
        raise ConfigError(
            f"{folder} is a head on {config.reads}; need one on {wanted}: train it with a "
            "recipe of task transfer, or for pixels take what `promptcodec import-network` wrote"
        )
    if task not in (None, config.task):
        raise ConfigError(f"{folder} is a head to {config.task}; need one to {task}")
    return read_head(folder, base_sha256=codec.base_hash if latents else b"")


@torch.no_grad()
def copy_start(model: nn.Module, start: Head, *, labels: tuple[str, ...]) -> None:
    """Copy the weights that a head has by the same name and in the same shape.

    Those of classes are copied where the classes are the same.
    """
    weights, same = start.model.state_dict(), start.config.labels == labels
    for name, value in model.state_dict().items():
        fits = name in weights and weights[name].shape == value.shape
        if fits and (same or not is_end(name)):
            value.copy_(weights[name])


def is_end(name: str) -> bool:
    """Whether a parameter belongs to the classes, which every head has of its own."""
    return name.removeprefix(WRAPPED).startswith(ENDS)

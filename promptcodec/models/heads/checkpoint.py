"""A head on disk: `head_config.json` and `head_model.safetensors`, bound to its base by hash.

The base's hash does not cover heads: adding or replacing one changes no stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from promptcodec.io.config_files import check_base, read_config
from promptcodec.io.hub import HEAD_CONFIG, HEAD_WEIGHTS
from promptcodec.models.heads.classifier import LatentClassifier
from promptcodec.models.heads.config import CLASSIFY, LATENTS, HeadConfig
from promptcodec.models.heads.pixel_classifier import PixelClassifier
from promptcodec.models.heads.segmenter import LatentSegmenter, PixelSegmenter
from promptcodec.models.weights import as_half, read_network, write_files


@dataclass(frozen=True, eq=False)
class Head:
    """A trained head.

    Args:
        config: configuration of the head.
        model: network, frozen, in eval mode, on the CPU.
    """

    config: HeadConfig
    model: nn.Module


def build_head(config: HeadConfig) -> nn.Module:
    """A fresh network for the task of a config.

    Raises:
        ConfigError: the number of stages is not that of the task.
    """
    if config.task == CLASSIFY:
        return LatentClassifier(config) if config.reads == LATENTS else PixelClassifier(config)
    return LatentSegmenter(config) if config.reads == LATENTS else PixelSegmenter(config)


def write_head(folder: Path, model: nn.Module, *, config: HeadConfig) -> None:
    """Write a head, weights in float16.

    Raises:
        CheckpointError: a weight is not finite.
        OutputError: the folder cannot be written.
    """
    arrays = as_half(model.state_dict())
    write_files(folder / HEAD_WEIGHTS, arrays, config=HEAD_CONFIG, facts=config)


def read_head(folder: Path, *, base_sha256: bytes) -> Head:
    """Read and check a head of a base.

    Args:
        folder: folder of the head.
        base_sha256: hash of the base that its latents come from, 32 bytes.
    Raises:
        CheckpointError: a file is missing, or a tensor is missing, unknown, of another shape or
            not finite.
        ModelMismatchError: the head belongs to another base.
    """
    config = read_head_config(folder)
    check_base(folder, config.base_sha256, base_sha256, what="the head")
    return Head(config, read_network(Path(folder) / HEAD_WEIGHTS, lambda: build_head(config)))


def read_head_config(folder: Path) -> HeadConfig:
    """Read the config of a head, without its weights.

    Raises:
        CheckpointError: the folder has no head, or its config is invalid.
    """
    return read_config(HeadConfig, Path(folder) / HEAD_CONFIG, what="head")

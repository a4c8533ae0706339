"""A head on disk: `head_config.json` and `head_model.safetensors`, bound to its base by hash.

Heads stand outside the base's hash: adding or replacing one leaves every stream as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from promptcodec.io.hub import HEAD_CONFIG, HEAD_WEIGHTS
from promptcodec.models.heads.classifier import LatentClassifier
from promptcodec.models.heads.config import CLASSIFY, LATENTS, HeadConfig
from promptcodec.models.heads.pixel_classifier import PixelClassifier
from promptcodec.models.heads.segmenter import LatentSegmenter, PixelSegmenter
from promptcodec.models.weights import as_half, check_base, read_config, read_network, write_files


@dataclass(frozen=True, eq=False)
class Head:
    """A head, ready to run.

    Args:
        config: what it is.
        model: in eval mode, frozen, on the CPU.
    """

    config: HeadConfig
    model: nn.Module


def build_head(config: HeadConfig) -> nn.Module:
    """The network of a head's task, fresh.

    Raises:
        ConfigError: stages that it does not have.
    """
    if config.task == CLASSIFY:
        return LatentClassifier(config) if config.reads == LATENTS else PixelClassifier(config)
    return LatentSegmenter(config) if config.reads == LATENTS else PixelSegmenter(config)


def write_head(folder: Path, model: nn.Module, *, config: HeadConfig) -> None:
    """Write a head, weights in float16.

    Raises:
        CheckpointError: weights that are not finite.
        OutputError: the folder cannot be written.
    """
    tensors = as_half(model.state_dict())
    write_files(folder / HEAD_WEIGHTS, tensors, config=HEAD_CONFIG, facts=config)


def read_head(folder: Path, *, base_sha256: bytes) -> Head:
    """Read and check a head of a base.

    Args:
        folder: of the head.
        base_sha256: hash of the base that its latents come from.
    Raises:
        CheckpointError: missing files; tensors that are missing, unknown, of another shape or not
            finite.
        ModelMismatchError: the head of another base.
    """
    config = read_head_config(folder)
    check_base(folder, config.base_sha256, base_sha256, what="the head")
    return Head(config, read_network(Path(folder) / HEAD_WEIGHTS, lambda: build_head(config)))


def read_head_config(folder: Path) -> HeadConfig:
    """What a head is, without its weights.

    Raises:
        CheckpointError: no head there, or a config that does not fit.
    """
    return read_config(HeadConfig, Path(folder) / HEAD_CONFIG, what="head")

"""A head on disk, as a network; `coding.head_file` describes the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from promptcodec.coding.head_config import CLASSIFY, HeadConfig
from promptcodec.coding.head_file import read_stored_head
from promptcodec.io.checkpoints import HEAD_CONFIG, HEAD_WEIGHTS
from promptcodec.models.heads.network import Classifier, HeadNetwork, Segmenter
from promptcodec.models.weights import as_half, network_of, write_files


@dataclass(frozen=True, eq=False)
class Head:
    """A trained head.

    Args:
        config: configuration of the head.
        model: network, frozen, in eval mode, on the CPU.
    """

    config: HeadConfig
    model: HeadNetwork


def build_head(config: HeadConfig) -> HeadNetwork:
    """A fresh network for the task of a config.

    Raises:
        ConfigError: timm lacks the network.
    """
    return Classifier(config) if config.task == CLASSIFY else Segmenter(config)


def write_head(folder: Path, model: nn.Module, *, config: HeadConfig) -> None:
    """Write a head, weights in float16.

    Raises:
        CheckpointError: a weight is not finite.
        OutputError: the folder cannot be written.
    """
    arrays = as_half(model.state_dict())
    write_files(folder / HEAD_WEIGHTS, arrays, config=HEAD_CONFIG, facts=config)


def read_head(folder: Path, *, base_sha256: bytes) -> Head:
    """Read and check a head of a base; arguments and errors as `read_stored_head`."""
    stored = read_stored_head(folder, base_sha256=base_sha256)
    config, where = stored.config, str(Path(folder) / HEAD_WEIGHTS)
    return Head(config, network_of(stored.weights, lambda: build_head(config), where=where))

"""Files of a head: what every engine reads of them, checked; no networks.

    head_config.json            task, labels, stem and stages, hash of the base
    head_model.safetensors      weights in float16

The base's hash does not cover heads: adding or replacing one changes no stream.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from promptcodec.coding.head_config import LATENTS, HeadConfig
from promptcodec.coding.head_shapes import head_shapes
from promptcodec.errors import CheckpointError
from promptcodec.io.checkpoints import HEAD_CONFIG, HEAD_WEIGHTS
from promptcodec.io.config_files import check_base, read_config
from promptcodec.io.tensors import Arrays, check_all_taken, read_arrays, take


@dataclass(frozen=True, eq=False)
class StoredHead:
    """Content of a head.

    Args:
        config: its `head_config.json`.
        weights: arrays of its network by name.
    """

    config: HeadConfig
    weights: Arrays


def read_stored_head(folder: Path, *, base_sha256: bytes | None) -> StoredHead:
    """Read and check a head.

    Args:
        folder: folder of the head.
        base_sha256: hash of the base that its latents come from, 32 bytes; None is any base.
    Raises:
        CheckpointError: a missing file, arrays that are missing, unknown, of another shape or not
            finite.
        ModelMismatchError: the head of another base.
    """
    config = read_head_config(folder)
    if base_sha256 is not None:
        check_base(folder, config.base_sha256, base_sha256, what="the head")
    path = Path(folder) / HEAD_WEIGHTS
    left, weights = read_arrays(path), {}
    for name, shape in head_shapes(config):
        weights[name] = take(left, name, shape=shape, where=str(path))
    if config.trunk.is_timm:  # which alone has the shapes
        weights, left = weights | left, {}
    check_all_taken(left, where=str(path))
    return StoredHead(config, weights)


def read_head_config(folder: Path) -> HeadConfig:
    """Read the config of a head, without its weights.

    Raises:
        CheckpointError: the folder has no head, or its config is invalid.
    """
    return read_config(HeadConfig, Path(folder) / HEAD_CONFIG, what="head")


def head_folder(folders: Sequence[Path], task: str) -> Path:
    """The folder of the head of a task that reads latents.

    Args:
        folders: folders of heads.
        task: "classify" or "segment".
    Raises:
        CheckpointError: the task has no head, or several; or a config is invalid.
    """
    configs = {folder: read_head_config(folder) for folder in folders}
    found = [f for f, c in configs.items() if c.task == task and c.reads == LATENTS]
    if not found:
        raise CheckpointError(
            f"this codec has no head to {task}: name one with `--heads` (in Python "
            "`Codec.load(heads=...)`), or train it with `promptcodec train-head`"
        )
    if len(found) > 1:
        raise CheckpointError(
            f"{len(found)} heads to {task}: {', '.join(map(str, found))}; name one"
        )
    return found[0]


def head_text(config: HeadConfig) -> bytes:
    """Text of a head's architecture: all that the shape of its network depends on."""
    values = {
        "task": config.task,
        "classes": len(config.labels),
        "reads": config.reads,
        "latent_channels": config.latent_channels,
        "stem": config.stem and asdict(config.stem),
        "trunk": asdict(config.trunk),
    }
    return json.dumps(values, sort_keys=True).encode()

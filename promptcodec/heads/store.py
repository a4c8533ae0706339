"""A head on disk: `head_config.json` and `head_model.safetensors`, bound to its base by hash.

Heads stand outside the base's hash: adding or replacing one leaves every stream as it is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import save
from torch import nn

from promptcodec.config import from_dict
from promptcodec.errors import CheckpointError, ConfigError, ModelMismatchError
from promptcodec.files import write_atomically
from promptcodec.heads.classifier import LatentClassifier
from promptcodec.heads.config import CLASSIFY, LATENTS, HeadConfig
from promptcodec.heads.pixels import PixelClassifier
from promptcodec.heads.segmenter import LatentSegmenter, PixelSegmenter
from promptcodec.weights import as_half, check_finite, load_weights, read_weights

CONFIG_FILE = "head_config.json"
WEIGHTS_FILE = "head_model.safetensors"


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
    check_finite(tensors, where=str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS_FILE, save(tensors), force=True)
    text = json.dumps(asdict(config), indent=2) + "\n"
    write_atomically(folder / CONFIG_FILE, text.encode(), force=True)


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
    folder = Path(folder)
    config = read_head_config(folder)
    if config.base_sha256 != base_sha256.hex():
        raise ModelMismatchError(
            f"head {folder} belongs to base {config.base_sha256[:16]}, the loaded one is "
            f"{base_sha256.hex()[:16]}: load that base, or train the head for this one"
        )
    path = folder / WEIGHTS_FILE
    model = build_head(config)
    load_weights(model, read_weights(path), where=str(path))
    return Head(config=config, model=model.requires_grad_(False).eval())


def read_head_config(folder: Path) -> HeadConfig:
    """What a head is, without its weights.

    Raises:
        CheckpointError: no head there, or a config that does not fit.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        return from_dict(HeadConfig, json.loads(path.read_text("utf-8")), where=str(path))
    except OSError as error:
        raise CheckpointError(f"no head at {folder}: {CONFIG_FILE}: {error.strerror}") from None
    except ValueError as error:  # ConfigError is one
        reason = str(error) if isinstance(error, ConfigError) else f"{path} is not JSON: {error}"
        raise CheckpointError(reason) from None

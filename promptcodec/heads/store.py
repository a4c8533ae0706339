"""A head on disk: `head_config.json` and `head_model.safetensors`, bound to its base by hash.

Heads stand outside the base's hash: adding or replacing one leaves every stream as it is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from promptcodec.config import from_dict
from promptcodec.errors import CheckpointError, ConfigError, ModelMismatchError
from promptcodec.files import write_atomically
from promptcodec.heads.classifier import LatentClassifier
from promptcodec.heads.config import CLASSIFY, LATENTS, HeadConfig
from promptcodec.heads.pixels import PixelClassifier
from promptcodec.heads.segmenter import LatentSegmenter, PixelSegmenter

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
    tensors = {n: v.detach().cpu().half().contiguous() for n, v in model.state_dict().items()}
    _check(tensors, where=str(folder))
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
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise CheckpointError(f"{path} is no readable safetensors file: {line}") from None
    _check(tensors, where=str(path))
    model = build_head(config)
    state = model.state_dict()
    for name, value in state.items():
        found = tensors.pop(name, None)
        if found is None:
            raise CheckpointError(f"{path}: tensor {name} is missing; get the file again")
        if found.shape != value.shape or not found.is_floating_point():
            raise CheckpointError(
                f"{path}: tensor {name} is {found.dtype} {tuple(found.shape)}; need float "
                f"{tuple(value.shape)}: labels and weights do not belong together"
            )
        state[name] = found.float()
    if tensors:
        raise CheckpointError(f"{path}: unknown tensor {min(tensors)}; not this kind of head")
    model.load_state_dict(state)
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


def _check(tensors: dict[str, Tensor], *, where: str) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{where}: tensor {name} is not finite; train or get it again")

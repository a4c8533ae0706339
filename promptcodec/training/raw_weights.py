"""Weights alone, in one file, as a start of other runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from promptcodec.errors import CheckpointError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.checkpoints import BASE_CONFIG
from promptcodec.models.checkpoint import MEASURES, read_base

RAW_FILE = "raw.safetensors"


@dataclass(frozen=True)
class Start:
    """Initial weights of a run.

    Args:
        tensors: weights, float32, by their names in a `CodecModel`.
        sha256: hash of the base, or of the file.
    """

    tensors: dict[str, Tensor]
    sha256: str


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a model's state, floats in bfloat16 except for scale factors."""
    stored = {}
    for name, value in tensors.items():
        short = value.is_floating_point() and not name.endswith(MEASURES)
        stored[name] = (value.bfloat16() if short else value).detach().cpu().contiguous()
    write_atomically(path, save(stored), force=True)


def read_start(place: Path) -> Start:
    """Read the weights of `init_from`.

    Args:
        place: folder of a base checkpoint, file of weights, or a folder that holds
            `raw.safetensors` and no checkpoint.
    Raises:
        CheckpointError: the place is none of these.
    """
    if place.is_dir() and (place / RAW_FILE).is_file() and not (place / BASE_CONFIG).exists():
        place = place / RAW_FILE
    if not place.is_file():
        base = read_base(place)
        return Start(base.model.state_dict(), base.sha256.hex())
    try:
        tensors = load_file(place)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise CheckpointError(f"{place} is no readable safetensors file: {line}") from None
    floats = {n: v.float() if v.is_floating_point() else v for n, v in tensors.items()}
    for name, value in floats.items():
        if not bool(value.isfinite().all()):
            raise CheckpointError(f"{place}: tensor {name} is not finite; train or get it again")
    return Start(floats, hashlib.sha256(place.read_bytes()).hexdigest())

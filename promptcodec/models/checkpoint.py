"""A base codec on disk: `config.json` and `model.safetensors`, checked in full when read.

Weights are stored in float16, the scale path and the entropy tables as integers.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.entropy.tables import (
    NUM_SCALES,
    TOTAL,
    gaussian_table,
    quantise_frequencies,
    table_range,
)
from promptcodec.config import BaseConfig, CodecConfig
from promptcodec.errors import CheckpointError
from promptcodec.io.hub import BASE_CONFIG, BASE_WEIGHTS
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.hyperprior import (
    ACTIVATION_BITS,
    MAX_EXACT,
    WEIGHT_BITS,
    exactness_bound,
)
from promptcodec.models.weights import (
    WeightBudget,
    check_finite,
    load_weights,
    plain_tensors,
    read_config,
    read_weights,
    take,
    write_files,
)

SCALE_PATH = "hyperprior.scale_path."
FLOAT32 = ("hyperprior.prior.",)  # for training alone; small and sensitive
MEASURES = ("units", "step")  # endings of names of buffers that scale features; small as well


@dataclass(frozen=True)
class Base:
    """A base codec.

    Args:
        model: networks in eval mode, on the CPU, float32.
        tables: entropy tables.
        config: architecture and rate.
        sha256: hash of the base, 32 bytes; streams and adapters are bound to it.
    """

    model: CodecModel
    tables: EntropyTables
    config: BaseConfig
    sha256: bytes


def write_base(
    folder: Path, model: CodecModel, *, config: BaseConfig, tables: EntropyTables | None = None
) -> bytes:
    """Write a checkpoint; returns its hash.

    Args:
        folder: folder to write, created if missing.
        model: trained model.
        config: architecture and rate.
        tables: entropy tables; None computes them from the densities of the model.
    Raises:
        CheckpointError: a weight is not finite, or the scale path exceeds the exact range.
        OutputError: the folder cannot be written.
    """
    tensors = pack_tensors(model, tables or density_tables(model))
    build(tensors, config=config, where=str(folder))  # raises if it could not be read
    write_files(folder / BASE_WEIGHTS, tensors, config=BASE_CONFIG, facts=config)
    return base_hash(tensors, config.codec)


def density_tables(model: CodecModel) -> EntropyTables:
    """Entropy tables of Gaussians for y and of the learned density for z."""
    probabilities = model.hyperprior.prior.integer_probabilities().cpu().numpy()
    return EntropyTables(
        y=tuple(gaussian_table(i) for i in range(NUM_SCALES)),
        z=np.stack([quantise_frequencies(p) for p in probabilities]),
    )


def pack_tensors(model: CodecModel, tables: EntropyTables) -> dict[str, Tensor]:
    """Tensors of a checkpoint, in the types of the file."""
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if not name.startswith(SCALE_PATH):
            exact = name.startswith(FLOAT32) or name.endswith(MEASURES)
            kind = torch.float32 if exact else torch.float16
            tensors[name] = value.detach().cpu().to(kind).contiguous()
    for number, (weight, bias) in enumerate(model.hyperprior.scale_path.quantised()):
        tensors[f"scale_path.{number}.weight"] = weight.cpu().to(torch.int32)
        tensors[f"scale_path.{number}.bias"] = bias.cpu()
    tensors["tables.y"] = torch.from_numpy(np.concatenate(tables.y).astype(np.int32))
    tensors["tables.z"] = torch.from_numpy(tables.z.astype(np.int32))
    return tensors


@plain_tensors()
def read_base(folder: Path) -> Base:
    """Read and check a checkpoint.

    Raises:
        CheckpointError: a file is missing; a tensor is missing, of another shape or not finite; or
            a table does not sum to 2^16.
    """
    path = Path(folder) / BASE_WEIGHTS
    for needed in (Path(folder) / BASE_CONFIG, path):
        if not needed.is_file():
            raise CheckpointError(
                f"no checkpoint at {folder}: {needed.name} is missing; give a folder that holds "
                f"{BASE_CONFIG} and {BASE_WEIGHTS}"
            )
    config = read_config(BaseConfig, path.with_name(BASE_CONFIG), what="checkpoint")
    return build(read_weights(path), config=config, where=str(path))


@plain_tensors()
def build(tensors: dict[str, Tensor], *, config: BaseConfig, where: str) -> Base:
    """Build a codec from stored tensors; `where` is their name in errors."""
    check_finite(tensors, where=where)
    digest = base_hash(tensors, config.codec)
    tensors = dict(tensors)
    with WeightBudget(tensors, where=where):
        model = CodecModel(config.codec)
    layers = []
    for number, layer in enumerate(model.hyperprior.scale_path.convolutions):
        out = layer.weight.shape[0]
        shape = (out, layer.weight[0].numel())
        own = f"scale_path.{number}"
        weight = take(tensors, f"{own}.weight", shape=shape, kind=torch.int32, where=where)
        bias = take(tensors, f"{own}.bias", shape=(out,), kind=torch.int64, where=where)
        layers.append((weight, bias))
        name = f"{SCALE_PATH}layers.{number}"
        scale = 1 << WEIGHT_BITS
        tensors[f"{name}.weight"] = (weight.double() / scale).view_as(layer.weight).float()
        tensors[f"{name}.bias"] = (bias.double() / (scale << ACTIVATION_BITS)).float()
    bound = exactness_bound(layers)
    if bound >= MAX_EXACT:
        raise CheckpointError(f"{where}: scale path can reach {bound}, beyond the exact 2^53")
    tables = _tables(tensors, config.codec, where)
    load_weights(model, tensors, where=where)
    model.freeze_scale_path(layers)
    model.requires_grad_(False)
    return Base(model=model.eval(), tables=tables, config=config, sha256=digest)


def _tables(tensors: dict[str, Tensor], config: CodecConfig, where: str) -> EntropyTables:
    sizes = [2 * table_range(i) + 2 for i in range(NUM_SCALES)]
    shapes = {"tables.y": (sum(sizes),), "tables.z": (config.z_channels, 256)}
    flat, z = (
        take(tensors, name, shape=shape, kind=torch.int32, where=where).numpy()
        for name, shape in shapes.items()
    )
    y = np.split(flat, np.cumsum(sizes)[:-1])
    for kind, tables in (("y", y), ("z", list(z))):
        for number, table in enumerate(tables):
            if int(table.min()) < 1 or int(table.sum(dtype=np.int64)) != TOTAL:
                raise CheckpointError(
                    f"{where}: table {number} of {kind} does not hold frequencies >= 1 that sum "
                    f"to {TOTAL}; get the file again"
                )
    return EntropyTables(y=tuple(t.astype(np.uint32) for t in y), z=z.astype(np.uint32))


def base_hash(tensors: dict[str, Tensor], config: CodecConfig) -> bytes:
    """SHA-256 over the architecture and the sorted (name, dtype, shape, bytes) of all tensors."""
    digest = hashlib.sha256(json.dumps(config.identity(), sort_keys=True).encode())
    update_hash(digest, tensors)
    return digest.digest()


def update_hash(digest: hashlib._Hash, tensors: dict[str, Tensor]) -> None:
    """Feed the sorted (name, dtype, shape, bytes) of tensors to a hash."""
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())

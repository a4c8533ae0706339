"""Files of a base codec: what every engine reads of them, checked; no networks.

config.json         architecture, rate
model.safetensors   weights in float16; the scale path and the entropy tables as integers
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.entropy.tables import NUM_SCALES, TOTAL, table_range
from promptcodec.coding.scale_path import MAX_EXACT, Layers, exactness_bound, layer_shapes
from promptcodec.config import BaseConfig, CodecConfig
from promptcodec.errors import CheckpointError, not_found
from promptcodec.io.checkpoints import BASE_CONFIG, BASE_WEIGHTS
from promptcodec.io.config_files import read_config
from promptcodec.io.tensors import Arrays, read_arrays, take, update_hash


@dataclass(frozen=True, eq=False)
class StoredBase:
    """Content of a checkpoint.

    Args:
        config: architecture and rate.
        weights: arrays of the networks by name, as they are stored; not checked against the config.
        layers: integer weights and biases of the scale path.
        tables: entropy tables.
        sha256: hash that streams and adapters are bound to, 32 bytes.
    """

    config: BaseConfig
    weights: Arrays
    layers: Layers
    tables: EntropyTables
    sha256: bytes


def read_stored_base(folder: Path) -> StoredBase:
    """Read and check a checkpoint, but for the shapes of its weights.

    Raises:
        CheckpointError: missing files, arrays that are missing, of another shape or not finite,
            tables that do not sum to 2^16, a scale path beyond the exact range.
    """
    path = Path(folder) / BASE_WEIGHTS
    for needed in (Path(folder) / BASE_CONFIG, path):
        if not needed.is_file():
            message = (
                f"no checkpoint at {folder}: {needed.name} is missing; give a folder that holds "
                f"{BASE_CONFIG} and {BASE_WEIGHTS}"
            )
            raise CheckpointError(not_found(folder, message))
    config = read_config(BaseConfig, path.with_name(BASE_CONFIG), what="checkpoint")
    return stored_base(read_arrays(path), config=config, where=str(path))


def stored_base(arrays: Arrays, *, config: BaseConfig, where: str) -> StoredBase:
    """A checkpoint from its arrays, which are finite; `where` names them in errors."""
    digest = base_hash(arrays, config.codec)
    left = dict(arrays)
    layers = []
    for number, shape in enumerate(layer_shapes(config.codec)):
        own = f"scale_path.{number}"
        weight = take(left, f"{own}.weight", shape=shape, kind=np.int32, where=where)
        bias = take(left, f"{own}.bias", shape=shape[:1], kind=np.int64, where=where)
        layers.append((weight, bias))
    bound = exactness_bound(layers)
    if bound >= MAX_EXACT:
        raise CheckpointError(f"{where}: scale path can reach {bound}, beyond the exact 2^53")
    tables = _tables(left, config.codec, where)
    return StoredBase(config, left, layers, tables, digest)


def _tables(left: Arrays, config: CodecConfig, where: str) -> EntropyTables:
    sizes = [2 * table_range(i) + 2 for i in range(NUM_SCALES)]
    shapes = {"tables.y": (sum(sizes),), "tables.z": (config.z_channels, 256)}
    flat, z = (
        take(left, name, shape=shape, kind=np.int32, where=where) for name, shape in shapes.items()
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


def base_hash(arrays: Arrays, config: CodecConfig) -> bytes:
    """SHA-256 over the architecture and the sorted (name, dtype, shape, bytes) of all arrays."""
    digest = hashlib.sha256(codec_text(config))
    update_hash(digest, arrays)
    return digest.digest()


def codec_text(config: CodecConfig) -> bytes:
    """Text of an architecture as hashes cover it."""
    return json.dumps(config.identity(), sort_keys=True).encode()

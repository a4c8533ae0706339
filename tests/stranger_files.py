"""Reads the files of a base and of an adapter by FORMAT.md alone; see `stranger`."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RANGES = [
    *(1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3),
    *(4, 4, 4, 5, 5, 6, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16),
    *(18, 20, 22, 25, 27, 31, 34, 38, 42, 47, 52, 58, 65, 72, 80, 89),
    *(99, 111, 123, 137, 153, 170, 189, 211, 235, 262, 292, 325, 362, 403, 449, 500),
]


class Refused(Exception):
    """The specification says that a reader MUST refuse this."""


KINDS = {"F16": "<f2", "F32": "<f4", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U16": "<u2"}
TORCH_NAMES = {
    "F16": "float16",
    "F32": "float32",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U16": "uint16",
}
# Keys of `codec` that may be absent, with their defaults.
ADDED = {
    "hyper_kernel": 3,
    "context_segments": [],
    "context_layers": 2,
    "context_window": 8,
    "context_mlp_ratio": 2.0,
    "scale": "hyperprior",
    "reconstruction": "middle",
    "halo": 64,
}


@dataclass
class Tensors:
    arrays: dict[str, np.ndarray]
    hashed: bytes


def read_safetensors(path: Path) -> Tensors:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    arrays, hashed = {}, b""
    for name in sorted(header):
        entry = header[name]
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        shape = tuple(entry["shape"])
        arrays[name] = np.frombuffer(data[start:end], KINDS[entry["dtype"]]).reshape(shape)
        hashed += f"\n{name} torch.{TORCH_NAMES[entry['dtype']]} {shape}\n".encode()
        hashed += data[start:end]
    return Tensors(arrays, hashed)


@dataclass
class Base:
    digest: bytes
    codec: dict
    tensors: dict[str, np.ndarray]

    @property
    def y_tables(self) -> list[np.ndarray]:
        sizes = [2 * radius + 2 for radius in RANGES]
        return np.split(self.tensors["tables.y"], np.cumsum(sizes)[:-1])


def read_base(folder: Path) -> Base:
    codec = json.loads((folder / "config.json").read_text())["codec"]
    kept = {k: v for k, v in codec.items() if k not in ADDED or v != ADDED[k]}
    tensors = read_safetensors(folder / "model.safetensors")
    text = json.dumps(kept, sort_keys=True).encode()
    return Base(hashlib.sha256(text + tensors.hashed).digest(), codec, tensors.arrays)


@dataclass
class Adapter:
    digest: bytes
    rate_index: int
    log_gains: np.ndarray
    sets: list[np.ndarray]  # tables of z, (Cz, 256) each


def read_adapter(folder: Path) -> Adapter:
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = read_safetensors(folder / "adapter_model.safetensors")
    bound = {
        "base": config["base_sha256"],
        "lambda": config["lmbda"],
        "rate": config["rate_index"],
    }
    text = json.dumps(bound, sort_keys=True).encode()
    gains = tensors.arrays["base_model.model.adapter_slot.lpm_prompts.log_gains"]
    digest = hashlib.sha256(text + tensors.hashed).digest()
    return Adapter(digest, config["rate_index"], gains, read_sets(tensors.arrays))


def read_sets(tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    given = {"tables.z", "tables.z.spans"} & set(tensors)
    if not given:
        return []
    if len(given) == 1:
        raise Refused("one of two tensors")
    spans, rows = tensors["tables.z.spans"].astype(int), tensors["tables.z"]
    if not 1 <= len(rows) <= 4:
        raise Refused("number of sets")
    sets = []
    for row in rows.astype(int):
        table, position = np.ones((len(spans), 256), int), 0
        for channel, (lowest, highest) in enumerate(spans):
            if not -128 <= lowest <= highest <= 127:
                raise Refused("span")
            end = position + highest - lowest + 1
            if end > len(row):
                raise Refused("too few frequencies")
            table[channel, lowest + 128 : highest + 129] = row[position:end]
            position = end
        if position != len(row) or table.min() < 1 or (table.sum(axis=1) != 2**16).any():
            raise Refused("frequencies")
        sets.append(table)
    return sets

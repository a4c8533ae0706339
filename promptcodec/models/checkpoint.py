"""A base codec on disk: `config.json` and `model.safetensors`, checked in full when it is read.

Weights are stored in float16, the scale path and the entropy tables as the integers that run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.overrides import TorchFunctionMode

from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.entropy.tables import (
    NUM_SCALES,
    TOTAL,
    gaussian_table,
    quantise_frequencies,
    table_range,
)
from promptcodec.config import BaseConfig, CodecConfig
from promptcodec.errors import CheckpointError, ConfigError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.hub import BASE_CONFIG, BASE_WEIGHTS
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.hyperprior import (
    ACTIVATION_BITS,
    MAX_EXACT,
    WEIGHT_BITS,
    exactness_bound,
)
from promptcodec.models.weights import check_finite, read_weights

SCALE_PATH = "hyperprior.scale_path."
SPARE_WEIGHTS = 1 << 20  # 4 MB: what a config may ask for beyond its file before it is refused
SPARE_TENSORS = 500  # likewise; a layer takes memory however small it is
FLOAT32 = ("hyperprior.prior.",)  # only training reads it; small and sensitive
MEASURES = ("units", "step")  # what names of buffers that scale features end with; small as well


@dataclass(frozen=True)
class Base:
    """A base codec, ready to run.

    Args:
        model: in eval mode, on the CPU, float32.
        tables: its entropy tables.
        config: architecture and rate.
        sha256: hash that streams and adapters are bound to, 32 bytes.
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
        folder: made if it is not there.
        model: trained weights.
        config: architecture and rate.
        tables: entropy tables; None makes them from the model's own densities.
    Raises:
        CheckpointError: weights that are not finite, or a scale path beyond the exact range.
        OutputError: the folder cannot be written.
    """
    tensors = pack_tensors(model, tables or density_tables(model))
    build(tensors, config=config, where=str(folder))  # what is written can be read
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / BASE_WEIGHTS, save(tensors), force=True)
    write_atomically(folder / BASE_CONFIG, config.to_json().encode(), force=True)
    return base_hash(tensors, config.codec)


def density_tables(model: CodecModel) -> EntropyTables:
    """Gaussian tables for y, the learned density of z tabulated once."""
    probabilities = model.hyperprior.prior.integer_probabilities().cpu().numpy()
    return EntropyTables(
        y=tuple(gaussian_table(i) for i in range(NUM_SCALES)),
        z=np.stack([quantise_frequencies(p) for p in probabilities]),
    )


def pack_tensors(model: CodecModel, tables: EntropyTables) -> dict[str, Tensor]:
    """Everything a decoder needs, in the types that are stored."""
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


def read_base(folder: Path) -> Base:
    """Read and check a checkpoint.

    Raises:
        CheckpointError: missing files, tensors that are missing, of another shape or not finite,
            tables that do not sum to 2^16.
    """
    path = Path(folder) / BASE_WEIGHTS
    for needed in (Path(folder) / BASE_CONFIG, path):
        if not needed.is_file():
            raise CheckpointError(
                f"no checkpoint at {folder}: {needed.name} is missing; give a folder that holds "
                f"{BASE_CONFIG} and {BASE_WEIGHTS}"
            )
    try:
        config = BaseConfig.read(Path(folder) / BASE_CONFIG)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    return build(read_weights(path), config=config, where=str(path))


def build(tensors: dict[str, Tensor], *, config: BaseConfig, where: str) -> Base:
    """Make a codec of stored tensors; `where` names them in errors."""
    check_finite(tensors, where=where)
    digest = base_hash(tensors, config.codec)
    tensors = dict(tensors)
    with WeightBudget(tensors, where=where):
        model = CodecModel(config.codec)
    layers = []
    for number, layer in enumerate(model.hyperprior.scale_path.convolutions):
        out = layer.weight.shape[0]
        shape = (out, layer.weight[0].numel())
        weight = _take(tensors, f"scale_path.{number}.weight", shape, torch.int32, where)
        bias = _take(tensors, f"scale_path.{number}.bias", (out,), torch.int64, where)
        layers.append((weight, bias))
        name = f"{SCALE_PATH}layers.{number}"
        scale = 1 << WEIGHT_BITS
        tensors[f"{name}.weight"] = (weight.double() / scale).view_as(layer.weight).float()
        tensors[f"{name}.bias"] = (bias.double() / (scale << ACTIVATION_BITS)).float()
    bound = exactness_bound(layers)
    if bound >= MAX_EXACT:
        raise CheckpointError(f"{where}: scale path can reach {bound}, beyond the exact 2^53")
    tables = _tables(tensors, config.codec, where)
    state = model.state_dict()
    for name, value in state.items():
        state[name] = _take(tensors, name, tuple(value.shape), None, where).float()
    if tensors:
        raise CheckpointError(
            f"{where}: unknown tensor {sorted(tensors)[0]}; not this architecture"
        )
    model.load_state_dict(state)
    model.freeze_scale_path(layers)
    model.requires_grad_(False)
    return Base(model=model.eval(), tables=tables, config=config, sha256=digest)


class WeightBudget(TorchFunctionMode):
    """While it is active a module is built with no more weights and tensors than a file holds.

    A few that are missing are named by who takes them out of the file.

    Args:
        tensors: of the file.
        where: names the file.
    Raises:
        CheckpointError: where the module asks for over a million weights or 500 tensors more.
    """

    def __init__(self, tensors: dict[str, Tensor], *, where: str) -> None:
        super().__init__()
        self.there = sum(value.numel() for value in tensors.values())
        self.left, self.where = self.there + SPARE_WEIGHTS, where
        self.tensors_left = len(tensors) + SPARE_TENSORS

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in (
            torch.empty,
            torch.zeros,
            torch.randn,
        ):  # what every layer asks for, before it is filled
            shape = args[0] if isinstance(args[0], tuple | list) else args
            self.left -= math.prod(shape)
            self.tensors_left -= 1
            if min(self.left, self.tensors_left) < 0:
                raise CheckpointError(
                    f"{self.where}: holds {self.there} weights and its config asks for far more; "
                    "get both files again"
                )
        return func(*args, **(kwargs or {}))


def _take(
    tensors: dict[str, Tensor],
    name: str,
    shape: tuple[int, ...],
    kind: torch.dtype | None,
    where: str,
) -> Tensor:
    if name not in tensors:
        raise CheckpointError(f"{where}: tensor {name} is missing; get the file again")
    value = tensors.pop(name)
    fits = value.is_floating_point() if kind is None else value.dtype == kind
    if tuple(value.shape) != shape or not fits:
        raise CheckpointError(
            f"{where}: tensor {name} is {value.dtype} {tuple(value.shape)}; need "
            f"{kind or 'float'} {shape}"
        )
    return value


def _tables(tensors: dict[str, Tensor], config: CodecConfig, where: str) -> EntropyTables:
    sizes = [2 * table_range(i) + 2 for i in range(NUM_SCALES)]
    flat = _take(tensors, "tables.y", (sum(sizes),), torch.int32, where).numpy()
    z = _take(tensors, "tables.z", (config.z_channels, 256), torch.int32, where).numpy()
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

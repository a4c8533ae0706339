"""A base codec on disk: `config.json` and `model.safetensors`, checked in full when read.

Weights are stored in float16, the scale path and the entropy tables as integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from promptcodec.coding.base_file import StoredBase, read_stored_base, stored_base
from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.entropy.tables import NUM_SCALES, gaussian_table, quantise_frequencies
from promptcodec.coding.scale_path import ACTIVATION_BITS, WEIGHT_BITS
from promptcodec.config import BaseConfig
from promptcodec.io.checkpoints import BASE_CONFIG, BASE_WEIGHTS
from promptcodec.io.tensors import Arrays, check_finite
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.weights import (
    WeightBudget,
    as_stored,
    load_weights,
    plain_tensors,
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
    arrays = pack_arrays(model, tables or density_tables(model))
    base = build(arrays, config=config, where=str(folder))  # what is written can be read
    write_files(folder / BASE_WEIGHTS, arrays, config=BASE_CONFIG, facts=config)
    return base.sha256


def density_tables(model: CodecModel) -> EntropyTables:
    """Entropy tables of Gaussians for y and of the learned density for z."""
    probabilities = model.hyperprior.prior.integer_probabilities().cpu().numpy()
    return EntropyTables(
        y=tuple(gaussian_table(i) for i in range(NUM_SCALES)),
        z=np.stack([quantise_frequencies(p) for p in probabilities]),
    )


def pack_arrays(model: CodecModel, tables: EntropyTables) -> Arrays:
    """Everything a decoder needs, in the types that are stored."""
    arrays: Arrays = {}
    for name, value in model.state_dict().items():
        if not name.startswith(SCALE_PATH):
            exact = name.startswith(FLOAT32) or name.endswith(MEASURES)
            arrays[name] = as_stored(value, torch.float32 if exact else torch.float16)
    for number, (weight, bias) in enumerate(model.hyperprior.scale_path.quantised()):
        arrays[f"scale_path.{number}.weight"] = as_stored(weight, torch.int32)
        arrays[f"scale_path.{number}.bias"] = as_stored(bias)
    arrays["tables.y"] = np.concatenate(tables.y).astype(np.int32)
    arrays["tables.z"] = tables.z.astype(np.int32)
    return arrays


def read_base(folder: Path) -> Base:
    """Read and check a checkpoint.

    Raises:
        CheckpointError: a file is missing; a tensor is missing, of another shape or not finite; or
            a table does not sum to 2^16.
    """
    return _build(read_stored_base(folder), where=str(Path(folder) / BASE_WEIGHTS))


def build(arrays: Arrays, *, config: BaseConfig, where: str) -> Base:
    """A codec from its arrays; `where` names them in errors."""
    check_finite(arrays, where=where)
    return _build(stored_base(arrays, config=config, where=where), where=where)


@plain_tensors()
def _build(stored: StoredBase, *, where: str) -> Base:
    arrays, layers = dict(stored.weights), []
    with WeightBudget(arrays, where=where):
        model = CodecModel(stored.config.codec)
    for number, (weight, bias) in enumerate(stored.layers):
        layer = model.hyperprior.scale_path.convolutions[number]
        name, scale = f"{SCALE_PATH}layers.{number}", 1 << WEIGHT_BITS
        kernel = (weight / scale).reshape(layer.weight.shape)
        arrays[f"{name}.weight"] = kernel.astype(np.float32)
        arrays[f"{name}.bias"] = (bias / (scale << ACTIVATION_BITS)).astype(np.float32)
        layers.append((torch.from_numpy(weight), torch.from_numpy(bias)))
    load_weights(model, arrays, where=where)
    model.freeze_scale_path(layers)
    model.requires_grad_(False)
    return Base(model.eval(), stored.tables, stored.config, stored.sha256)

"""A rate adapter on disk: a PEFT folder, bound to its base by hash.

    adapter_config.json            peft_type, rate index, lambda, metric, hash of the base, ancestry
    adapter_model.safetensors      prompt networks in float16, log-gains as integers; tables of z,
                                   if the rate has its own

Names of tensors are PEFT's for an adapter in the slot of a `CodecModel` (`peft.py`). This reader
needs neither peft nor a network.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from promptcodec.coding.adapter import PEFT_TYPE, AdapterConfig, RateAdapter
from promptcodec.coding.entropy.z_tables import SPANS, TABLES, ZTables, pack_sets, read_sets
from promptcodec.coding.gains import FRACTION_BITS, Gains
from promptcodec.config import CodecConfig
from promptcodec.errors import CheckpointError
from promptcodec.io.hub import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.checkpoint import Base, update_hash
from promptcodec.models.weights import (
    WeightBudget,
    check_all_taken,
    check_base,
    check_finite,
    config_of,
    plain_tensors,
    read_json,
    read_weights,
    take,
    write_files,
)

PREFIX = "base_model.model.adapter_slot.lpm_prompts."
LOG_GAINS = "log_gains"
_SHA256 = re.compile("[0-9a-f]{64}")
MAX_GAIN = 48 << FRACTION_BITS  # 48 table steps, more than any rate of the ladder


def write_adapter(
    folder: Path,
    prompts: LayerAdaptivePrompts,
    *,
    config: AdapterConfig,
    z_sets: Sequence[ZTables] = (),
) -> bytes:
    """Write an adapter; returns its hash.

    Args:
        folder: folder to write, created if missing.
        prompts: trained networks and gains.
        config: contents of `adapter_config.json`.
        z_sets: tables of z of the rate.
    Raises:
        CheckpointError: a weight is not finite, a gain is out of range, or width or rank of the
            config differ from those of the networks.
        OutputError: the folder cannot be written.
    """
    if (prompts.width, prompts.rank) != (config.width, config.rank):
        raise CheckpointError(
            f"{folder}: the prompts have width {prompts.width} and rank {prompts.rank}, and the "
            f"config {config.width} and {config.rank}: give the same"
        )
    if not bool(torch.isfinite(prompts.log_gains).all()):
        raise CheckpointError(f"{folder}: a log-gain is not finite; train again")
    sets = {name: torch.from_numpy(array) for name, array in pack_sets(z_sets).items()}
    tensors = pack_tensors(prompts) | sets
    _check(tensors, where=str(folder))
    path = folder / ADAPTER_WEIGHTS
    write_files(path, tensors, config=ADAPTER_CONFIG, facts=config, sort=True)
    return adapter_hash(tensors, config)


def pack_tensors(prompts: LayerAdaptivePrompts) -> dict[str, Tensor]:
    """Tensors by PEFT's names, in the types of the file."""
    state = prompts.state_dict()
    tensors = {PREFIX + n: v.detach().cpu().half().contiguous() for n, v in state.items()}
    tensors[PREFIX + LOG_GAINS] = torch.from_numpy(prompts.gains().log_gains)
    return tensors


@plain_tensors()
def read_adapter(folder: Path, *, base: Base) -> RateAdapter:
    """Read and check an adapter of `base`.

    Raises:
        CheckpointError: a file is missing; a tensor is missing, unknown, of another shape or not
            finite; or a table does not sum to 2^16.
        ModelMismatchError: the adapter belongs to another base.
    """
    folder = Path(folder)
    config = read_adapter_config(folder)
    check_base(folder, config.base_sha256, base.sha256, what="the rate")
    path = folder / ADAPTER_WEIGHTS
    return build(read_weights(path), config=config, codec=base.config.codec, where=str(path))


def adapter_digest(folder: Path) -> bytes:
    """Hash of the adapter in a folder, without building its networks.

    Raises:
        CheckpointError: the folder has no readable adapter.
    """
    config = read_adapter_config(folder)
    return adapter_hash(read_weights(Path(folder) / ADAPTER_WEIGHTS), config)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read the config of an adapter, without its weights.

    Raises:
        CheckpointError: the folder has no adapter, or one of another kind or a newer layout.
    """
    path = Path(folder) / ADAPTER_CONFIG
    values = read_json(path, what="adapter")
    if not isinstance(values, dict) or values.get("peft_type") != PEFT_TYPE:
        kind = values.get("peft_type") if isinstance(values, dict) else None
        raise CheckpointError(f"{path} is an adapter of kind {kind!r}; need {PEFT_TYPE!r}")
    known = AdapterConfig.__dataclass_fields__
    # Keys that PEFT adds do not describe the rate.
    own = {key: value for key, value in values.items() if key in known}
    config = config_of(AdapterConfig, own, where=str(path))
    if not _SHA256.fullmatch(config.base_sha256):
        given = config.base_sha256[:80]
        raise CheckpointError(f"{path}: base_sha256 is {given!r}; need 64 hexadecimal digits")
    return config


@plain_tensors()
def build(
    tensors: dict[str, Tensor], *, config: AdapterConfig, codec: CodecConfig, where: str
) -> RateAdapter:
    """Build an adapter from stored tensors; `where` is their name in errors."""
    _check(tensors, where=where)
    digest = adapter_hash(tensors, config)
    if not 1 <= config.width <= 1024:
        raise CheckpointError(f"{where}: width is {config.width}; need 1 to 1024")
    if not 0 <= config.rank <= 256:
        raise CheckpointError(f"{where}: rank is {config.rank}; need 0 to 256")
    with WeightBudget(tensors, where=where):
        prompts = LayerAdaptivePrompts(codec, width=config.width, rank=config.rank)
    state = prompts.state_dict()
    left = dict(tensors)
    for name, value in state.items():
        kind = torch.int16 if name == LOG_GAINS else torch.float16
        found = take(left, PREFIX + name, shape=value.shape, kind=kind, where=where).float()
        state[name] = found / (1 << FRACTION_BITS) if name == LOG_GAINS else found
    stored = {name: left.pop(name).numpy() for name in (TABLES, SPANS) if name in left}
    z_sets = read_sets(stored, channels=codec.z_channels, where=where)
    check_all_taken(left, where=where)
    prompts.load_state_dict(state)
    prompts.requires_grad_(False)
    gains = Gains(tensors[PREFIX + LOG_GAINS].numpy().copy())
    return RateAdapter(config, prompts.eval(), gains, sha256=digest, z_sets=z_sets)


def adapter_hash(tensors: dict[str, Tensor], config: AdapterConfig) -> bytes:
    """SHA-256 over base, rate index, lambda and the sorted (name, dtype, shape, bytes)."""
    bound = {"base": config.base_sha256, "rate": config.rate_index, "lambda": config.lmbda}
    digest = hashlib.sha256(json.dumps(bound, sort_keys=True).encode())
    update_hash(digest, tensors)
    return digest.digest()


def _check(tensors: dict[str, Tensor], *, where: str) -> None:
    check_finite(tensors, where=where)
    gains = tensors.get(PREFIX + LOG_GAINS)
    if gains is not None and gains.numel() and int(gains.int().abs().max()) > MAX_GAIN:
        raise CheckpointError(
            f"{where}: a gain is beyond {MAX_GAIN >> FRACTION_BITS} table steps; get the file again"
        )

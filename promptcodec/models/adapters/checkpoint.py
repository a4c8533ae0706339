"""A rate adapter on disk, as networks; `coding.adapter_file` describes the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from promptcodec.coding.adapter import AdapterConfig, RateAdapter
from promptcodec.coding.adapter_file import (
    LOG_GAINS,
    PREFIX,
    StoredAdapter,
    adapter_hash,
    check_gains,
    read_stored_adapter,
    stored_adapter,
)
from promptcodec.coding.entropy.z_tables import ZTables, pack_sets
from promptcodec.coding.gains import FRACTION_BITS
from promptcodec.config import CodecConfig
from promptcodec.errors import CheckpointError
from promptcodec.io.checkpoints import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from promptcodec.io.tensors import Arrays, check_finite
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.checkpoint import Base
from promptcodec.models.weights import as_half, plain_tensors, write_files


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
    if prompts.shape != config.shape:
        raise CheckpointError(
            f"{folder}: the prompts have width and ranks {prompts.shape}, and the config "
            f"{config.shape}: give the same"
        )
    if not bool(torch.isfinite(prompts.log_gains).all()):
        raise CheckpointError(f"{folder}: a log-gain is not finite; train again")
    arrays = pack_arrays(prompts) | pack_sets(z_sets)
    check_finite(arrays, where=str(folder))
    check_gains(arrays, where=str(folder))
    path = folder / ADAPTER_WEIGHTS
    write_files(path, arrays, config=ADAPTER_CONFIG, facts=config, sort=True)
    return adapter_hash(arrays, config)


def pack_arrays(prompts: LayerAdaptivePrompts) -> Arrays:
    """Arrays under PEFT's names, in the types that are stored."""
    arrays = {PREFIX + name: value for name, value in as_half(prompts.state_dict()).items()}
    return arrays | {PREFIX + LOG_GAINS: prompts.gains().log_gains}


def read_adapter(folder: Path, *, base: Base) -> RateAdapter:
    """Read and check an adapter of `base`.

    Raises:
        CheckpointError: a file is missing; a tensor is missing, unknown, of another shape or not
            finite; or a table does not sum to 2^16.
        ModelMismatchError: the adapter belongs to another base.
    """
    codec = base.config.codec
    return _build(read_stored_adapter(folder, codec=codec, base_sha256=base.sha256), codec)


def build(arrays: Arrays, *, config: AdapterConfig, codec: CodecConfig, where: str) -> RateAdapter:
    """An adapter from its arrays; `where` names them in errors."""
    check_finite(arrays, where=where)
    return _build(stored_adapter(arrays, config=config, codec=codec, where=where), codec)


@plain_tensors()
def _build(stored: StoredAdapter, codec: CodecConfig) -> RateAdapter:
    config, gains = stored.config, stored.gains
    with torch.device("meta"):
        prompts = LayerAdaptivePrompts(
            codec, width=config.width, rank=config.rank, block_rank=config.block_rank
        )
    state = {name: torch.from_numpy(value).float() for name, value in stored.weights.items()}
    state[LOG_GAINS] = torch.from_numpy(gains.log_gains).float() / (1 << FRACTION_BITS)
    prompts.load_state_dict(state, assign=True)
    prompts.requires_grad_(False)
    return RateAdapter(config, prompts.eval(), gains, sha256=stored.sha256, z_sets=stored.z_sets)

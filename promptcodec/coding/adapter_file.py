"""Files of a rate adapter: a PEFT folder, bound to its base by hash; no networks.

    adapter_config.json            peft_type, rate index, lambda, metric, hash of the base, ancestry
    adapter_model.safetensors      prompt networks in float16, log-gains as the integers that run;
                                   tables of z, where the rate has its own

Names of arrays are those that PEFT gives to an adapter in the slot of a `CodecModel`.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promptcodec.coding.adapter import PEFT_TYPE, AdapterConfig
from promptcodec.coding.architecture import (
    LinearMap,
    StageSpec,
    analysis_maps,
    block_layers,
    decoder_stages,
    encoder_stages,
    synthesis_maps,
)
from promptcodec.coding.entropy.z_tables import SPANS, TABLES, ZTables, read_sets
from promptcodec.coding.gains import FRACTION_BITS, Gains
from promptcodec.config import CodecConfig
from promptcodec.errors import CheckpointError
from promptcodec.io.checkpoints import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from promptcodec.io.config_files import check_base, config_of, read_json
from promptcodec.io.tensors import (
    Arrays,
    check_all_taken,
    read_arrays,
    take,
    update_hash,
)

PREFIX = "base_model.model.adapter_slot.lpm_prompts."
LOG_GAINS = "log_gains"
MAX_GAIN = 48 << FRACTION_BITS  # 48 table steps, more than any rate of the ladder
PROMPT_PIXELS = 8  # px that the encoder's trunk folds into channels
PROMPT_REDUCTION = 2  # tokens of a block for each prompt, along an edge
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class StoredAdapter:
    """Content of an adapter.

    Args:
        config: its `adapter_config.json`.
        weights: arrays of the networks by name, float16, log-gains excepted.
        gains: integer log-gains.
        sha256: hash that streams are bound to, 32 bytes.
        z_sets: tables of z of its own; none leaves the base's.
    """

    config: AdapterConfig
    weights: Arrays
    gains: Gains
    sha256: bytes
    z_sets: tuple[ZTables, ...]


def read_stored_adapter(folder: Path, *, codec: CodecConfig, base_sha256: bytes) -> StoredAdapter:
    """Read and check an adapter of a base.

    Args:
        folder: folder of the adapter.
        codec: architecture of the base.
        base_sha256: hash of the base.
    Raises:
        CheckpointError: missing files, arrays that are missing, unknown, of another shape or not
            finite, tables that do not sum to 2^16.
        ModelMismatchError: the adapter of another base.
    """
    folder = Path(folder)
    config = read_adapter_config(folder)
    check_base(folder, config.base_sha256, base_sha256, what="the rate")
    path = folder / ADAPTER_WEIGHTS
    return stored_adapter(read_arrays(path), config=config, codec=codec, where=str(path))


def stored_adapter(
    arrays: Arrays, *, config: AdapterConfig, codec: CodecConfig, where: str
) -> StoredAdapter:
    """An adapter from its arrays, which are finite; `where` names them in errors."""
    check_gains(arrays, where=where)
    digest = adapter_hash(arrays, config)
    if not 1 <= config.width <= 1024:
        raise CheckpointError(f"{where}: width is {config.width}; need 1 to 1024")
    for name, rank in (("rank", config.rank), ("block_rank", config.block_rank)):
        if not 0 <= rank <= 256:
            raise CheckpointError(f"{where}: {name} is {rank}; need 0 to 256")
    left, weights = dict(arrays), {}
    for name, shape in adapter_shapes(codec, config).items():
        kind = np.int16 if name == LOG_GAINS else np.float16
        weights[name] = take(left, PREFIX + name, shape=shape, kind=kind, where=where)
    stored = {name: left.pop(name) for name in (TABLES, SPANS) if name in left}
    z_sets = read_sets(stored, channels=codec.z_channels, where=where)
    check_all_taken(left, where=where)
    gains = Gains(weights.pop(LOG_GAINS).copy())
    return StoredAdapter(config, weights, gains, digest, z_sets)


def adapter_shapes(codec: CodecConfig, config: AdapterConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each array of an adapter, by name without its prefix.

    Args:
        codec: architecture of the base.
        config: contents of `adapter_config.json`.
    """
    width, rank, block_rank = config.shape
    latents = codec.latent_channels
    shapes: dict[str, tuple[int, ...]] = {
        LOG_GAINS: (latents,),
        "mean_scale": (codec.hyper_channels,),
        "mean_bias": (codec.hyper_channels,),
    }
    sides = (
        ("encoder", 3 * PROMPT_PIXELS**2, PROMPT_PIXELS, encoder_stages, analysis_maps),
        ("decoder", latents, 16, decoder_stages, synthesis_maps),
    )
    for side, inputs, stride, stages, maps in sides:
        own = _prompt_shapes(stages(codec), inputs, stride, width)
        shapes |= {f"{side}.{name}": shape for name, shape in own.items()}
        for kind, layers, own_rank in (
            ("maps", maps(codec), rank),
            ("blocks", block_layers(codec, stages(codec)), block_rank),
        ):
            own = _map_shapes(layers, own_rank)
            shapes |= {f"{side}_{kind}.{name}": shape for name, shape in own.items()}
    return shapes


def _prompt_shapes(
    stages: list[StageSpec], inputs: int, stride: int, width: int
) -> dict[str, tuple[int, ...]]:
    blocks = [stage for stage in stages for _ in range(stage.swin_blocks)]
    shapes: dict[str, tuple[int, ...]] = {
        "stem.weight": (width, inputs, 1, 1),
        "stem.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    number = 0
    while stride < max((PROMPT_REDUCTION * block.stride for block in blocks), default=0):
        shapes[f"down.{number}.weight"] = (width, width, 3, 3)
        shapes[f"down.{number}.bias"] = (width,)
        stride, number = 2 * stride, number + 1
    for number, block in enumerate(blocks):
        shapes[f"heads.{number}.weight"] = (block.channels, width)
        shapes[f"heads.{number}.bias"] = (block.channels,)
        shapes[f"gates.{number}"] = (block.heads,)
    return shapes


def _map_shapes(maps: list[LinearMap], rank: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for number, shape in enumerate(maps if rank else ()):
        shapes[f"down.{number}"] = (rank, shape.inputs * shape.kernel**2)
        shapes[f"up.{number}"] = (shape.outputs, rank)
    return shapes


def adapter_digest(folder: Path) -> bytes:
    """Hash of the adapter in a folder, without building its networks.

    Raises:
        CheckpointError: the folder has no readable adapter.
    """
    config = read_adapter_config(folder)
    return adapter_hash(read_arrays(Path(folder) / ADAPTER_WEIGHTS), config)


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


def adapter_hash(arrays: Arrays, config: AdapterConfig) -> bytes:
    """SHA-256 over base, rate index, lambda and the sorted (name, dtype, shape, bytes)."""
    bound = {"base": config.base_sha256, "rate": config.rate_index, "lambda": config.lmbda}
    digest = hashlib.sha256(json.dumps(bound, sort_keys=True).encode())
    update_hash(digest, arrays)
    return digest.digest()


def check_gains(arrays: Arrays, *, where: str) -> None:
    """Refuse gains that belong to no rate."""
    gains = arrays.get(PREFIX + LOG_GAINS)
    if gains is not None and gains.size and int(np.abs(gains.astype(np.int32)).max()) > MAX_GAIN:
        raise CheckpointError(
            f"{where}: a gain is beyond {MAX_GAIN >> FRACTION_BITS} table steps; get the file again"
        )

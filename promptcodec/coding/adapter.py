"""Rate adapter in coding: gains, tables, and networks in the form of the engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from promptcodec.coding.entropy.z_tables import ZTables
from promptcodec.coding.gains import Gains
from promptcodec.config import LAMBDAS, check_format_version
from promptcodec.errors import ConfigError

PEFT_TYPE = "LPM"


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Contents of `adapter_config.json`.

    Args:
        rate_index: position on the ladder.
        lmbda: rate-distortion weight it was trained with.
        base_sha256: hash of its base, hexadecimal.
        width: channels of its trunks.
        rank: rank of its updates of linear maps.
        block_rank: rank of its updates of the layers of blocks.
        metric: name of the distortion.
        init_from: hash of the adapter it was started from; None is the base alone.
        peft_type: name of the method.
        format_version: version of this layout.
    """

    rate_index: int
    lmbda: float
    base_sha256: str
    width: int = 32
    rank: int = 10
    block_rank: int = 0
    metric: str = "mse"
    init_from: str | None = None
    peft_type: str = PEFT_TYPE
    format_version: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Width and both ranks; adapters of one base and shape have tensors of the same shapes."""
        return self.width, self.rank, self.block_rank

    def __post_init__(self) -> None:
        if not 0 <= self.rate_index < len(LAMBDAS):
            raise ConfigError(f"rate_index is {self.rate_index}; need 0 to {len(LAMBDAS) - 1}")
        if not 0.0 < self.lmbda < math.inf:
            raise ConfigError(f"lmbda is {self.lmbda}; need a positive number")
        check_format_version(self.format_version)


@dataclass(frozen=True, eq=False)
class RateAdapter:
    """One installed rate; immutable, and safe to share among threads.

    Args:
        config: contents of `adapter_config.json`.
        network: prompt networks in the engine's own form, frozen.
        gains: integer log-gains.
        sha256: hash of the adapter, 32 bytes; streams are bound to it.
        z_sets: tables of z of the rate; empty uses those of the base.
    """

    config: AdapterConfig
    network: Any
    gains: Gains
    sha256: bytes
    z_sets: tuple[ZTables, ...] = ()


@dataclass(frozen=True)
class RatePoint:
    """One position of the ladder: networks, gains and tables beside the base.

    Args:
        network: networks of one adapter, or between two, in the engine's own form; None is the
            base alone.
        gains: integer log-gains.
        lmbda: rate-distortion weight.
        hashes: hashes of its one or two adapters, lower rate first, as in a stream.
        z_sets: tables of z of the nearer adapter, of the lower in the middle; empty uses those of
            the base.
        pack: name of the pack of its adapters; None for those of the ladder.
    """

    network: Any
    gains: Gains
    lmbda: float
    hashes: tuple[bytes, ...]
    z_sets: tuple[ZTables, ...] = ()
    pack: str | None = None

"""Tables of z of a rate: up to four sets; each tile is coded with one of them.

    set -> channel -> frequencies of the values lowest..highest; any other value has frequency 1

A base has one table for each channel of z, for all rates and pictures. The distribution of z
depends on both, so an adapter may have its own sets. Only their spans are stored, which is lossless
and a small part of 256 values a channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.coding.entropy.coder import Categorical
from promptcodec.coding.entropy.tables import TOTAL, Z_MAX, Z_MIN
from promptcodec.errors import CheckpointError

Frequencies = NDArray[np.uint32]

MAX_SETS = 4
SET_BITS = 8  # of a tile, for the number of its set
NUM_VALUES = Z_MAX - Z_MIN + 1
TABLES, SPANS = "tables.z", "tables.z.spans"  # of an adapter


@dataclass(frozen=True, eq=False)
class ZTables:
    """One table for each channel of z.

    Args:
        frequencies: frequencies over 2^16 of the values -128..127, (Cz, 256).
    """

    frequencies: Frequencies

    @cached_property
    def models(self) -> list[Any]:
        """One coder model for each channel."""
        return [categorical(table) for table in self.frequencies]

    @cached_property
    def _costs(self) -> NDArray[np.float64]:
        return -np.log2(self.frequencies / TOTAL)

    def __getstate__(self) -> dict[str, Any]:
        """The field: the coder's models cannot be pickled."""
        return {"frequencies": self.frequencies}

    def bits(self, z_hat: NDArray[np.int16]) -> float:
        """Ideal code length of z_hat (Cz, h, w)."""
        symbols = z_hat.reshape(len(z_hat), -1).astype(np.intp) - Z_MIN
        return float(np.take_along_axis(self._costs, symbols, axis=1).sum())


def categorical(frequencies: Frequencies) -> Any:
    """The coder's model of one table."""
    # perfect=True uses integers over 2^16 unchanged; False would quantise them again.
    return Categorical(frequencies.astype(np.float64) / TOTAL, perfect=True)


def cheapest(sets: Sequence[ZTables], z_hat: NDArray[np.int16]) -> int:
    """Number of the set with the fewest bits for z_hat (Cz, h, w), the first of equals."""
    bits = [tables.bits(z_hat) for tables in sets]
    return bits.index(min(bits))


def pack_sets(sets: Sequence[ZTables]) -> dict[str, np.ndarray]:
    """Arrays of sets for the file of an adapter; empty without sets.

    Each channel has one span for all sets: from the lowest to the highest value that has more than
    the least frequency in any of them.
    """
    if not sets:
        return {}
    tables = np.stack([each.frequencies for each in sets])
    inside = np.any(tables > 1, axis=0, keepdims=True)[0]
    spans = np.stack([_first(inside), NUM_VALUES - 1 - _first(inside[:, ::-1])], axis=1)
    kept = np.ascontiguousarray(tables[:, _held(spans)])
    return {
        TABLES: kept.astype(np.uint16),
        SPANS: (spans + Z_MIN).astype(np.int16),
    }


def read_sets(
    stored: Mapping[str, np.ndarray], *, channels: int, where: str
) -> tuple[ZTables, ...]:
    """Sets of tables from the arrays of an adapter; empty if it has neither array.

    Args:
        stored: arrays `TABLES` and `SPANS`, or neither.
        channels: Cz of the base.
        where: name of the file, for messages.
    Raises:
        CheckpointError: a tensor has another type or shape, a span is invalid, or frequencies are
            below 1 or do not sum to 2^16.
    """
    if not stored:
        return ()
    spans = _checked(stored, SPANS, np.int16, where).astype(np.int64)
    if spans.shape != (channels, 2) or not _are_spans(spans):
        raise CheckpointError(
            f"{where}: tensor {SPANS} does not hold a lowest and a highest value from {Z_MIN} to "
            f"{Z_MAX} for each of {channels} channels; get the file again"
        )
    held = _held(spans - Z_MIN)
    kept = _checked(stored, TABLES, np.uint16, where)
    if kept.ndim != 2 or not 1 <= len(kept) <= MAX_SETS or kept.shape[1] != held.sum():
        raise CheckpointError(
            f"{where}: tensor {TABLES} is {kept.shape}; need 1 to {MAX_SETS} sets of {held.sum()}"
        )
    tables = np.ones((len(kept), channels, NUM_VALUES), np.uint32)
    tables[:, held] = kept
    faulty = (tables.min(axis=2) < 1) | (tables.sum(axis=2, dtype=np.int64) != TOTAL)
    if faulty.any():
        number, channel = np.argwhere(faulty)[0]
        raise CheckpointError(
            f"{where}: table {channel} of set {number} of z does not hold frequencies >= 1 that "
            f"sum to {TOTAL}; get the file again"
        )
    return tuple(ZTables(table) for table in tables)


def _checked(stored: Mapping[str, np.ndarray], name: str, kind: type, where: str) -> np.ndarray:
    if name not in stored:
        raise CheckpointError(f"{where}: tensor {name} is missing; get the file again")
    if stored[name].dtype != kind:
        raise CheckpointError(
            f"{where}: tensor {name} is {stored[name].dtype}; need {np.dtype(kind)}"
        )
    return stored[name]


def _are_spans(spans: np.ndarray) -> bool:
    lowest, highest = spans.T
    return bool(((lowest >= Z_MIN) & (lowest <= highest) & (highest <= Z_MAX)).all())


def _first(inside: np.ndarray) -> np.ndarray:
    """Index of the first True of each row."""
    return inside.argmax(axis=1)


def _held(spans: np.ndarray) -> np.ndarray:
    """Mask of the stored symbols of each channel, bool (Cz, 256), from first and last ones."""
    symbols = np.arange(NUM_VALUES)
    return (spans[:, :1] <= symbols) & (symbols <= spans[:, 1:])

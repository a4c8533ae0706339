"""Entropy coding of latents: integer tables, one call of the coder for each table.

Symbols are grouped by table index, so that the coder (rANS, see `coder`) runs over whole arrays.
Index 0 is a certain zero and takes no bits. A symbol outside its table is coded as the table's
escape symbol, and its excess as Exp-Golomb bits in front of the coded words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.coding.entropy import golomb
from promptcodec.coding.entropy.coder import AnsCoder
from promptcodec.coding.entropy.tables import NUM_SCALES, TOTAL, Z_MIN, table_range
from promptcodec.coding.entropy.z_tables import (
    SET_BITS,
    Frequencies,
    ZTables,
    categorical,
    cheapest,
)
from promptcodec.coding.latents import Latents
from promptcodec.errors import StreamError

RADIUS = np.array([table_range(index) for index in range(NUM_SCALES)])


@dataclass(frozen=True)
class EntropyTables:
    """Integer frequencies over 2^16, part of the checkpoint.

    Args:
        y: frequencies of the symbols -R..R and the escape symbol, (2R + 2,), by table index.
        z: frequencies of the values -128..127 of each channel, (Cz, 256).
        z_sets: tables of z of a rate, used instead of `z`; empty uses `z`.
    """

    y: tuple[Frequencies, ...]
    z: Frequencies
    z_sets: tuple[ZTables, ...] = ()

    @cached_property
    def y_models(self) -> list[Any]:
        """One coder model for each scale index."""
        return [categorical(f) for f in self.y]

    @cached_property
    def y_bits(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Bits of each symbol of all tables of y, and where each table starts."""
        bits = [np.log2(TOTAL) - np.log2(table.astype(np.float64)) for table in self.y]
        return np.concatenate(bits), np.cumsum([0, *map(len, bits[:-1])])

    @cached_property
    def own_z(self) -> ZTables:
        """The base's tables of z."""
        return ZTables(self.z)

    def __getstate__(self) -> dict[str, Any]:
        """The fields: the coder's models cannot be pickled."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def with_sets(self, z_sets: Sequence[ZTables]) -> EntropyTables:
        """These tables with the tables of z of a rate; unchanged if it has none."""
        if not z_sets:
            return self
        tables = replace(self, z_sets=tuple(z_sets))
        for name in ("y_models", "y_bits"):
            tables.__dict__[name] = getattr(self, name)  # shared
        return tables


def encode_z(z_hat: NDArray[np.int16], tables: EntropyTables) -> bytes:
    """Code z_hat (Cz, h, w), channel by channel in raster order.

    If the rate has sets of tables, the number of the set with the fewest bits comes first.
    """
    start, chosen = b"", tables.own_z
    if tables.z_sets:
        number = cheapest(tables.z_sets, z_hat)
        start, chosen = bytes([number]), tables.z_sets[number]
    coder = AnsCoder()
    for channel, model in reversed(list(zip(z_hat, chosen.models, strict=True))):
        coder.encode_reverse((channel.ravel() - Z_MIN).astype(np.int32), model)
    return start + _words(coder)


def decode_z(data: bytes, shape: tuple[int, int, int], tables: EntropyTables) -> NDArray[np.int16]:
    """Invert `encode_z`.

    Raises:
        StreamError: the payload does not hold exactly that many symbols, or its set is unknown.
    """
    chosen = tables.own_z
    if tables.z_sets:
        chosen, data = _named_set(data, tables.z_sets), data[1:]
    coder = _coder(data)
    count = shape[1] * shape[2]
    rows = [coder.decode(model, count) for model in chosen.models]
    _check_empty(coder)
    return (np.stack(rows).reshape(shape) + Z_MIN).astype(np.int16)


def _named_set(data: bytes, sets: Sequence[ZTables]) -> ZTables:
    """The set whose number is the first byte of a payload of z."""
    if not data:
        raise StreamError("a payload of z is empty; need the number of a set of tables first")
    if data[0] >= len(sets):
        raise StreamError(
            f"a payload of z has set {data[0]} of the tables, and the rate has {len(sets)}: the "
            "stream is damaged"
        )
    return sets[data[0]]


def encode_y(
    symbols: NDArray[np.int32], indexes: NDArray[np.uint8], tables: EntropyTables
) -> bytes:
    """Code residual symbols (M, h, w) under their table indexes, same shape."""
    grouped, bounds = _group(indexes)
    values = symbols.ravel()[grouped]
    coder = AnsCoder()
    excesses: list[NDArray[np.int32]] = []
    for index in reversed(range(1, NUM_SCALES)):
        part = values[bounds[index] : bounds[index + 1]]
        if not len(part):
            continue
        radius = table_range(index)
        outside = np.abs(part) > radius
        coded = part + radius
        if outside.any():
            coded = np.where(outside, 2 * radius + 1, coded)
            beyond = part[outside]
            excesses.append(np.sign(beyond) * (np.abs(beyond) - radius))
        coder.encode_reverse(coded.astype(np.int32), tables.y_models[index])
    escaped = np.concatenate(excesses[::-1]) if excesses else np.zeros(0, np.int32)
    return golomb.pack(escaped) + _words(coder)


def decode_y(data: bytes, indexes: NDArray[np.uint8], tables: EntropyTables) -> NDArray[np.int32]:
    """Invert `encode_y`.

    Raises:
        StreamError: the payload does not hold exactly one symbol for each index above 0.
    """
    excess_bits, rest = golomb.split(data)
    grouped, bounds = _group(indexes)
    values = np.zeros(indexes.size, np.int32)
    coder = _coder(rest)
    escapes: list[tuple[NDArray[np.intp], int]] = []
    for index in range(1, NUM_SCALES):
        start, end = bounds[index], bounds[index + 1]
        if start == end:
            continue
        radius = table_range(index)
        coded = coder.decode(tables.y_models[index], int(end - start))
        escaped = np.nonzero(coded == 2 * radius + 1)[0]
        if len(escaped):
            escapes.append((escaped + start, radius))
        values[start:end] = coded - radius
    _check_empty(coder)
    excess = golomb.unpack(excess_bits, sum(len(where) for where, _ in escapes))
    position = 0
    for where, radius in escapes:
        part = excess[position : position + len(where)]
        values[where] = np.sign(part) * (np.abs(part) + radius)
        position += len(where)
    symbols = np.empty_like(values)
    symbols[grouped] = values
    return symbols.reshape(indexes.shape)


def estimate_bits(latents: Latents[NDArray[Any]], tables: EntropyTables) -> tuple[float, float]:
    """Ideal code length of y and of z in bits under the integer tables, without headers.

    If the rate has sets of tables of z, the bits of z are those of the cheapest set of each
    picture, with the number of the set.
    """
    coded = latents.indexes.ravel() > 0  # the others are certain zeros
    indexes, symbols = latents.indexes.ravel()[coded], latents.symbols.ravel()[coded]
    radius = RADIUS[indexes]
    excess = np.abs(symbols) - radius
    places = np.where(excess > 0, 2 * radius + 1, symbols + radius)
    bits, first = tables.y_bits
    y_bits = float(bits[first[indexes] + places].sum()) + golomb.bits(excess[excess > 0])
    return y_bits, sum(_z_bits(z_hat, tables) for z_hat in latents.z_hat)


def _z_bits(z_hat: NDArray[np.int16], tables: EntropyTables) -> float:
    if not tables.z_sets:
        return tables.own_z.bits(z_hat)
    return SET_BITS + min(each.bits(z_hat) for each in tables.z_sets)


def _group(indexes: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions sorted by index (stable), and where each index starts."""
    flat = indexes.ravel()
    grouped = np.argsort(flat, kind="stable")
    counts = np.bincount(flat, minlength=NUM_SCALES)
    return grouped, np.concatenate([[0], np.cumsum(counts)])


def _words(coder: Any) -> bytes:
    return np.asarray(coder.get_compressed()).astype("<u4").tobytes()


def _coder(data: bytes) -> Any:
    if len(data) % 4:
        raise StreamError(f"coded latents are {len(data)} bytes; need whole 4-byte words")
    words = np.frombuffer(data, "<u4").astype(np.uint32)
    if len(words) and words[-1] == 0:
        raise StreamError("coded latents end in a zero word: the stream is damaged")
    return AnsCoder(words)


def _check_empty(coder: Any) -> None:
    if not coder.is_empty():
        raise StreamError("coded latents go on after the last symbol: the stream is damaged")

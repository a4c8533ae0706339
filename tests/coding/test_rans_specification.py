"""Payloads and table indexes beside the specification, written again in plain integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from draws import draw_indexes, draw_y, draw_z
from safetensors.torch import load_file

from promptcodec.coding.entropy.rans import EntropyTables, decode_y, decode_z, encode_y, encode_z
from promptcodec.coding.entropy.tables import NUM_SCALES, TOTAL, table_range
from promptcodec.coding.gains import Gains


class ReferenceDecoder:
    """The pseudocode of FORMAT.md, "Entropy code", in plain integers."""

    def __init__(self, data: bytes) -> None:
        assert len(data) % 4 == 0
        self.words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        assert not self.words or self.words[-1]
        self.state = 0
        self._refill()

    def _refill(self) -> None:
        while self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def symbol(self, frequencies: np.ndarray) -> int:
        q = self.state & (2**24 - 1)
        start = 0
        for symbol, frequency in enumerate(256 * int(f) for f in frequencies):
            if q < start + frequency:
                self.state = (self.state >> 24) * frequency + q - start
                self._refill()
                return symbol
            start += frequency
        raise AssertionError("frequencies do not reach 2^24")

    @property
    def finished(self) -> bool:
        return self.state == 0 and not self.words


def reference_z(data: bytes, shape: tuple[int, int, int], tables: EntropyTables) -> np.ndarray:
    decoder = ReferenceDecoder(data)
    z = [[decoder.symbol(table) - 128 for _ in range(shape[1] * shape[2])] for table in tables.z]
    assert decoder.finished
    return np.array(z).reshape(shape)


def reference_y(data: bytes, indexes: np.ndarray, tables: EntropyTables) -> np.ndarray:
    size, used = 0, 0
    while True:
        byte, used = data[used], used + 1
        size |= (byte & 0x7F) << 7 * (used - 1)
        if byte < 0x80:
            break
    bits = "".join(f"{byte:08b}" for byte in data[used : used + size])
    decoder = ReferenceDecoder(data[used + size :])
    flat = indexes.ravel().tolist()
    y = [0] * len(flat)
    for index in range(1, 64):
        radius = len(tables.y[index]) // 2 - 1
        for position in [p for p, i in enumerate(flat) if i == index]:
            y[position] = decoder.symbol(tables.y[index]) - radius
            if y[position] > radius:  # the escape symbol
                sign, zeros = bits[0], bits.index("1", 1) - 1
                excess, bits = int(bits[1 : 2 * zeros + 2], 2), bits[2 * zeros + 2 :]
                y[position] = (-1 if sign == "1" else 1) * (radius + excess)
    assert decoder.finished
    assert len(bits) < 8 and "1" not in bits
    return np.array(y).reshape(indexes.shape)


@pytest.fixture(scope="module")
def tables(tiny_codec) -> EntropyTables:
    return tiny_codec.tables


def hand_made_tables(channels: int) -> EntropyTables:
    """Triangles in integers alone: golden bytes hang on no exponential of any machine."""

    def triangle(weights: list[int], top: int) -> np.ndarray:
        spare = TOTAL - len(weights)
        table = [1 + spare * weight // sum(weights) for weight in weights]
        table[top] += TOTAL - sum(table)
        return np.array(table, np.uint32)

    y = []
    for index in range(NUM_SCALES):
        radius = table_range(index)
        weights = [radius + 1 - abs(k) for k in range(-radius, radius + 1)]
        y.append(triangle([*weights, 1], radius))
    z = [triangle([256 - abs(s - 128 - c) for s in range(256)], 128 + c) for c in range(channels)]
    return EntropyTables(y=tuple(y), z=np.stack(z))


@pytest.mark.parametrize("outliers", [0.0, 0.05])
def test_payloads_are_read_by_the_specification(tables: EntropyTables, outliers: float) -> None:
    rng = np.random.default_rng(5)
    z = draw_z(rng, tables)
    np.testing.assert_array_equal(reference_z(encode_z(z, tables), z.shape, tables), z)
    indexes = draw_indexes(rng, (4, 8, 8))
    symbols = draw_y(rng, indexes, outliers=outliers)
    payload = encode_y(symbols, indexes, tables)
    np.testing.assert_array_equal(reference_y(payload, indexes, tables), symbols)


GOLDEN_Z = np.array([[[0, -1, 3]], [[-128, 127, 1]]], np.int16)
GOLDEN_INDEXES = np.array([[[0, 12, 63, 12]], [[5, 1, 30, 0]]], np.uint8)
GOLDEN_Y = np.array([[[0, 4, -501, -9]], [[-1, 0, 15, 0]]], np.int32)
GOLDEN_Z_BYTES = bytes.fromhex("002181bf 6086815a")
GOLDEN_Y_BYTES = bytes.fromhex("02 66c0 00a159c9 380e0000")  # length, escapes, words


def test_golden_payloads() -> None:
    tables = hand_made_tables(2)
    assert encode_z(GOLDEN_Z, tables) == GOLDEN_Z_BYTES
    assert encode_y(GOLDEN_Y, GOLDEN_INDEXES, tables) == GOLDEN_Y_BYTES
    for read in (decode_z, reference_z):
        np.testing.assert_array_equal(read(GOLDEN_Z_BYTES, GOLDEN_Z.shape, tables), GOLDEN_Z)
    for read in (decode_y, reference_y):
        np.testing.assert_array_equal(read(GOLDEN_Y_BYTES, GOLDEN_INDEXES, tables), GOLDEN_Y)


def reference_indexes(z: np.ndarray, tensors: dict[str, np.ndarray], gain: int) -> np.ndarray:
    """FORMAT.md, "Scale path" and "Gains", in 64-bit integers."""
    x = 256 * z.astype(np.int64)
    for number in (0, 1):
        w, b = tensors[f"scale_path.{number}.weight"], tensors[f"scale_path.{number}.bias"]
        channels, height, width = x.shape
        around = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
        total = np.zeros((len(w), height, width), np.int64) + b[:, None, None]
        for row in range(3):
            for column in range(3):
                part = around[:, row : row + height, column : column + width]
                taps = w.reshape(-1, channels, 3, 3)[:, :, row, column].astype(np.int64)
                total += np.einsum("oc,chw->ohw", taps, part)
        total = np.clip((total + 2**13) // 2**14, 0, 65535)
        x = np.zeros((len(w) // 4, 2 * height, 2 * width), np.int64)
        for p in (0, 1):
            for q in (0, 1):
                x[:, p::2, q::2] = total[2 * p + q :: 4]
    w, b = tensors["scale_path.2.weight"], tensors["scale_path.2.bias"]
    total = np.einsum("oc,chw->ohw", w.astype(np.int64), x) + b[:, None, None]
    index = np.clip((total + 2**17) // 2**18, -32, 128)
    return np.clip(index + ((gain + 128) >> 8), 0, 63)


@pytest.mark.parametrize("gain", [0, 127, 128, -128, -129, 1500, -6000, 32767, -32768])
def test_indexes_are_those_of_the_specification(
    tiny_codec, tiny_checkpoint: Path, gain: int
) -> None:
    stored = load_file(tiny_checkpoint / "model.safetensors")
    tensors = {k: v.numpy() for k, v in stored.items() if k.startswith("scale_path.")}
    z = np.random.default_rng(3).integers(-128, 128, (4, 3, 2)).astype(np.int16)
    gains = Gains.constant(tiny_codec.config.codec.latent_channels, gain)
    found = tiny_codec.model.indexes(torch.from_numpy(z)[None], gains=gains)[0].numpy()
    expected = reference_indexes(z, tensors, gain)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    if gain == 0:
        assert len(np.unique(found)) > 8  # neither all clamped nor all alike

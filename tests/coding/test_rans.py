"""Payloads: round trips, the exact words of FORMAT.md, and what damaged bytes do."""

from __future__ import annotations

import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from promptcodec.coding.entropy import golomb, rans
from promptcodec.coding.entropy.rans import EntropyTables, decode_y, decode_z, encode_y, encode_z
from promptcodec.coding.entropy.tables import NUM_SCALES, TOTAL, scales, table_range
from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents
from promptcodec.errors import StreamError
from promptcodec.models.checkpoint import density_tables
from promptcodec.models.tensors import arrays_of

SHAPE_Y = (12, 8, 12)
SHAPE_Z = (4, 2, 3)


# -- the specification, written again without the package -----------------------------------------


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


# -- data ------------------------------------------------------------------------------------------


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


def draw_indexes(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE_Y) -> np.ndarray:
    return rng.integers(0, NUM_SCALES, shape).astype(np.uint8)


def draw_y(rng: np.random.Generator, indexes: np.ndarray, *, outliers: float = 0.0) -> np.ndarray:
    """Residuals of the deviation that each index stands for, some of them far outside."""
    wide = np.where(rng.random(indexes.shape) < outliers, 40.0, 1.0)
    symbols = np.rint(rng.normal(size=indexes.shape) * scales()[indexes] * wide)
    return np.where(indexes > 0, symbols, 0).astype(np.int32)


def draw_z(
    rng: np.random.Generator, tables: EntropyTables, shape: tuple[int, int, int] = SHAPE_Z
) -> np.ndarray:
    rows = [rng.choice(256, size=shape[1:], p=table / TOTAL) - 128 for table in tables.z]
    return np.stack(rows).astype(np.int16)


def count_escapes(symbols: np.ndarray, indexes: np.ndarray) -> int:
    radius = np.array([table_range(i) for i in range(NUM_SCALES)])
    return int((np.abs(symbols) > radius[indexes]).sum())


# -- round trips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("outliers", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_y_round_trip(tables: EntropyTables, seed: int, outliers: float) -> None:
    rng = np.random.default_rng(seed)
    indexes = draw_indexes(rng)
    symbols = draw_y(rng, indexes, outliers=outliers)
    assert (count_escapes(symbols, indexes) > 0) == (outliers > 0)
    decoded = decode_y(encode_y(symbols, indexes, tables), indexes, tables)
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, symbols)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_y_round_trip_of_anything(tables: EntropyTables, data: st.DataObject) -> None:
    """Few indexes, so that most groups are empty; symbols that the index does not expect."""
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    count = int(np.prod(shape))
    used = data.draw(st.lists(st.integers(0, 63), min_size=1, max_size=4))
    picked = data.draw(st.lists(st.sampled_from(used), min_size=count, max_size=count))
    value = st.one_of(st.integers(-3, 3), st.integers(-golomb.LIMIT, golomb.LIMIT))
    values = data.draw(st.lists(value, min_size=count, max_size=count))
    indexes = np.array(picked, np.uint8).reshape(shape)
    symbols = np.where(indexes > 0, np.array(values, np.int32).reshape(shape), 0).astype(np.int32)
    payload = encode_y(symbols, indexes, tables)
    np.testing.assert_array_equal(decode_y(payload, indexes, tables), symbols)


@pytest.mark.parametrize("index", range(1, NUM_SCALES))
def test_edges_of_every_table(tables: EntropyTables, index: int) -> None:
    """The largest value inside, the first two outside, the farthest that has a code."""
    radius = table_range(index)
    magnitudes = [0, radius, radius + 1, radius + 2, radius + golomb.LIMIT]
    symbols = np.array([m * s for m in magnitudes for s in (1, -1)], np.int32).reshape(1, 2, 5)
    indexes = np.full(symbols.shape, index, np.uint8)
    payload = encode_y(symbols, indexes, tables)
    np.testing.assert_array_equal(decode_y(payload, indexes, tables), symbols)


def test_certain_zeros_cost_one_byte(tables: EntropyTables) -> None:
    indexes = np.zeros(SHAPE_Y, np.uint8)
    payload = encode_y(np.zeros(SHAPE_Y, np.int32), indexes, tables)
    assert payload == b"\0"
    decoded = decode_y(payload, indexes, tables)
    assert decoded.shape == SHAPE_Y and not decoded.any()
    with pytest.raises(StreamError, match="go on after the last symbol"):
        decode_y(b"\0\1\0\0\0", indexes, tables)


def test_z_round_trip(tables: EntropyTables) -> None:
    z = draw_z(np.random.default_rng(0), tables)
    z[:, 0, :2] = [-128, 127]
    decoded = decode_z(encode_z(z, tables), z.shape, tables)
    assert decoded.dtype == np.int16
    np.testing.assert_array_equal(decoded, z)


def test_empty_payload_of_z_is_all_first_symbols(tables: EntropyTables) -> None:
    lowest = np.full(SHAPE_Z, -128, np.int16)
    assert encode_z(lowest, tables) == b""
    np.testing.assert_array_equal(decode_z(b"", SHAPE_Z, tables), lowest)


# -- the specification -----------------------------------------------------------------------------


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


def test_stored_tables_are_those_of_the_model(tiny_codec) -> None:
    built = density_tables(tiny_codec.model)
    assert len(tiny_codec.tables.y) == NUM_SCALES
    for stored, fresh in zip(tiny_codec.tables.y, built.y, strict=True):
        np.testing.assert_array_equal(stored, fresh)
    np.testing.assert_array_equal(tiny_codec.tables.z, built.z)
    assert tiny_codec.tables.z.shape == (4, 256)
    assert (tiny_codec.tables.z.sum(axis=1) == TOTAL).all()


# -- damage ----------------------------------------------------------------------------------------


def read_y(data: bytes, indexes: np.ndarray, tables: EntropyTables) -> np.ndarray | None:
    """Decode or refuse; nothing else may happen."""
    try:
        found = decode_y(data, indexes, tables)
    except StreamError as error:
        assert str(error) and "\n" not in str(error)
        return None
    assert found.shape == indexes.shape and found.dtype == np.int32
    assert not found[indexes == 0].any()
    return found


def read_z(data: bytes, tables: EntropyTables) -> np.ndarray | None:
    try:
        found = decode_z(data, SHAPE_Z, tables)
    except StreamError as error:
        assert str(error) and "\n" not in str(error)
        return None
    assert found.shape == SHAPE_Z
    assert found.min() >= -128 and found.max() <= 127
    return found


@pytest.fixture(scope="module")
def example(tables: EntropyTables) -> tuple[np.ndarray, np.ndarray, bytes]:
    """Indexes, symbols and payload of a small y with escapes."""
    rng = np.random.default_rng(11)
    indexes = draw_indexes(rng, (4, 6, 6))
    symbols = draw_y(rng, indexes, outliers=0.05)
    return indexes, symbols, encode_y(symbols, indexes, tables)


def test_every_truncation(tables: EntropyTables, example) -> None:
    indexes, _, payload = example
    assert payload[0] > 3  # a section to cut in
    for length in range(len(payload)):
        found = read_y(payload[:length], indexes, tables)
        assert found is None or (length - payload[0] - 1) % 4 == 0
    assert read_y(b"", indexes, tables) is None
    z = encode_z(draw_z(np.random.default_rng(1), tables), tables)
    for length in range(len(z)):
        found = read_z(z[:length], tables)
        assert found is None or length % 4 == 0


def test_every_bit_flip(tables: EntropyTables, example) -> None:
    indexes, symbols, payload = example
    for position in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[position // 8] ^= 1 << position % 8
        found = read_y(bytes(damaged), indexes, tables)
        assert found is None or (found != symbols).any()  # one array has one spelling


def test_bytes_after_the_words_are_refused(tables: EntropyTables, example) -> None:
    indexes, _, payload = example
    z = encode_z(draw_z(np.random.default_rng(1), tables), tables)
    for more in (b"\0", b"\0\0\0\0"):
        assert read_y(payload + more, indexes, tables) is None
        assert read_z(z + more, tables) is None
    with pytest.raises(StreamError, match="need whole 4-byte words"):
        decode_z(z + b"\1", SHAPE_Z, tables)
    with pytest.raises(StreamError, match="end in a zero word"):
        decode_z(z + bytes(4), SHAPE_Z, tables)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=80), st.integers(0, 3))
@settings(deadline=None)
def test_random_words(tables: EntropyTables, words: list[int], cut: int) -> None:
    data = b"".join(word.to_bytes(4, "little") for word in words)
    data = data[: len(data) - cut]
    found = read_z(data, tables)
    if found is not None:
        assert encode_z(found, tables) == data
    indexes = draw_indexes(np.random.default_rng(2), (3, 4, 4))
    for payload in (data, b"\0" + data):
        symbols = read_y(payload, indexes, tables)
        if symbols is not None:
            assert encode_y(symbols, indexes, tables) == payload


def test_wrong_indexes_are_read_or_refused(tables: EntropyTables, example) -> None:
    """What the index CRC stands against: another index turns the rest into noise, no more."""
    indexes, symbols, payload = example
    position = int(np.argmax(indexes > 1))
    for wrong in (0, 1, 63):
        other = indexes.copy()
        other.ravel()[position] = wrong
        assert zlib.crc32(other.tobytes()) != zlib.crc32(indexes.tobytes())
        found = read_y(payload, other, tables)
        assert found is None or (found != symbols).any()


def test_a_few_bytes_for_a_large_picture_end_soon(tables: EntropyTables) -> None:
    """Decoding past the last word is bounded by the symbols, not by what they would cost."""
    indexes = np.full((12, 256, 256), 63, np.uint8)
    tables.y_models  # noqa: B018  built once at load
    start = time.process_time()
    for payload in (b"\0", b"\0\xff\xff\xff\xff", b"\x01\xff\xff\xff\xff\xff"):
        read_y(payload, indexes, tables)
    assert time.process_time() - start < 5


# -- estimates -------------------------------------------------------------------------------------


def as_latents(z: np.ndarray, indexes: np.ndarray, symbols: np.ndarray) -> Latents:
    return Latents(z[None], indexes[None], symbols[None], y_hat=symbols[None].astype(np.float32))


@pytest.mark.parametrize("outliers", [0.0, 0.01])
@pytest.mark.parametrize("spread", [(0, 20), (0, 64), (40, 64)])
def test_estimate_is_close_to_the_bytes(
    tables: EntropyTables, spread: tuple[int, int], outliers: float
) -> None:
    rng = np.random.default_rng(9)
    z = draw_z(rng, tables, (4, 16, 16))
    indexes = rng.integers(*spread, (12, 64, 64)).astype(np.uint8)
    symbols = draw_y(rng, indexes, outliers=outliers)
    y_bits, z_bits = rans.estimate_bits(as_latents(z, indexes, symbols), tables)
    for bits, payload in (
        (y_bits, encode_y(symbols, indexes, tables)),
        (z_bits, encode_z(z, tables)),
    ):
        assert bits > 0
        assert abs(len(payload) - bits / 8) <= 0.005 * bits / 8 + 8


def test_estimate_of_a_coded_picture(tiny_codec) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (8, 8, 3)).repeat(16, 0).repeat(16, 1)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    gains = Gains.constant(tiny_codec.config.codec.latent_channels)
    latents = tiny_codec.model.analyse(x, gains=gains)
    latents = arrays_of(latents)
    z, indexes, symbols = latents.z_hat[0], latents.indexes[0], latents.symbols[0]
    bits = sum(rans.estimate_bits(latents, tiny_codec.tables))
    payload = encode_z(z, tiny_codec.tables) + encode_y(symbols, indexes, tiny_codec.tables)
    assert len(payload) > 100
    assert abs(len(payload) - bits / 8) <= 0.005 * bits / 8 + 16  # 8 for each payload
    np.testing.assert_array_equal(
        decode_y(encode_y(symbols, indexes, tiny_codec.tables), indexes, tiny_codec.tables),
        symbols,
    )


def test_certain_zeros_have_no_bits(tables: EntropyTables) -> None:
    nothing = np.zeros(SHAPE_Y, np.uint8)
    latents = as_latents(np.zeros(SHAPE_Z, np.int16), nothing, nothing.astype(np.int32))
    assert rans.estimate_bits(latents, tables)[0] == 0

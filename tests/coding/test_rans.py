"""Payloads: round trips, the exact words of FORMAT.md, and what damaged bytes do."""

from __future__ import annotations

import time
import zlib

import numpy as np
import pytest
import torch
from draws import SHAPE_Y, SHAPE_Z, count_escapes, draw_indexes, draw_y, draw_z
from hypothesis import given, settings
from hypothesis import strategies as st

from promptcodec.coding.entropy import golomb, rans
from promptcodec.coding.entropy.rans import EntropyTables, decode_y, decode_z, encode_y, encode_z
from promptcodec.coding.entropy.tables import NUM_SCALES, TOTAL, table_range
from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents
from promptcodec.errors import StreamError
from promptcodec.models.checkpoint import density_tables
from promptcodec.models.tensors import arrays_of

# -- data ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(tiny_codec) -> EntropyTables:
    return tiny_codec.tables


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

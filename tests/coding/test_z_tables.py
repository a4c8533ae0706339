"""An adapter's own tables of z: their stored form, what names them, who uses them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import stranger
from golden_streams import made_sets
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

from promptcodec.coding.entropy import rans
from promptcodec.coding.entropy.rans import EntropyTables, decode_z, encode_z
from promptcodec.coding.entropy.tables import TOTAL, quantise_frequencies
from promptcodec.coding.entropy.z_tables import (
    MAX_SETS,
    SPANS,
    TABLES,
    ZTables,
    cheapest,
    pack_sets,
    read_sets,
)
from promptcodec.errors import CheckpointError, StreamError
from promptcodec.models.codec import TorchCodec

CHANNELS = 4  # of z, in the golden base
PICTURE = np.random.default_rng(3).integers(0, 256, (70, 90, 3), np.uint8)


def small(*rows: dict[int, int]) -> ZTables:
    """Tables by the values that have more than the least frequency."""
    table = np.ones((len(rows), 256), np.uint32)
    for channel, row in enumerate(rows):
        for value, frequency in row.items():
            table[channel, value + 128] = frequency
    return ZTables(table)


def rest(*others: int) -> int:
    """Frequency that completes a table beside these and 1 for the other values."""
    return TOTAL - sum(others) - (255 - len(others))


@pytest.fixture(scope="module")
def tables(tiny_codec: TorchCodec) -> EntropyTables:
    return tiny_codec.tables


# -- stored form -----------------------------------------------------------------------------------


def test_the_example_of_the_specification() -> None:
    tensors = pack_sets([small({-1: 100, 0: 65083, 1: 100})])
    assert tensors[SPANS].tolist() == [[-1, 1]] and tensors[SPANS].dtype == np.int16
    assert tensors[TABLES].tolist() == [[100, 65083, 100]]
    assert tensors[TABLES].dtype == np.uint16
    text = (ROOT / "FORMAT.md").read_text(encoding="utf-8")
    assert "spans of `-1 1` and the set `100 65083 100`" in text


def test_a_span_serves_all_sets_and_the_edges_are_values() -> None:
    sets = [
        small({5: rest()}, {-128: 9, 127: rest(9)}),
        small({5: 7, 7: rest(7)}, {0: rest()}),
    ]
    tensors = pack_sets(sets)
    assert tensors[SPANS].tolist() == [[5, 7], [-128, 127]]
    assert tensors[TABLES].shape == (2, 3 + 256)
    assert tensors[TABLES][0, :4].tolist() == [rest(), 1, 1, 9]
    assert tensors[TABLES][1, :3].tolist() == [7, 1, rest(7)]
    found = read_sets(tensors, channels=2, where="here")
    for one, two in zip(found, sets, strict=True):
        assert np.array_equal(one.frequencies, two.frequencies)


@given(st.integers(1, MAX_SETS), st.integers(1, 5), st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_any_sets_come_back(count: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets = []
    for _ in range(count):
        weights = rng.random((channels, 256)) ** rng.integers(1, 200)
        sets.append(ZTables(np.stack([quantise_frequencies(row) for row in weights])))
    tensors = pack_sets(sets)
    assert tensors[TABLES].size <= count * channels * 256
    found = read_sets(tensors, channels=channels, where="here")
    assert len(found) == count
    for one, two in zip(found, sets, strict=True):
        assert one.frequencies.dtype == np.uint32
        assert np.array_equal(one.frequencies, two.frequencies)


def test_no_sets_are_no_tensors() -> None:
    assert pack_sets([]) == {}
    assert read_sets({}, channels=2, where="here") == ()


HOSTILE = {
    "no spans": (lambda t: t.pop(SPANS), "tables.z.spans is missing"),
    "no tables": (lambda t: t.pop(TABLES), "tables.z is missing"),
    "kind of spans": (lambda t: t.update({SPANS: t[SPANS].astype(np.int32)}), "is int32; need"),
    "kind of tables": (lambda t: t.update({TABLES: t[TABLES].astype(np.int32)}), "is int32; need"),
    "too few channels": (lambda t: t.update({SPANS: t[SPANS][1:].copy()}), "each of 2 channels"),
    "spans of another shape": (lambda t: t.update({SPANS: t[SPANS][0].copy()}), "a lowest and"),
    "span turned round": (lambda t: t.update({SPANS: t[SPANS][:, ::-1]}), "a lowest and"),
    "span below": (lambda t: t[SPANS].__setitem__((0, 0), -129), "from -128 to 127"),
    "span above": (lambda t: t[SPANS].__setitem__((1, 1), 128), "from -128 to 127"),
    "span too wide": (lambda t: t[SPANS].__setitem__((0, 0), -2), "1 to 4 sets of 7"),
    "no set": (lambda t: t.update({TABLES: t[TABLES][:0].copy()}), "1 to 4 sets of 6"),
    "five sets": (
        lambda t: t.update({TABLES: np.repeat(t[TABLES], 5, axis=0)}),
        "1 to 4 sets of 6",
    ),
    "one axis": (lambda t: t.update({TABLES: t[TABLES][0].copy()}), "1 to 4 sets of 6"),
    "no axis": (lambda t: t.update({TABLES: np.array(t[TABLES][0, 0])}), "1 to 4 sets of 6"),
    "a sum above": (lambda t: t[TABLES].__setitem__((0, 4), 101), "table 1 of set 0"),
    "a zero": (
        lambda t: t[TABLES].__setitem__((0, slice(0, 3)), (0, 65183, 100)),
        "table 0 of set 0 of z does not hold frequencies >= 1",
    ),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_hostile_sets_are_refused_in_one_line(fault: str) -> None:
    tensors = pack_sets(
        [small({-1: 100, 0: rest(100, 100), 1: 100}, {0: 9, 1: 99, 2: rest(9, 99)})]
    )
    change, says = HOSTILE[fault]
    change(tensors)
    with pytest.raises(CheckpointError, match=says) as caught:
        read_sets(tensors, channels=2, where="here")
    assert "\n" not in str(caught.value)


# -- coding ----------------------------------------------------------------------------------------

Z = np.array([[[0, -1, 3]], [[-128, 127, 1]]], np.int16)


def test_exact_bytes(tables: EntropyTables) -> None:
    """The number of the set, and words that a decoder in plain integers reads."""
    near = small({0: 20000, -1: 20000, 3: rest(20000, 20000)}, {-128: 30000, 127: rest(30000)})
    own = tables.with_sets([small({90: rest()}, {90: rest()}), near])
    payload = encode_z(Z, own)
    assert payload == bytes.fromhex("01 00ee7f3b")
    assert np.array_equal(stranger.decode_z(payload[1:], near.frequencies, 3), Z.reshape(2, 3))
    assert np.array_equal(decode_z(payload, Z.shape, own), Z)
    assert rans._z_bits(Z, own) == pytest.approx(8 + near.bits(Z))


def test_the_cheapest_set_is_taken(tables: EntropyTables) -> None:
    sets = made_sets(2, 3)
    rng = np.random.default_rng(1)
    chosen = set()
    for width in (0, 25):
        z = rng.integers(-width, width + 1, (2, 3, 4)).astype(np.int16)
        z += np.array([-1, 0], np.int16)[:, None, None]  # where the tables have their tops
        own = np.arange(2)[:, None, None]
        bits = [-np.log2(s.frequencies[own, z + 128] / TOTAL).sum() for s in sets]
        assert [each.bits(z) for each in sets] == pytest.approx(bits)
        payload = encode_z(z, tables.with_sets(sets))
        assert payload[0] == cheapest(sets, z) == int(np.argmin(bits))
        chosen.add(payload[0])
        alone = replace(tables, z=sets[payload[0]].frequencies)
        assert payload[1:] == encode_z(z, alone)  # what follows is as in profile 1
    assert chosen == {0, 2}
    assert cheapest([sets[1], sets[1]], z) == 0


@given(st.integers(1, MAX_SETS), st.integers(0, 2**32), st.booleans())
@settings(deadline=None, max_examples=40)
def test_anything_comes_back(tables: EntropyTables, count: int, seed: int, wide: bool) -> None:
    rng = np.random.default_rng(seed)
    own = tables.with_sets(made_sets(3, count))
    shape = (3, *rng.integers(1, 5, 2))
    z = rng.integers(*((-128, 128) if wide else (-6, 7)), shape).astype(np.int16)
    payload = encode_z(z, own)
    assert payload[0] < count
    assert np.array_equal(decode_z(payload, shape, own), z)


def test_hostile_set_bytes(tables: EntropyTables) -> None:
    own = tables.with_sets(made_sets(2, 3))
    payload = encode_z(Z, own)
    for number in range(3, 256):
        data = bytes([number]) + payload[1:]
        with pytest.raises(
            StreamError, match=f"has set {number} of the tables, and the rate has 3"
        ):
            decode_z(data, Z.shape, own)
    with pytest.raises(StreamError, match="a payload of z is empty"):
        decode_z(b"", Z.shape, own)
    lowest = np.full(Z.shape, -128, np.int16)
    assert np.array_equal(decode_z(b"\2", Z.shape, own), lowest)  # no words are valid
    for cut in range(1, len(payload)):
        try:
            assert not np.array_equal(decode_z(payload[:cut], Z.shape, own), Z)
        except StreamError as error:
            assert "\n" not in str(error)


def test_tables_of_y_are_made_once(tables: EntropyTables) -> None:
    own = tables.with_sets(made_sets(CHANNELS, 2))
    assert own.y_models is tables.y_models and tables.with_sets(()) is tables


# -- adapters and streams --------------------------------------------------------------------------

"""Escape bits: exact bytes, round trips, and a refusal for every malformed section."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcodec.coding.entropy import golomb
from promptcodec.errors import StreamError

magnitudes = st.integers(1, golomb.LIMIT)
values = st.lists(st.one_of(magnitudes, magnitudes.map(lambda m: -m), st.sampled_from([1, -1])))


def array(numbers: list[int]) -> np.ndarray:
    return np.array(numbers, np.int32)


def bits(text: str) -> bytes:
    """Bytes of a string of bits, zeros at the end."""
    text = text.replace(" ", "")
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


@pytest.mark.parametrize(
    ("numbers", "section"),
    [
        ([], "00"),
        ([1], "01 40"),  # 0 1
        ([-1], "01 c0"),  # 1 1
        ([1, -6], "01 66"),  # 0 1, 1 00110: the example of FORMAT.md
        ([2], "01 20"),  # 0 010
        ([golomb.LIMIT], "05 00 00 0f ff ff"),  # 0, 19 zeros, 20 ones
    ],
)
def test_exact_bytes(numbers: list[int], section: str) -> None:
    data = bytes.fromhex(section)
    assert golomb.pack(array(numbers)) == data
    body, rest = golomb.split(data + b"rest")
    assert rest == b"rest"
    assert golomb.unpack(body, len(numbers)).tolist() == numbers


@given(values, st.binary(max_size=8))
def test_round_trip(numbers: list[int], following: bytes) -> None:
    section = golomb.pack(array(numbers))
    body, rest = golomb.split(section + following)
    assert rest == following
    assert golomb.unpack(body, len(numbers)).tolist() == numbers
    assert len(body) == -(-golomb.bits(np.abs(array(numbers))) // 8)


def test_long_section_has_a_longer_length() -> None:
    section = golomb.pack(array([-1] * 1000))
    assert section[:2] == bytes([250 & 0x7F | 0x80, 1])
    assert golomb.split(section) == (b"\xff" * 250, b"")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "cut short"),
        ("80", "cut short"),
        ("ffffffffff", "no canonical"),
        ("8000", "no canonical"),
        ("01", "longer than its payload"),
        ("0240", "longer than its payload"),
        ("ffffffff7f", "no canonical"),
        ("ffffffff0f", "longer than its payload"),
    ],
)
def test_malformed_length_is_refused(data: str, said: str) -> None:
    with pytest.raises(StreamError, match=said):
        golomb.split(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("text", "count", "said"),
    [
        ("", 1, "does not end"),
        ("0 00000 00", 1, "does not end"),
        ("0 00001 00", 1, "does not end"),  # four zeros ask for five bits, three are there
        ("0 1", 2, "does not end"),
        ("0" + "0" * 20 + "1" * 21 + "01", 2, "does not end"),  # 20 zeros: above the bound
        ("01 100000", 1, "left over"),
        ("01 000001", 1, "left over"),
        ("01 000000 00000000", 1, "left over"),
        ("00000000", 0, "left over"),
    ],
)
def test_malformed_codes_are_refused(text: str, count: int, said: str) -> None:
    with pytest.raises(StreamError, match=said):
        golomb.unpack(bits(text), count)


@given(st.binary(max_size=40), st.integers(0, 60))
def test_any_bytes_are_read_or_refused(data: bytes, count: int) -> None:
    try:
        found = golomb.unpack(data, count)
    except StreamError:
        return
    assert golomb.split(golomb.pack(found)) == (data, b"")  # one array has one spelling
    assert found.all() and len(found) == count


@given(st.binary(max_size=12))
def test_any_payload_is_cut_or_refused(data: bytes) -> None:
    try:
        body, rest = golomb.split(data)
    except StreamError:
        return
    assert data.endswith(body + rest)
    assert len(data) - len(body + rest) <= 5


def test_section_of_more_bits_than_its_codes_can_have_costs_nothing() -> None:
    data = bytes(500_000)
    tracemalloc.start()
    with pytest.raises(StreamError):
        golomb.unpack(data, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(data)


@pytest.mark.parametrize("value", [golomb.LIMIT + 1, -golomb.LIMIT - 1])
def test_what_has_no_code_is_refused(value: int) -> None:
    with pytest.raises(ValueError):
        golomb.pack(array([value]))

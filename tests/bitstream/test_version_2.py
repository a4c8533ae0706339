"""Version 2 of the container: streams with exact tiles."""

import json
from dataclasses import replace

import pytest
from containers import EXAMPLE, PLAIN, refusal, written

from promptcodec.bitstream import (
    MAX_TILES,
    ExactTile,
    describe,
    open_stream,
    pack,
    parse,
    parse_header,
)
from promptcodec.bitstream.fields import MAX_HEADER_BYTES, MIN_HEADER_BYTES
from promptcodec.bitstream.summary import as_text
from promptcodec.errors import StreamError

MIXED = replace(EXAMPLE, tiles=(EXAMPLE.tiles[0], ExactTile(b"\x77" * 5)))
EXACT = "01 05 a3c1e9f0"  # kind, bytes, some CRC


def test_bytes() -> None:
    data, plain = pack(MIXED), pack(EXAMPLE)
    assert parse(data) == MIXED
    assert (data[4], plain[4]) == (2, 1)
    # One byte for the kind of tile 0, and for tile 1 kind, length and one CRC instead of two.
    start = data.index(bytes.fromhex("00 04 08 745ddb6d 44444444 01 05"))
    assert start == plain.index(bytes.fromhex("04 08 745ddb6d 44444444 00 00"))
    assert parse_header(data).size == parse_header(plain).size + 1 - 4
    assert data.endswith(b"\x33" * 4 + b"\x77" * 5 + b"abc")


def test_what_is_said_of_it() -> None:
    header, data = parse_header(pack(MIXED)), pack(MIXED)
    assert (header.version, header.exact_tiles) == (2, {1})
    facts = describe(header, file_bytes=len(data))
    assert facts["version"] == 2
    assert facts["tiles"] == {"size": 128, "rows": 1, "columns": 2, "exact": 1}
    sizes = facts["bytes"]
    assert isinstance(sizes, dict)
    assert {k: sizes[k] for k in ("z", "y", "exact", "chunks")} == {
        "z": 4,
        "y": 8,
        "exact": 5,
        "chunks": 3,
    }
    assert sum(sizes.values()) == 2 * len(data)
    text = as_text(json.loads(json.dumps(facts)))
    assert "1 x 2, 1 exact" in text and "exact:      5 bytes" in text and "version 2" in text


def test_each_tile_is_read_alone() -> None:
    with open_stream(pack(MIXED)) as file:
        assert [file.tile(0), file.tile(1)] == list(MIXED.tiles)
        assert file.chunk(b"EXIF") == b"abc"


def test_every_single_bit_flip_and_truncation_is_refused() -> None:
    data = pack(MIXED)
    for position in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(StreamError):
            parse(bytes(damaged))
    for length in range(1, len(data)):
        assert "truncated" in refusal(data[:length])
    assert "tile 1 is damaged" in refusal(data[:-4] + b"\0" + data[-3:])


@pytest.mark.parametrize(
    ("version", "tiles", "said"),
    [
        (2, "00 00 00 00000000 00000000", "version 2 and no exact tile"),
        (2, "02 00 00000000", "tile of the unknown kind 2"),
        (2, "ff 00 00000000", "tile of the unknown kind 255"),
        (2, "01 8000 00000000", "length of a tile is no canonical"),
        (2, EXACT, "truncated"),
        (2, EXACT + "00", "1 bytes left over"),
        (2, "01 05 a3c1e9", "claims 34 bytes"),
        (1, EXACT, "claims 35 bytes"),
    ],
)
def test_contradictory_records_are_refused(version: int, tiles: str, said: str) -> None:
    assert said in refusal(written(version=version, tiles=tiles))


def test_limits_of_headers() -> None:
    alone = replace(PLAIN, width=1, height=1, tiles=(ExactTile(b""),))
    assert parse_header(pack(alone)).size == MIN_HEADER_BYTES[2]
    assert MAX_HEADER_BYTES[2] == MAX_HEADER_BYTES[1] + MAX_TILES  # a kind for each tile


def test_a_table_that_cannot_be_there_is_not_read() -> None:
    data = written(version=2, width="ff7f", height="ff7f", tile_size="01", tiles=EXACT)
    assert "no room for its 65536 tiles" in refusal(data, max_pixels=2**32)

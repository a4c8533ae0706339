"""The reader of containers: one clear refusal for each kind of fault."""

import time
import tracemalloc
from dataclasses import replace

import pytest
from containers import BASE, EXAMPLE, PLAIN, refusal, written

from promptcodec.bitstream import (
    Chunk,
    pack,
    parse,
    parse_header,
)
from promptcodec.errors import StreamError


def test_every_truncation_is_refused() -> None:
    data = pack(EXAMPLE)
    for length in range(1, len(data)):
        message = refusal(data[:length])
        assert f"truncated: {length} bytes are there" in message
    assert f"at least {len(data)} are needed" in refusal(data[:-1])


def test_every_single_bit_flip_is_refused() -> None:
    data = pack(EXAMPLE)
    for position in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(StreamError):
            parse(bytes(damaged))


def test_damaged_parts_are_named() -> None:
    data = bytearray(pack(EXAMPLE))
    data[-1] ^= 1
    assert "chunk 'EXIF' is damaged" in refusal(bytes(data))
    data[-4] ^= 1
    assert "tile 0 is damaged" in refusal(bytes(data))
    data[10] ^= 1
    assert "the header is damaged" in refusal(bytes(data))


def test_trailing_bytes_are_refused() -> None:
    data = pack(EXAMPLE)
    assert f"{len(data) + 1} bytes are there, {len(data)} belong" in refusal(data + b"\0")


@pytest.mark.parametrize("version", [0, 3, 255])
def test_other_versions_are_named(version: int) -> None:
    future = pack(PLAIN)[:4] + bytes([version]) + b"whatever comes then"
    message = refusal(future)
    assert f"format version {version}" in message
    assert "supports 1 and 2: upgrade" in message


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"", "empty (0 bytes)"),
        (b"\x89PNG\r\n\x1a\n", "this is a PNG picture"),
        (b"\xff\xd8\xff\xe0", "this is a JPEG picture"),
        (b"GIF89a", "this is a GIF picture"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "this is a WebP picture"),
        (b"II*\0", "this is a TIFF picture"),
        (b"BM", "this is a BMP picture"),
        (b"\0\0\0\x1cftypavif", "this is an AVIF picture"),
        (b"hello", "starts with 68 65 6c 6c"),
        (b"\x8fPC\r\n\x01", "transferred as text"),
        (b"\xef\xbf\xbdPC\n\x01", "transferred as text"),
    ],
)
def test_other_files_are_recognised(start: bytes, said: str) -> None:
    message = refusal(start)
    assert said in message
    assert "encode`" in message or "copy as binary" in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flags": "02"}, "unknown flags (0x02)"),
        ({"flags": "81"}, "unknown flags (0x81)"),
        ({"profile": "00"}, "numerics profile 0"),
        ({"profile": "03"}, "numerics profile 3, this promptcodec supports 1, 2"),
        ({"adapters": "03" + 3 * BASE.hex()}, "3 adapters"),
        ({"adapters": "ff"}, "255 adapters"),
        ({"width": "00"}, "0x1 px"),
        ({"height": "00"}, "1x0 px"),
        ({"width": "8100"}, "width is no canonical"),
        ({"height": "818000"}, "height is no canonical"),
        ({"tile_size": "8000"}, "tile size is no canonical"),
        ({"width": "ffffffff10"}, "width is no canonical"),  # 2^32 and more
        ({"width": "ffffffffff01"}, "width is no canonical"),  # 6 bytes
        ({"tiles": "8000 00 00000000 00000000"}, "length of z is no canonical"),
        ({"tiles": "00 8000 00000000 00000000"}, "length of y is no canonical"),
        ({"chunks": "8000"}, "chunk count is no canonical"),
        ({"chunks": "01 49434350 8000 00000000"}, "chunk length is no canonical"),
        ({"chunks": "00 00"}, "1 bytes left over"),
        ({"chunks": "01 49434350 00 000000"}, "overruns the header"),
        ({"chunks": "41"}, "65 chunks"),
        ({"chunks": "02" + 2 * "49434350 00 00000000"}, "two b'ICCP' chunks"),
        ({"chunks": "01 51515151 00 00000000"}, "unknown chunk b'QQQQ'"),
        ({"chunks": "01 2d2d2d2d 00 00000000"}, "no chunk kind"),
        ({"chunks": "01 4943430a 00 00000000"}, "no chunk kind"),
        ({"chunks": "01 494343ff 00 00000000"}, "no chunk kind"),
        ({"tiles": "01 00 00000000 00000000"}, "40 are needed"),
        ({"tiles": "00 00 01000000 00000000"}, "tile 0 is damaged"),
        ({"width": "41", "tile_size": "01"}, "no room for its 2 tiles"),
    ],
)
def test_contradictory_headers_are_refused(changes: dict[str, str], said: str) -> None:
    assert said in refusal(written(**changes))


@pytest.mark.parametrize(
    ("spelled", "said"),
    [
        ("c300", "header length is no canonical"),
        ("00", "claims 6 bytes"),
        ("20", "claims 38 bytes"),
        ("ffffffff0f", "claims 4294967305 bytes"),
        ("44", "header is damaged"),
    ],
)
def test_header_length_is_checked(spelled: str, said: str) -> None:
    data = pack(EXAMPLE)
    assert said in refusal(data[:5] + bytes.fromhex(spelled) + data[6:])


def test_unknown_ancillary_chunk_is_kept() -> None:
    container = replace(EXAMPLE, chunks=(Chunk(b"note", b"hi"), Chunk(b"XMP ", b"")))
    assert parse(pack(container)) == container


BOMBS = {
    "largest picture": ({"width": "ffffffff0f", "height": "ffffffff0f"}, "--max-pixels"),
    "strip": ({"width": "80e1eb17"}, "--max-pixels"),  # 50 M x 1 px, decoded as 50 M x 64
    "tiles": ({"width": "8080808001", "tile_size": "01"}, "declares 4194304 tiles"),
    "lengths": ({"tiles": "ffffffff0f ffffffff0f 00000000 00000000"}, "8589934637 are needed"),
    "chunk": ({"chunks": "01 49434350 ffffffff0f 00000000"}, "4294967347 are needed"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_nothing(name: str) -> None:
    changes, said = BOMBS[name]
    data = written(**changes)
    limit = {} if "max-pixels" in said else {"max_pixels": 2**64}
    tracemalloc.start()
    start = time.process_time()
    message = refusal(data, **limit)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said in message
    assert seconds < 0.05
    assert peak < 10_000_000


def test_tile_table_must_be_there_before_it_is_read() -> None:
    data = written(width="ff7f", height="ff7f", tile_size="01")  # 256 x 256 tiles, one record
    assert "no room for its 65536 tiles" in refusal(data, max_pixels=2**32)


def test_pixel_limit() -> None:
    data = pack(PLAIN)
    assert parse(data, max_pixels=768 * 512) == PLAIN
    message = refusal(data, max_pixels=768 * 512 - 1)
    assert "768x512 px" in message and "--max-pixels" in message
    with pytest.raises(StreamError):
        parse_header(data, max_pixels=768 * 512 - 1)


def test_a_short_side_counts_as_it_is_decoded() -> None:
    assert parse(written(), max_pixels=1).width == 1
    assert parse(written(width="41"), max_pixels=65 * 64).width == 65
    assert "65x1 px, 4160 to decode" in refusal(written(width="41"), max_pixels=65 * 64 - 1)

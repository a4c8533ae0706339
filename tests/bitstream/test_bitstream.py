"""The container: exact bytes, limits, and one clear refusal for each kind of fault."""

import json
import re
import subprocess
import sys
import time
import tracemalloc
import zlib
from dataclasses import replace

import pytest
from places import ROOT

from promptcodec import bitstream
from promptcodec.bitstream import (
    MAX_PIXELS,
    MAX_TILES,
    Chunk,
    Container,
    Tile,
    describe,
    fixed_to_rate,
    pack,
    parse,
    parse_header,
    rate_to_fixed,
)
from promptcodec.bitstream.fields import MAX_HEADER_BYTES, MIN_HEADER_BYTES
from promptcodec.bitstream.reader import check_file_bytes
from promptcodec.errors import StreamError, UsageError

FORMAT = ROOT / "FORMAT.md"
BASE = bytes.fromhex("a0a1a2a3a4a5a6a7")
PLAIN = Container(
    width=768,
    height=512,
    grey=False,
    base_hash=BASE,
    adapter_hashes=(),
    rate=rate_to_fixed(4),
    gain=0,
    profile=1,
    tile_size=0,
    tiles=(Tile(b"\x11" * 4, b"\x22" * 8, 0x44444444),),
    chunks=(),
)
EXAMPLE = Container(
    width=150,
    height=70,
    grey=True,
    base_hash=BASE,
    adapter_hashes=(b"\xb0" * 8, b"\xb1" * 8),
    rate=rate_to_fixed(4.5),
    gain=-128,
    profile=1,
    tile_size=128,
    tiles=(
        Tile(b"\x11" * 4, b"\x22" * 4 + b"\x33" * 4, 0x44444444),
        Tile(b"", b"", 0x55555555),
    ),
    chunks=(Chunk(b"EXIF", b"abc"),),
)
PLAIN_BYTES = bytes.fromhex(
    "8f50430a 01 23"  # magic, version, length of the rest of the header
    "00 01 0040 0000 a0a1a2a3a4a5a6a7 00"  # flags, profile, rate, gain, base, no adapters
    "8006 8004 00"  # width, height, one tile
    "04 08 2ba7f3a1 44444444"  # z length, y length, payload CRC, index CRC
    "00 5f5ed9fc"  # no chunks, header CRC
    "11111111 2222222222222222"
)

# Pieces of a hand-written header, in order; a test replaces one and seals the result.
PIECES = {
    "flags": "00",
    "profile": "01",
    "rate": "0040",
    "gain": "0000",
    "base": BASE.hex(),
    "adapters": "00",
    "width": "01",
    "height": "01",
    "tile_size": "00",
    "tiles": "00 00 00000000 00000000",
    "chunks": "00",
}


def seal(fields: bytes) -> bytes:
    """Magic, version, length and a right CRC around header fields, independent of the writer."""
    length, spelled = len(fields) + 4, b""
    while length > 0x7F:
        spelled += bytes([length & 0x7F | 0x80])
        length >>= 7
    header = b"\x8fPC\n\x01" + spelled + bytes([length]) + fields
    return header + zlib.crc32(header).to_bytes(4, "little")


def written(**changes: str) -> bytes:
    """A sealed header of PIECES with some replaced, in hex."""
    assert changes.keys() <= PIECES.keys()
    return seal(bytes.fromhex(" ".join((PIECES | changes).values())))


def refusal(data: bytes, **limits: int) -> str:
    with pytest.raises(StreamError) as caught:
        parse(data, **limits)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 200
    return message


def test_golden_bytes() -> None:
    assert pack(PLAIN) == PLAIN_BYTES
    assert parse(PLAIN_BYTES) == PLAIN


def test_the_example_of_the_specification() -> None:
    block = re.search(r"```hex\n(.*?)```", FORMAT.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    example = bytes.fromhex(re.sub(r"#.*", "", block[1]))
    assert pack(EXAMPLE) == example
    assert parse(example) == EXAMPLE


def test_the_specification_states_the_limits_of_the_code() -> None:
    text = FORMAT.read_text(encoding="utf-8")
    for limit in (MAX_PIXELS, MAX_TILES, MAX_HEADER_BYTES):
        assert f"{limit:,}" in text
    assert f"{MIN_HEADER_BYTES} to {MAX_HEADER_BYTES:,}" in text
    for kind in bitstream.CHUNK_KINDS:
        assert f"`{kind.decode()}`" in text


def test_hand_written_header_is_accepted_unchanged() -> None:
    """The refusals below come from the piece that each replaces."""
    container = parse(written())
    assert (container.width, container.height, container.header_size) == (1, 1, 39)


def test_header_is_small() -> None:
    """44 bytes for a picture of everyday size; two adapters and 4096 px fit in 64 at any rate."""
    plain = replace(PLAIN, tiles=(Tile(bytes(3_000), bytes(30_000), 0),))
    assert parse_header(pack(plain)).size == 44
    tile = Tile(bytes(2**14), bytes(2**21), 0)  # 1 bpp at this size; a byte more for each length
    large = replace(plain, width=4096, height=4096, tiles=(tile,), adapter_hashes=(BASE, BASE))
    assert parse_header(pack(large)).size == 62


def test_header_needs_no_more_than_itself() -> None:
    data = pack(EXAMPLE)
    header = parse_header(data[:75])
    assert header == parse_header(data)
    assert header.size == parse(data).header_size == 75
    assert header.payload_bytes == len(data) - 75
    assert [tile.y_bytes for tile in header.tiles] == [8, 0]
    check_file_bytes(header, len(data))
    for wrong in (len(data) - 1, len(data) + 1):
        with pytest.raises(StreamError):
            check_file_bytes(header, wrong)


def test_tile_grid_counts_rows_then_columns() -> None:
    assert EXAMPLE.tile_grid == (1, 2)
    assert replace(EXAMPLE, tile_size=64).tile_grid == (2, 3)
    assert replace(EXAMPLE, tile_size=0).tile_grid == (1, 1)


def test_largest_header_is_read() -> None:
    """The bound on header bytes is reached and not exceeded by the largest number of tiles."""
    side = 64 * 256
    tiles = (Tile(b"", b"", 0),) * MAX_TILES
    container = replace(PLAIN, width=side, height=side, tile_size=64, tiles=tiles)
    data = pack(container)
    assert len(parse(data, max_pixels=side**2).tiles) == MAX_TILES
    assert MAX_HEADER_BYTES - len(data) < 8 * MAX_TILES + 1000  # varints of 1 byte instead of 5


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


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_versions_are_named(version: int) -> None:
    future = pack(PLAIN)[:4] + bytes([version]) + b"whatever comes then"
    message = refusal(future)
    assert f"format version {version}" in message
    assert "supports 1" in message
    assert "upgrade promptcodec" in message


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


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 0}, "0x512"),
        ({"width": 2**32}, "32 unsigned bits"),
        ({"height": -1}, "32 unsigned bits"),
        ({"rate": 65536}, ""),
        ({"gain": 32768}, ""),
        ({"gain": -32769}, ""),
        ({"profile": 3}, "numerics profile 3"),
        ({"base_hash": b"short"}, "hash has 5 bytes"),
        ({"adapter_hashes": (b"",)}, "hash has 0 bytes"),
        ({"adapter_hashes": (BASE,) * 3}, "3 adapters"),
        ({"tile_size": 65}, "multiple of 64"),
        ({"tile_size": -64}, "32 unsigned bits"),
        ({"tile_size": 512}, "1 tiles given; 1x2 cover"),
        ({"tiles": ()}, "0 tiles given"),
        ({"tiles": (Tile(b"", b"", 2**32),)}, ""),
        ({"chunks": (Chunk(b"ICC", b""),)}, "has 3 bytes"),
        ({"chunks": (Chunk(b"QQQQ", b""),)}, "unknown chunk"),
        ({"chunks": (Chunk(b"ICCP", b""), Chunk(b"ICCP", b"x"))}, "two b'ICCP' chunks"),
    ],
)
def test_what_cannot_be_written_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match="cannot be written: ") as caught:
        pack(replace(PLAIN, **changes))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("spelled", "gain"), [("0100", 1), ("ffff", -1), ("ff7f", 32767), ("0080", -32768)]
)
def test_gain_is_a_signed_little_endian_field(spelled: str, gain: int) -> None:
    container = parse(written(gain=spelled))
    assert container.gain == gain
    assert pack(container) == written(gain=spelled)


def test_rates() -> None:
    assert rate_to_fixed(4.5) == 18432
    assert rate_to_fixed(0) == 0
    assert fixed_to_rate(rate_to_fixed(7)) == 7.0
    assert abs(fixed_to_rate(rate_to_fixed(4.3)) - 4.3) <= 1 / 8192
    for wrong in (-0.01, 16, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=r"rate index .* is outside"):
            rate_to_fixed(wrong)


def test_description_is_plain_json() -> None:
    data = pack(EXAMPLE)
    description = describe(parse_header(data), file_bytes=len(data))
    assert json.loads(json.dumps(description)) == description
    assert description == {
        "schema": "promptcodec.info/1",
        "version": 1,
        "width": 150,
        "height": 70,
        "grey": True,
        "rate_index": 4.5,
        "gain_steps": -0.5,
        "profile": 1,
        "base_hash": "a0a1a2a3a4a5a6a7",
        "adapter_hashes": ["b0b0b0b0b0b0b0b0", "b1b1b1b1b1b1b1b1"],
        "tiles": {"size": 128, "rows": 1, "columns": 2},
        "chunks": [{"kind": "EXIF", "bytes": 3}],
        "bytes": {"file": 90, "header": 75, "z": 4, "y": 8, "chunks": 3},
        "bpp": 8 * 90 / (150 * 70),
    }


def test_only_the_standard_library_is_imported() -> None:
    code = (
        "import sys; before = set(sys.modules); import promptcodec.bitstream;"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=FORMAT.parent,
    )
    assert result.stdout.split() == ["promptcodec"]

"""Containers, their bytes, and what a reader answers to changed ones."""

import zlib

import pytest
from places import ROOT

from promptcodec.bitstream import (
    Chunk,
    Container,
    Tile,
    parse,
    rate_to_fixed,
)
from promptcodec.errors import StreamError

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


def seal(fields: bytes, *, version: int = 1) -> bytes:
    """Magic, version, length and a right CRC around header fields, independent of the writer."""
    length, spelled = len(fields) + 4, b""
    while length > 0x7F:
        spelled += bytes([length & 0x7F | 0x80])
        length >>= 7
    header = b"\x8fPC\n" + bytes([version]) + spelled + bytes([length]) + fields
    return header + zlib.crc32(header).to_bytes(4, "little")


def written(*, version: int = 1, **changes: str) -> bytes:
    """A sealed header of PIECES with some replaced, in hex."""
    assert changes.keys() <= PIECES.keys()
    return seal(bytes.fromhex(" ".join((PIECES | changes).values())), version=version)


def refusal(data: bytes, **limits: int) -> str:
    with pytest.raises(StreamError) as caught:
        parse(data, **limits)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 200
    return message

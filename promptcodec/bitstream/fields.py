"""Parts of a stream as dataclasses, and the constants of versions 1 and 2."""

import math
import struct
from dataclasses import dataclass, field
from typing import ClassVar

from promptcodec.bitstream.varint import LONGEST_VARINT
from promptcodec.config import TILE_STRIDE
from promptcodec.errors import UsageError

# Not ASCII, so no text file starts with it; the newline shows a transfer that rewrote line ends.
MAGIC = b"\x8fPC\n"
ALL_LATENTS, SOME_EXACT = VERSIONS = (1, 2)  # version 2 has a kind for each tile
LATENTS, EXACT = TILE_KINDS = (0, 1)
# Numerics profiles: see "Payload" in FORMAT.md.
BASE_TABLES = 1  # z is coded with the base's tables
OWN_TABLES = 2  # z is coded with a set of an adapter's tables, whose number is in the payload
PROFILES = (BASE_TABLES, OWN_TABLES)
RATE_STEPS = 4096  # header steps between two neighbouring rate indexes
GAIN_STEPS = 256  # header units in one step between neighbouring scale tables
HASH_BYTES = 8
CHUNK_KINDS = (b"ALPH", b"ICCP", b"EXIF", b"XMP ")

MAX_PIXELS = 89_478_485  # where Pillow starts to warn of decompression bombs
MAX_TILES = 1 << 16
MAX_CHUNKS = 64
MAX_ADAPTERS = 2

# The widths of the format, for reader and writer alike.
GREY_FLAG = 1  # bit 0; the others are reserved and must be zero
FIXED = struct.Struct("<BBHh8sB")  # flags, profile, rate, gain, base hash, number of adapters
CRC = struct.Struct("<I")
CRC_PAIR = struct.Struct("<II")
# Bytes of the shortest and of the longest record of a tile, by version.
LEAST_TILE_RECORD = {ALL_LATENTS: 2 + CRC_PAIR.size, SOME_EXACT: 2 + CRC.size}
_LONGEST_TILE_RECORD = {
    ALL_LATENTS: 2 * LONGEST_VARINT + CRC_PAIR.size,
    SOME_EXACT: 1 + 2 * LONGEST_VARINT + CRC_PAIR.size,
}
MIN_HEADER_BYTES = {
    version: len(MAGIC) + 2 + FIXED.size + 3 + record + 1 + CRC.size
    for version, record in LEAST_TILE_RECORD.items()
}
MAX_HEADER_BYTES = {
    version: (len(MAGIC) + 1 + 3 + FIXED.size + MAX_ADAPTERS * HASH_BYTES + 3 * LONGEST_VARINT)
    + MAX_TILES * record
    + (1 + MAX_CHUNKS * (4 + LONGEST_VARINT + CRC.size) + CRC.size)
    for version, record in _LONGEST_TILE_RECORD.items()
}


@dataclass(frozen=True)
class Tile:
    """Entropy-coded latents of one tile.

    Args:
        z: payload of the hyper-latent.
        y: payload of the latent.
        index_crc: CRC-32 of the tile's table indexes (uint8, C order), for the entropy decoder.
    """

    is_exact: ClassVar[bool] = False
    z: bytes
    y: bytes
    index_crc: int


@dataclass(frozen=True)
class ExactTile:
    """Pixels of one tile without loss.

    Args:
        webp: a lossless WebP file of the tile's part of the picture.
    """

    is_exact: ClassVar[bool] = True
    webp: bytes


AnyTile = Tile | ExactTile


@dataclass(frozen=True)
class Chunk:
    """Data beside the latents, such as alpha or a colour profile.

    Args:
        kind: name of 4 printable ASCII bytes, the first a letter: upper case if critical.
        data: content, specified in FORMAT.md for each kind.
    """

    kind: bytes
    data: bytes


@dataclass(frozen=True)
class TileRecord:
    """One row of the tile table: payload lengths in bytes, CRC-32 of z and y, of the indexes."""

    is_exact: ClassVar[bool] = False
    z_bytes: int
    y_bytes: int
    crc: int
    index_crc: int

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return self.z_bytes + self.y_bytes


@dataclass(frozen=True)
class ExactRecord:
    """The row of an exact tile: length of its payload in bytes, and CRC-32."""

    is_exact: ClassVar[bool] = True
    size: int
    crc: int


@dataclass(frozen=True)
class ChunkRecord:
    """One row of the chunk table: kind, length in bytes, CRC-32 of the content."""

    kind: bytes
    size: int
    crc: int


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Common fields of header and container.

    Args:
        width: width of the original picture, px.
        height: height of the original picture, px.
        grey: whether the picture has one colour channel.
        base_hash: first 8 bytes of the SHA-256 of the base codec.
        adapter_hashes: hashes of 0 to 2 adapters, likewise; two if the rate is between them.
        rate: rate index in steps of 1/4096; see `rate_to_fixed`.
        gain: addend of the log-gain of every channel, in 1/256 of a table step, signed.
        profile: numerics profile of the payload.
        tile_size: side of a tile, px, a multiple of 64; 0 is one tile.
    """

    width: int
    height: int
    grey: bool
    base_hash: bytes
    adapter_hashes: tuple[bytes, ...]
    rate: int
    gain: int
    profile: int
    tile_size: int

    @property
    def tile_grid(self) -> tuple[int, int]:
        """Rows and columns of tiles; tiles are stored in raster order."""
        return tile_grid_of(self.width, self.height, self.tile_size)


class Tiled:
    """What has tiles, or a record for each."""

    tiles: tuple[AnyTile | TileRecord | ExactRecord, ...]

    @property
    def exact_tiles(self) -> frozenset[int]:
        """Numbers of the exact tiles."""
        return frozenset(number for number, tile in enumerate(self.tiles) if tile.is_exact)

    @property
    def version(self) -> int:
        """Version of the format, the lowest that has these tiles."""
        return SOME_EXACT if self.exact_tiles else ALL_LATENTS


@dataclass(frozen=True, kw_only=True)
class Header(Fields, Tiled):
    """The header of a stream: its fields and tables, and its own size in bytes."""

    tiles: tuple[TileRecord | ExactRecord, ...]
    chunks: tuple[ChunkRecord, ...]
    size: int

    @property
    def payload_bytes(self) -> int:
        """Bytes after the header."""
        return sum(part.size for part in (*self.tiles, *self.chunks))


@dataclass(frozen=True, kw_only=True)
class Container(Fields, Tiled):
    """A whole stream; `header_size` is known once parsed and takes no part in equality."""

    tiles: tuple[AnyTile, ...]
    chunks: tuple[Chunk, ...]
    header_size: int = field(default=0, compare=False)


def rate_to_fixed(rate_index: float) -> int:
    """Round a rate index to the 1/4096 steps of the header.

    Raises:
        UsageError: the index is not a number from 0 up to 65535/4096.
    """
    if not (math.isfinite(rate_index) and 0 <= round(rate_index * RATE_STEPS) <= 0xFFFF):
        raise UsageError(f"rate index {rate_index} is outside 0..15.9997: choose one of the rates")
    return round(rate_index * RATE_STEPS)


def fixed_to_rate(rate: int) -> float:
    """Exact inverse of `rate_to_fixed` for values that it returned."""
    return rate / RATE_STEPS


def decoded_pixels(width: int, height: int) -> int:
    """Pixels that a picture costs to decode: a side below 64 px counts as 64.

    Without this a strip of 1 x N px would cost 64 times what it declares.
    """
    return max(width, TILE_STRIDE) * max(height, TILE_STRIDE)


def tile_grid_of(width: int, height: int, tile_size: int) -> tuple[int, int]:
    """Rows and columns of tiles of that size that cover a picture; all in px."""
    return (-(-height // tile_size), -(-width // tile_size)) if tile_size else (1, 1)

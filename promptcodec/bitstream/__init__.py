"""The container of a compressed picture, version 1: bytes <-> dataclasses, and nothing else.

FORMAT.md is the specification; this package is its reference reader and writer::

    magic | version | header length | fields | tile table | chunk table | CRC-32
    tile 0: z, y | tile 1: z, y | ... | chunk 0 | chunk 1 | ...

It needs only the standard library.
"""

from promptcodec.bitstream.fields import (
    BASE_TABLES,
    CHUNK_KINDS,
    GAIN_STEPS,
    HASH_BYTES,
    MAGIC,
    MAX_ADAPTERS,
    MAX_CHUNKS,
    MAX_HEADER_BYTES,
    MAX_PIXELS,
    MAX_TILES,
    MIN_HEADER_BYTES,
    OWN_TABLES,
    PROFILES,
    RATE_STEPS,
    VERSION,
    Chunk,
    ChunkRecord,
    Container,
    Header,
    Tile,
    TileRecord,
    decoded_pixels,
    fixed_to_rate,
    rate_to_fixed,
    tile_grid_of,
)
from promptcodec.bitstream.random_access import (
    ReadAt,
    StreamFile,
    load_stream,
    open_stream,
    read_stream,
)
from promptcodec.bitstream.reader import check_file_bytes, parse, parse_header
from promptcodec.bitstream.summary import describe
from promptcodec.bitstream.writer import pack

__all__ = [
    "BASE_TABLES",
    "CHUNK_KINDS",
    "GAIN_STEPS",
    "HASH_BYTES",
    "MAGIC",
    "MAX_ADAPTERS",
    "MAX_CHUNKS",
    "MAX_HEADER_BYTES",
    "MAX_PIXELS",
    "MAX_TILES",
    "MIN_HEADER_BYTES",
    "OWN_TABLES",
    "PROFILES",
    "RATE_STEPS",
    "VERSION",
    "Chunk",
    "ChunkRecord",
    "Container",
    "Header",
    "ReadAt",
    "StreamFile",
    "Tile",
    "TileRecord",
    "check_file_bytes",
    "decoded_pixels",
    "describe",
    "fixed_to_rate",
    "load_stream",
    "open_stream",
    "pack",
    "parse",
    "parse_header",
    "rate_to_fixed",
    "read_stream",
    "tile_grid_of",
]

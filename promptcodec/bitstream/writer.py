"""Dataclasses to bytes, with the checks of the reader."""

import struct
import zlib

from promptcodec.bitstream.fields import (
    CRC,
    CRC_PAIR,
    EXACT,
    FIXED,
    GREY_FLAG,
    HASH_BYTES,
    LATENTS,
    MAGIC,
    SOME_EXACT,
    AnyTile,
    Container,
    ExactTile,
)
from promptcodec.bitstream.reader import parse_header
from promptcodec.bitstream.varint import pack_varint
from promptcodec.config import TILE_STRIDE
from promptcodec.errors import UsageError


def pack(container: Container) -> bytes:
    """Write a container, with the checks of `parse`.

    Raises:
        UsageError: a field cannot be written or contradicts another one.
    """
    try:
        body = _pack_fields(container)
        header = MAGIC + bytes([container.version]) + pack_varint(len(body) + CRC.size) + body
        header += CRC.pack(zlib.crc32(header))
        # Checked by the reader, so that both have the same rules.
        parse_header(header, max_pixels=1 << 64)
    except (struct.error, ValueError) as error:
        raise UsageError(f"this container cannot be written: {error}") from error
    payload = [part for tile in container.tiles for part in _parts(tile)]
    return b"".join([header, *payload, *(chunk.data for chunk in container.chunks)])


def _parts(tile: AnyTile) -> tuple[bytes, ...]:
    """Payloads of a tile."""
    return (tile.webp,) if isinstance(tile, ExactTile) else (tile.z, tile.y)


def _pack_record(tile: AnyTile, version: int) -> bytes:
    """Row of the tile table."""
    kind = bytes([EXACT if tile.is_exact else LATENTS]) if version == SOME_EXACT else b""
    sizes = b"".join(pack_varint(len(part)) for part in _parts(tile))
    crc = zlib.crc32(b"".join(_parts(tile)))
    if isinstance(tile, ExactTile):
        return kind + sizes + CRC.pack(crc)
    return kind + sizes + CRC_PAIR.pack(crc, tile.index_crc)


def _pack_fields(container: Container) -> bytes:
    """Header from the flags to the end of the chunk table."""
    units, remainder = divmod(container.tile_size, TILE_STRIDE)
    if remainder:
        raise ValueError(f"tile size {container.tile_size} px is no multiple of {TILE_STRIDE}")
    for value in (container.base_hash, *container.adapter_hashes):
        if len(value) != HASH_BYTES:
            raise ValueError(f"a hash has {len(value)} bytes; give the first {HASH_BYTES}")
    parts = [
        FIXED.pack(
            GREY_FLAG if container.grey else 0,
            container.profile,
            container.rate,
            container.gain,
            container.base_hash,
            len(container.adapter_hashes),
        ),
        *container.adapter_hashes,
        *(pack_varint(number) for number in (container.width, container.height, units)),
    ]
    rows, columns = container.tile_grid
    if len(container.tiles) != rows * columns:
        raise ValueError(f"{len(container.tiles)} tiles given; {rows}x{columns} cover the picture")
    version = container.version
    parts += [_pack_record(tile, version) for tile in container.tiles]
    parts.append(pack_varint(len(container.chunks)))
    for chunk in container.chunks:
        if len(chunk.kind) != 4:
            raise ValueError(f"chunk kind {chunk.kind!r} has {len(chunk.kind)} bytes; give 4")
        parts += [chunk.kind, pack_varint(len(chunk.data)), CRC.pack(zlib.crc32(chunk.data))]
    return b"".join(parts)

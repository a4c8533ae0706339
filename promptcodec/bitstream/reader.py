"""The header: bytes to dataclasses, every field checked.

The CRC of the header is checked before any field is used, and every length against the available
bytes before anything is allocated, so hostile bytes cost no more than their size.
"""

import zlib

from promptcodec.bitstream.fields import (
    CHUNK_KINDS,
    CRC,
    CRC_PAIR,
    EXACT,
    FIXED,
    GREY_FLAG,
    HASH_BYTES,
    LEAST_TILE_RECORD,
    MAGIC,
    MAX_ADAPTERS,
    MAX_CHUNKS,
    MAX_HEADER_BYTES,
    MAX_PIXELS,
    MAX_TILES,
    MIN_HEADER_BYTES,
    PROFILES,
    SOME_EXACT,
    TILE_KINDS,
    ChunkRecord,
    ExactRecord,
    Header,
    TileRecord,
    decoded_pixels,
    tile_grid_of,
)
from promptcodec.bitstream.signature import AGAIN, check_start, truncated
from promptcodec.bitstream.varint import read_varint
from promptcodec.config import TILE_STRIDE
from promptcodec.errors import StreamError


def parse_header(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Read the header from the first bytes of a file; the greatest of `MAX_HEADER_BYTES` suffices.

    Args:
        data: bytes of the file, or a prefix of them.
        max_pixels: largest allowed number of pixels; a side below 64 px counts as 64.

    Raises:
        StreamError: the data is no stream, of a newer version, damaged, truncated or too large.
    """
    version = check_start(data)
    least = MIN_HEADER_BYTES[version]
    reader = _Reader(data, start=len(MAGIC) + 1, short=truncated(len(data), least))
    length = reader.varint("header length")
    end = reader.position + length
    if not least <= end <= MAX_HEADER_BYTES[version]:
        raise StreamError(f"the header claims {end} bytes, which no stream has: {AGAIN}")
    if end > len(data):
        raise StreamError(truncated(len(data), end))
    body = data[: end - CRC.size]
    if zlib.crc32(body) != CRC.unpack_from(data, len(body))[0]:
        raise StreamError(f"the header is damaged, its checksum does not match: {AGAIN}")
    reader = _Reader(body, start=reader.position, short=f"a field overruns the header: {AGAIN}")
    header = _read_fields(reader, version, max_pixels=max_pixels, size=end)
    if reader.remaining:
        raise StreamError(f"the header has {reader.remaining} bytes left over: {AGAIN}")
    return header


def check_file_bytes(header: Header, file_bytes: int) -> None:
    """Compare the size of a file, in bytes, with that of its header.

    Raises:
        StreamError: the file is truncated, or goes on after its last chunk.
    """
    expected = header.size + header.payload_bytes
    if file_bytes < expected:
        raise StreamError(truncated(file_bytes, expected))
    if file_bytes > expected:
        raise StreamError(
            f"data follow the end of the stream: {file_bytes} bytes are there, {expected} belong"
            f" to it: {AGAIN}"
        )


class _Reader:
    """A cursor over the header or payload that never reads past the end."""

    def __init__(self, data: bytes, *, start: int, short: str) -> None:
        self.data = data
        self.position = start
        self.short = short

    @property
    def remaining(self) -> int:
        return len(self.data) - self.position

    def take(self, size: int) -> bytes:
        if size > self.remaining:
            raise StreamError(self.short)
        self.position += size
        return self.data[self.position - size : self.position]

    def varint(self, name: str) -> int:
        try:
            value, self.position = read_varint(self.data, self.position)
        except EOFError:
            raise StreamError(self.short) from None
        except ValueError as error:
            raise StreamError(f"the {name} is {error}: {AGAIN}") from None
        return value


def _read_fields(reader: _Reader, version: int, *, max_pixels: int, size: int) -> Header:
    flags, profile, rate, gain, base_hash, adapters = FIXED.unpack(reader.take(FIXED.size))
    if flags & ~GREY_FLAG:
        raise StreamError(f"the stream sets unknown flags ({flags:#04x}): upgrade promptcodec")
    if profile not in PROFILES:
        raise StreamError(
            f"the stream has numerics profile {profile}, this promptcodec supports"
            f" {', '.join(map(str, PROFILES))}: upgrade promptcodec"
        )
    if adapters > MAX_ADAPTERS:
        raise StreamError(f"the stream names {adapters} adapters, at most {MAX_ADAPTERS} can be")
    adapter_hashes = tuple(reader.take(HASH_BYTES) for _ in range(adapters))
    width, height = reader.varint("width"), reader.varint("height")
    _check_size(width, height, max_pixels=max_pixels)
    tile_size = TILE_STRIDE * reader.varint("tile size")
    rows, columns = tile_grid_of(width, height, tile_size)
    return Header(
        width=width,
        height=height,
        grey=bool(flags & GREY_FLAG),
        base_hash=base_hash,
        adapter_hashes=adapter_hashes,
        rate=rate,
        gain=gain,
        profile=profile,
        tile_size=tile_size,
        tiles=_read_tile_table(reader, version, rows * columns),
        chunks=_read_chunk_table(reader),
        size=size,
    )


def _read_tile_table(
    reader: _Reader, version: int, count: int
) -> tuple[TileRecord | ExactRecord, ...]:
    if count > MAX_TILES:
        raise StreamError(f"the stream declares {count} tiles, at most {MAX_TILES} can be: {AGAIN}")
    if count * LEAST_TILE_RECORD[version] > reader.remaining:
        raise StreamError(f"the header has no room for its {count} tiles: {AGAIN}")
    if version != SOME_EXACT:
        return tuple(_read_latents(reader) for _ in range(count))
    records = tuple(_read_record(reader) for _ in range(count))
    if not any(record.is_exact for record in records):
        raise StreamError(f"the stream has version {version} and no exact tile: {AGAIN}")
    return records


def _read_record(reader: _Reader) -> TileRecord | ExactRecord:
    (kind,) = reader.take(1)
    if kind not in TILE_KINDS:
        raise StreamError(f"the stream has a tile of the unknown kind {kind}: upgrade promptcodec")
    if kind == EXACT:
        return ExactRecord(reader.varint("length of a tile"), *CRC.unpack(reader.take(CRC.size)))
    return _read_latents(reader)


def _read_latents(reader: _Reader) -> TileRecord:
    return TileRecord(
        reader.varint("length of z"),
        reader.varint("length of y"),
        *CRC_PAIR.unpack(reader.take(CRC_PAIR.size)),
    )


def _read_chunk_table(reader: _Reader) -> tuple[ChunkRecord, ...]:
    count = reader.varint("chunk count")
    if count > MAX_CHUNKS:
        raise StreamError(f"the stream has {count} chunks, at most {MAX_CHUNKS} can be: {AGAIN}")
    rows: dict[bytes, ChunkRecord] = {}
    for _ in range(count):
        kind = reader.take(4)
        if not (kind[:1].isalpha() and all(0x20 <= byte < 0x7F for byte in kind)):
            raise StreamError(f"{kind!r} is no chunk kind: {AGAIN}")
        if kind in rows:
            raise StreamError(f"the stream has two {kind!r} chunks, one can be: {AGAIN}")
        if kind[:1].isupper() and kind not in CHUNK_KINDS:
            raise StreamError(f"the stream needs the unknown chunk {kind!r}: upgrade promptcodec")
        size = reader.varint("chunk length")
        rows[kind] = ChunkRecord(kind, size, *CRC.unpack(reader.take(CRC.size)))
    return tuple(rows.values())


def _check_size(width: int, height: int, *, max_pixels: int) -> None:
    if not (width and height):
        raise StreamError(f"the stream declares {width}x{height} px, both must be 1 or more")
    decoded = decoded_pixels(width, height)
    if width * height > max_pixels or decoded > max(max_pixels, TILE_STRIDE**2):
        raise StreamError(
            f"the stream declares {width}x{height} px, {decoded} to decode, over the limit of"
            f" {max_pixels}: if you trust it, raise --max-pixels"
        )

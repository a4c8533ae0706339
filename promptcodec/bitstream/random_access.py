"""Single tiles and chunks of a stream, each read and checked when it is asked for."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate

from promptcodec.bitstream.fields import MAX_HEADER_BYTES, MAX_PIXELS, Header, Tile
from promptcodec.bitstream.reader import check_file_bytes, parse_header
from promptcodec.bitstream.signature import AGAIN
from promptcodec.errors import StreamError

ReadAt = Callable[[int, int], bytes]  # offset, bytes at most

_READS = (1 << 12, 1 << 16)  # bytes; the first holds nearly every header, 1.2 MB hold all


@dataclass(frozen=True)
class Parts:
    """A stream whose header is known and whose payload is read by parts.

    Args:
        header: of the stream.
        read: gives up to so many bytes from an offset; fewer where the file ends.
        file_bytes: size of the file.
    """

    header: Header
    read: ReadAt
    file_bytes: int
    _starts: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = [tile.z_bytes + tile.y_bytes for tile in self.header.tiles]
        sizes += [chunk.size for chunk in self.header.chunks]
        starts = tuple(accumulate(sizes, initial=self.header.size))
        object.__setattr__(self, "_starts", starts)

    def tile(self, number: int) -> Tile:
        """Payload of a tile, its checksum verified.

        Raises:
            StreamError: the file ends before it, or it is damaged.
        """
        row = self.header.tiles[number]
        data = self._part(number, row.z_bytes + row.y_bytes, row.crc, f"tile {number}")
        return Tile(data[: row.z_bytes], data[row.z_bytes :], row.index_crc)

    def chunk(self, kind: bytes) -> bytes | None:
        """Content of a chunk, its checksum verified; None where the stream has none of the kind.

        Raises:
            StreamError: the file ends before it, or it is damaged.
        """
        for place, row in enumerate(self.header.chunks, start=len(self.header.tiles)):
            if row.kind == kind:
                name = f"chunk {kind.decode('ascii')!r}"
                return self._part(place, row.size, row.crc, name)
        return None

    def _part(self, place: int, size: int, crc: int, name: str) -> bytes:
        start = self._starts[place]
        if start + size > self.file_bytes:
            raise StreamError(
                f"{name} is truncated: it ends at byte {start + size}, {self.file_bytes} are there:"
                f" {AGAIN}"
            )
        data = self.read(start, size)
        if len(data) != size or zlib.crc32(data) != crc:
            raise StreamError(f"{name} is damaged, its checksum does not match: {AGAIN}")
        return data


def open_parts(
    read: ReadAt, file_bytes: int, *, allow_partial: bool = False, max_pixels: int = MAX_PIXELS
) -> Parts:
    """Read the header and nothing more.

    Args:
        read: gives up to so many bytes from an offset.
        file_bytes: size of the file.
        allow_partial: the file may be truncated behind its header.
        max_pixels: as for `parse_header`.
    Raises:
        StreamError: no stream, a damaged header, or a file of another size than the header says.
    """
    header = _read_header(read, max_pixels=max_pixels)
    if not (allow_partial and file_bytes < header.size + header.payload_bytes):
        check_file_bytes(header, file_bytes)
    return Parts(header, read, file_bytes)


def _read_header(read: ReadAt, *, max_pixels: int) -> Header:
    for size in _READS:
        start = read(0, size)
        try:
            return parse_header(start, max_pixels=max_pixels)
        except StreamError:
            if len(start) < size:  # there is no more
                raise
    return parse_header(read(0, MAX_HEADER_BYTES), max_pixels=max_pixels)

"""A stream in bytes or in a file: its header first, then single tiles and chunks on demand."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from promptcodec.bitstream.fields import (
    MAX_HEADER_BYTES,
    MAX_PIXELS,
    AnyTile,
    Chunk,
    Container,
    ExactRecord,
    ExactTile,
    Fields,
    Header,
    Tile,
)
from promptcodec.bitstream.reader import check_file_bytes, parse_header
from promptcodec.bitstream.signature import AGAIN
from promptcodec.errors import PromptCodecError, StreamError, not_found

ReadAt = Callable[[int, int], bytes]  # offset, bytes at most

_READS = (1 << 12, 1 << 16)  # bytes; the first holds nearly every header, 1.2 MB hold all


@dataclass(frozen=True)
class StreamFile:
    """A stream with a parsed header, whose payload is read by parts.

    Args:
        header: header of the stream.
        read: function of an offset and a number of bytes; returns fewer at the end of the file.
        file_bytes: size of the file.
    """

    header: Header
    read: ReadAt
    file_bytes: int
    _starts: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = [part.size for part in (*self.header.tiles, *self.header.chunks)]
        starts = tuple(accumulate(sizes, initial=self.header.size))
        object.__setattr__(self, "_starts", starts)

    def tile(self, number: int) -> AnyTile:
        """Payload of a tile, its checksum verified.

        Raises:
            StreamError: the file ends before it, or it is damaged.
        """
        row = self.header.tiles[number]
        data = self._part(number, row.size, row.crc, f"tile {number}")
        if isinstance(row, ExactRecord):
            return ExactTile(data)
        return Tile(data[: row.z_bytes], data[row.z_bytes :], row.index_crc)

    def chunk(self, kind: bytes) -> bytes | None:
        """Content of a chunk, its checksum verified; None if the stream has none of the kind.

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

    def chunks(self, *, allow_partial: bool) -> dict[bytes, bytes]:
        """Contents of the chunks, by kind.

        Args:
            allow_partial: whether to leave out chunks that are missing in a partial stream.
        Raises:
            StreamError: see `chunk`.
        """
        found = {}
        for row in self.header.chunks:
            try:
                found[row.kind] = self.chunk(row.kind) or b""
            except StreamError:
                if not allow_partial:
                    raise
        return found


@contextmanager
def open_stream(
    source: bytes | str | Path, *, allow_partial: bool = False, max_pixels: int = MAX_PIXELS
) -> Iterator[StreamFile]:
    """A stream in bytes or in a file, which stays open meanwhile.

    Args:
        source: the stream, or the path of its file.
        allow_partial: permission for a file that is truncated behind its header.
        max_pixels: limit of pixels as in `parse_header`.
    Raises:
        StreamError: the file does not exist or is no stream, its header is damaged, or its size is
            not that of the header.
    """
    with _open(source) as (read, file_bytes):
        yield read_stream(read, file_bytes, allow_partial=allow_partial, max_pixels=max_pixels)


def load_stream(source: bytes | str | Path, *, max_pixels: int = MAX_PIXELS) -> StreamFile:
    """A whole stream in memory; arguments and errors as `open_stream`."""
    with _open(source) as (read, file_bytes):
        content = read(0, file_bytes)
    return read_stream(
        lambda at, size: content[at : at + size], len(content), max_pixels=max_pixels
    )


@contextmanager
def _open(source: bytes | str | Path) -> Iterator[tuple[ReadAt, int]]:
    """Reading function and size of a source."""
    if isinstance(source, str | Path):
        try:
            with open(source, "rb") as file:
                yield (lambda at, size: _read_at(file, at, size)), file.seek(0, os.SEEK_END)
        except (OSError, ValueError) as error:
            if isinstance(error, PromptCodecError):
                raise
            if isinstance(error, FileNotFoundError):
                raise StreamError(not_found(source)) from None
            reason = getattr(error, "strerror", None) or error
            raise StreamError(f"{source} cannot be read: {reason}: name a readable file") from None
        return
    try:
        content = bytes(memoryview(source))
    except TypeError:
        raise StreamError(
            f"a stream is bytes or the path of a file, not {type(source).__name__}"
        ) from None
    yield (lambda at, size: content[at : at + size]), len(content)


def _read_at(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def read_stream(
    read: ReadAt, file_bytes: int, *, allow_partial: bool = False, max_pixels: int = MAX_PIXELS
) -> StreamFile:
    """Read the header and nothing more.

    Args:
        read: function of an offset and a number of bytes, which may return fewer bytes.
        file_bytes: size of the file.
        allow_partial: whether the file may be truncated after its header.
        max_pixels: limit of pixels as in `parse_header`.
    Raises:
        StreamError: the file is no stream, its header is damaged, or its size is not that of the
            header.
    """
    header = _read_header(read, max_pixels=max_pixels)
    if not (allow_partial and file_bytes < header.size + header.payload_bytes):
        check_file_bytes(header, file_bytes)
    return StreamFile(header, read, file_bytes)


def parse(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Container:
    """Read a whole stream and verify every checksum but `index_crc`, which needs the model.

    Args:
        data: the whole file.
        max_pixels: limit of pixels as in `parse_header`.
    Raises:
        StreamError: not a stream, from a newer version, damaged, truncated or too large.
    """
    file = read_stream(lambda at, size: data[at : at + size], len(data), max_pixels=max_pixels)
    header = file.header
    tiles = tuple(file.tile(number) for number in range(len(header.tiles)))
    contents = file.chunks(allow_partial=False)
    return Container(
        **{item.name: getattr(header, item.name) for item in fields(Fields)},
        tiles=tiles,
        chunks=tuple(Chunk(kind, data) for kind, data in contents.items()),
        header_size=header.size,
    )


def _read_header(read: ReadAt, *, max_pixels: int) -> Header:
    for size in _READS:
        start = read(0, size)
        try:
            return parse_header(start, max_pixels=max_pixels)
        except StreamError:
            if len(start) < size:  # there is no more
                raise
    return parse_header(read(0, max(MAX_HEADER_BYTES.values())), max_pixels=max_pixels)

"""Chunks of PNG files that Pillow does not read, or refuses for their size."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IDAT", b"fdAT")
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
_MOST = 1 << 20  # bytes of a text or profile that Pillow takes
_MOST_TEXT = 16 << 20  # bytes of all texts; Pillow takes four times that
_MOST_KEPT = 64 << 20  # bytes of a profile or XMP packet that is looked at


class Chunk(NamedTuple):
    """Where a chunk lies.

    Args:
        kind: four letters.
        start: offset of its content.
        size: bytes of its content.
    """

    kind: bytes
    start: int
    size: int


def chunk_before_pixels(head: bytes, kind: bytes) -> bytes | None:
    """Content of a chunk in the first bytes of a file; None where it is not there."""
    if not head.startswith(SIGNATURE):
        return None
    for chunk in _chunks(io.BytesIO(head)):
        if chunk.kind == kind:
            return head[chunk.start : chunk.start + chunk.size]
        if chunk.kind in _PIXELS:
            return None
    return None


class Lightened(NamedTuple):
    """A PNG file that Pillow takes.

    Args:
        file: as it was, or without the texts and profiles that are too large.
        profile: ICC profile that was taken out; None for none.
        xmp: XMP packet that was taken out.
        has_text: other text was taken out.
    """

    file: BinaryIO
    profile: bytes | None = None
    xmp: bytes | None = None
    has_text: bool = False


def lighten(file: BinaryIO) -> Lightened:
    """Take out of a PNG what Pillow would refuse the whole picture for.

    Args:
        file: seekable, at its start; of another format it is left as it is.
    """
    start = file.read(len(SIGNATURE))
    file.seek(0)
    if start != SIGNATURE:
        return Lightened(file)
    dropped: list[Chunk] = []
    profile = xmp = None
    texts, has_text = 0, False
    for chunk in _chunks(file):
        if chunk.kind != b"iCCP" and chunk.kind not in _TEXT:
            continue
        key, packed, content = _parts(file, chunk)
        size = _size(content) if packed else len(content)
        texts += size if chunk.kind in _TEXT else 0
        if size <= _MOST and texts <= _MOST_TEXT:
            continue
        dropped.append(chunk)
        if chunk.kind == b"iCCP":
            profile = _inflated(content)
        elif key == _XMP:
            xmp = _inflated(content) if packed else content
        else:
            has_text = True
    file.seek(0)
    return Lightened(_without(file, dropped) if dropped else file, profile, xmp, has_text)


def _chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Chunks of a file up to its end or to where it is cut off."""
    start = len(SIGNATURE)
    while True:
        file.seek(start)
        head = file.read(8)
        if len(head) < 8 or not head[4:].isalpha():
            return
        size = int.from_bytes(head[:4], "big")
        yield Chunk(head[4:], start + 8, size)
        start += size + 12


def _parts(file: BinaryIO, chunk: Chunk) -> tuple[bytes, bool, bytes]:
    """Key of a text or profile, whether it is compressed, and its content as it is stored."""
    file.seek(chunk.start)
    key, _, rest = file.read(min(chunk.size, _MOST_KEPT)).partition(b"\0")
    if chunk.kind == b"tEXt":
        return key, False, rest
    if chunk.kind == b"iTXt":  # flag, method, language, translated key
        content = rest[2:].split(b"\0", 2)[-1]
        return key, rest[:1] == b"\1", content
    return key, True, rest[1:]


def _size(content: bytes) -> int:
    """Bytes after decompression, counted no further than matters."""
    return len(_inflated(content, _MOST + 1) or b"")


def _inflated(content: bytes, most: int = _MOST_KEPT) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(content, most)
    except zlib.error:
        return None


def _without(file: BinaryIO, dropped: list[Chunk]) -> BinaryIO:
    """A copy in memory without some chunks."""
    data, parts, at = file.read(), [], 0
    for chunk in dropped:
        parts.append(data[at : chunk.start - 8])
        at = chunk.start + chunk.size + 4
    return io.BytesIO(b"".join([*parts, data[at:]]))

"""Bytes of a file that depend on its pixels: the file without headers and fixed tables.

Headers dominate files of a few hundred bytes. Rates of small pictures are therefore given both for
whole files and for these payloads, for every codec alike.
"""

from __future__ import annotations

import struct

from promptcodec import bitstream
from promptcodec.errors import StreamError

_SOS, _EOI = b"\xff\xda", b"\xff\xd9"


def payload_bytes(data: bytes) -> int:
    """Size of the coded picture in a .pc, JPEG, WebP or AVIF file.

    JPEG: the entropy-coded scans. WebP: the chunk's content without the VP8 frame header (10
    bytes). AVIF: `mdat`. Ours: everything after the header.

    Raises:
        StreamError: another kind of file.
    """
    if data.startswith(bitstream.MAGIC):
        return len(data) - bitstream.parse_header(data, max_pixels=1 << 62).size
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if data[4:8] == b"ftyp":
        return _box(data, b"mdat")
    raise StreamError("no .pc, JPEG, WebP or AVIF file: its payload is not known")


def _jpeg(data: bytes) -> int:
    at, total = 2, 0
    while at + 4 <= len(data):
        marker, size = data[at : at + 2], struct.unpack(">H", data[at + 2 : at + 4])[0]
        at += 2 + size
        if marker == _SOS:
            start = at
            # In a scan, 0xff is followed by zero or a restart marker.
            while data[at] != 0xFF or data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7:
                at += 1
            total += at - start
        if data[at : at + 2] == _EOI:
            break
    return total


def _webp(data: bytes) -> int:
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        if kind == b"VP8 ":
            return size - 10
        at += 8 + size + size % 2
    raise StreamError("a WebP file without a lossy picture: its payload is not known")


def _box(data: bytes, wanted: bytes) -> int:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == wanted:
            return (size or len(data) - at) - 8
        at += size or len(data)
    raise StreamError("an AVIF file without its data: its payload is not known")

"""Exact pixels of a tile as a lossless WebP file, the payload of an exact tile.

Pillow's WebP decoder is the only one that reads them. It takes any WebP file: lossy ones, moving
ones, others of any size. So the first bytes are compared before it sees the file.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from promptcodec.errors import PictureError, ShapeError, StreamError
from promptcodec.io.opening import open_header

LONGEST_SIDE = 16_383  # px, of a WebP file
QUALITY, METHOD = 100, 4  # of the search for the smallest file; method 6 takes 20 times as long
_START = struct.Struct("<4sI8sIBI")  # RIFF, bytes, WEBPVP8L, bytes, signature, sizes and flags
_SIGNATURE = 0x2F
_AGAIN = "the stream is damaged or was written by a faulty encoder; encode the picture again"


def encode_exact(rgb: NDArray[np.uint8]) -> bytes:
    """Encode pixels, uint8 (H, W, 3).

    Raises:
        PictureError: Pillow has no WebP.
        ShapeError: a side is longer than `LONGEST_SIDE`.
    """
    if max(rgb.shape[:2]) > LONGEST_SIDE:
        raise ShapeError(f"{rgb.shape[1]}x{rgb.shape[0]} px are no WebP: cut into smaller tiles")
    if not features.check("webp"):
        raise PictureError("this Pillow has no WebP for exact tiles: leave graphics at 'never'")
    output = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(rgb))
    image.save(output, "WEBP", lossless=True, quality=QUALITY, method=METHOD)
    return output.getvalue()


def decode_exact(data: bytes, *, width: int, height: int) -> NDArray[np.uint8]:
    """Invert `encode_exact`; the file has to be one picture of VP8L, without alpha, of that size.

    Returns:
        Pixels, uint8 (height, width, 3).

    Raises:
        StreamError: the file is another one, or damaged.
        MemoryError: there is not enough memory.
    """
    if (fault := _fault(data, width=width, height=height)) is not None:
        raise StreamError(f"an exact tile {fault}: {_AGAIN}")
    try:
        with open_header(io.BytesIO(data), ("WEBP",)) as image:
            pixels = np.array(image.convert("RGB"))
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many types on damaged files
        raise StreamError(f"an exact tile cannot be decoded: {_AGAIN}") from error
    if pixels.shape != (height, width, 3):
        raise StreamError(f"an exact tile decodes to another size: {_AGAIN}")
    return pixels


def _fault(data: bytes, *, width: int, height: int) -> str | None:
    """What the first bytes of a file have that those of an exact tile may not have."""
    if len(data) < _START.size:
        return f"has {len(data)} bytes, too few for a WebP file"
    riff, riff_bytes, kind, chunk_bytes, signature, fields = _START.unpack_from(data)
    if (riff, kind, signature) != (b"RIFF", b"WEBPVP8L", _SIGNATURE):
        return "is no lossless WebP file"
    # Eight bytes before the first count, twenty before the second; an odd chunk has a byte after.
    if riff_bytes + 8 != len(data) or chunk_bytes + chunk_bytes % 2 + 20 != len(data):
        return "has another length than its WebP file"
    found = (fields & 0x3FFF) + 1, (fields >> 14 & 0x3FFF) + 1
    if found != (width, height):
        return f"of {width}x{height} px is a WebP file of {found[0]}x{found[1]} px"
    if fields >> 28:
        return "is a WebP file with alpha or of another version"
    return None

"""Where a stream comes from, and what of it is wanted: bytes or a file, chunks, a region."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import BinaryIO

import numpy as np

from promptcodec.bitstream import Header, Parts, ReadAt, open_parts
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.config import STRIDE
from promptcodec.errors import PromptCodecError, StreamError, UsageError
from promptcodec.io import images
from promptcodec.io.alpha import decode_alpha
from promptcodec.io.lazy_pixels import Pixels

Region = tuple[int, int, int, int]  # x, y, width, height, px


@contextmanager
def open_source(data: bytes | str | Path) -> Iterator[tuple[ReadAt, int]]:
    """A stream, which may be given as the path of its file: how to read of it, and its size.

    Raises:
        StreamError: no such file.
    """
    if isinstance(data, str | Path):
        try:
            with open(data, "rb") as file:
                yield (lambda at, size: _read_at(file, at, size)), file.seek(0, os.SEEK_END)
        except (OSError, ValueError) as error:
            if isinstance(error, PromptCodecError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise StreamError(f"{data} cannot be read: {reason}: name a readable file") from None
        return
    try:
        content = bytes(memoryview(data))
    except TypeError:
        raise StreamError(
            f"a stream is bytes or the path of a file, not {type(data).__name__}"
        ) from None
    yield (lambda at, size: content[at : at + size]), len(content)


def _read_at(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def check_header(data: bytes | Path, *, allow_partial: bool) -> None:
    """Refuse what is no stream by its header alone.

    Raises:
        StreamError: no stream, or one of another size than its header says.
    """
    with open_source(data) as (read, file_bytes):
        open_parts(read, file_bytes, allow_partial=allow_partial, max_pixels=1 << 64)


def read_chunks(parts: Parts, *, allow_partial: bool) -> dict[bytes, bytes]:
    """Contents of the chunks, by kind; without those that a partial stream does not hold."""
    found = {}
    for row in parts.header.chunks:
        try:
            found[row.kind] = parts.chunk(row.kind) or b""
        except StreamError:
            if not allow_partial:
                raise
    return found


def region_of(region: Region | None, header: Header, *, max_pixels: int) -> Box:
    """The part of the picture that is wanted, if it can be had within the limit."""
    if region is None:
        return Box(0, 0, header.height, header.width)
    if len(region) != 4 or not all(isinstance(value, Integral) for value in region):
        raise UsageError(f"region is {region}: give four whole numbers, x,y,width,height")
    x, y, width, height = region
    box = Box(y, x, y + height, x + width)
    if min(width, height) < 1 or box != box.within(Box(0, 0, header.height, header.width)):
        raise UsageError(
            f"region {x},{y},{width},{height} is not inside the picture of {header.width}x"
            f"{header.height} px: give x,y,width,height"
        )
    tiling = Tiling(header.width, header.height, header.tile_size, halo=0)
    cost = sum(tiling.tile(n).height * tiling.tile(n).width for n in tiling.touching(box))
    if cost > max(max_pixels, STRIDE**2):
        raise StreamError(
            f"the region lies in tiles of {cost} px, over the limit of {max_pixels}: if you trust "
            "the stream, raise --max-pixels"
        )
    return box


def picture_of(
    pixels: np.ndarray | Pixels, header: Header, chunks: Mapping[bytes, bytes], region: Box
) -> images.Picture:
    """Decoded pixels of a region with what the chunks of the stream add to them."""
    alpha = None
    if b"ALPH" in chunks:
        alpha = decode_alpha(chunks[b"ALPH"], width=header.width, height=header.height)
        alpha = alpha[region.slices(Box(0, 0, header.height, header.width))]
    return images.Picture(
        pixels=pixels,
        grey=header.grey,
        alpha=alpha,
        icc=chunks.get(b"ICCP"),
        exif=chunks.get(b"EXIF"),
        xmp=chunks.get(b"XMP "),
    )

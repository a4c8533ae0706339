"""Picture files opened by Pillow, not decoded, and without limits that it cannot be told."""

from __future__ import annotations

import threading
from typing import IO, BinaryIO

from PIL import Image, ImageFile

from promptcodec.io.png import lighten

# Formats whose depth is in the header and that need no outside program (EPS starts one) or guessing
# (TGA has no magic). The plugins of the first five are quick to import and therefore stand first.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "QOI", "DIB")
HEAD = 1 << 16  # bytes of a file that are searched for depth and colours

_open_lock = threading.Lock()


def open_header(file: IO[bytes], formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Open without decoding and without Pillow's own size limit, which cannot be passed to it.

    The caller checks the size. The lock keeps two of our threads from restoring the limit wrongly.
    """
    with _open_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def open_picture(file: BinaryIO) -> ImageFile.ImageFile:
    """Open a file of any of `FORMATS`, also a PNG whose texts or profile are large.

    Args:
        file: seekable, at its start.
    """
    light = lighten(file)
    image = open_header(light.file, FORMATS)
    for key, value in (("icc_profile", light.profile), ("xmp", light.xmp)):
        if value is not None:
            image.info[key] = value
    if light.has_text:
        image.info["comment"] = b"text that is left out"
    return image

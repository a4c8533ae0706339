"""Small pictures and picture files for tests."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

NOISE = np.random.default_rng(7).integers(0, 256, (9, 13, 4), dtype=np.uint8)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_ICC = SRGB[:16] + b"GRAY" + SRGB[20:]  # only the header counts for keeping it
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'


def picture(mode: str) -> Image.Image:
    """13 x 9 px of noise in a mode."""
    rgba = Image.fromarray(NOISE)
    if mode == "P":
        return rgba.convert("RGB").quantize(16)
    return rgba if mode == "RGBA" else rgba.convert("RGB").convert(mode)


def file_bytes(image: Image.Image, kind: str, **options) -> bytes:
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()


def png_chunks(image: Image.Image, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with further chunks behind its header."""
    data, at = file_bytes(image, "PNG"), 33
    parts = [data[:at]]
    for kind, content in chunks:
        parts += [struct.pack(">I", len(content)), kind, content]
        parts.append(struct.pack(">I", zlib.crc32(kind + content)))
    return b"".join([*parts, data[at:]])


def exif_with(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """A TIFF block with a maker, an orientation, and bytes behind that only we know of."""
    width = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}[kind]
    value = struct.pack(order + width, orientation).ljust(4, b"\0")
    entries = struct.pack(order + "HHI", 0x010F, 2, 4) + b"abc\0"
    entries += struct.pack(order + "HHI", 0x0112, kind, 1) + value
    magic = b"II*\0" if order == "<" else b"MM\0*"
    header = magic + struct.pack(order + "IH", 8, 2)
    return header + entries + struct.pack(order + "I", 0) + b"maker note"


LEVELS = {"a": 10, "b": 90, "c": 170, "d": 250}


def lettered() -> Image.Image:
    """Rows "ab" and "cd" of 16 x 8 px blocks, so that a turn changes the size as well."""
    corners = np.array([[LEVELS["a"], LEVELS["b"]], [LEVELS["c"], LEVELS["d"]]], np.uint8)
    return Image.fromarray(corners.repeat(8, axis=0).repeat(16, axis=1)).convert("RGB")


_RNG = np.random.default_rng(3)
RGB = _RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
RGBA = _RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    output = io.BytesIO()
    Image.fromarray(array).save(output, "PNG")
    return output.getvalue()

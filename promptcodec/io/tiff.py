"""What a TIFF holds that Pillow does not open, in words for a message."""

from __future__ import annotations

from typing import Any, BinaryIO

from PIL import Image
from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr"}
_COLOURS |= {8: "Lab", 9: "ICC Lab", 10: "ITU Lab", 32803: "camera raw", 34892: "linear raw"}
_COUNTS = {"RGB": 3, "YCbCr": 3, "Lab": 3, "ICC Lab": 3, "ITU Lab": 3, "CMYK": 4}
_FORMATS = {1: "unsigned", 2: "signed", 3: "floating point", 5: "complex", 6: "complex"}


def describe_tiff(file: BinaryIO) -> str | None:
    """Bands, depth and compression of the first page; None where its tags cannot be read.

    Args:
        file: seekable.
    """
    try:
        return _described(_tags(file))
    except Exception:  # Pillow raises a dozen unrelated types on damaged tags
        return None


def describe_tags(image: Image.Image) -> str | None:
    """The same of an open picture; None where it is no TIFF."""
    try:
        return _described(image.tag_v2)  # type: ignore[attr-defined]
    except Exception:
        return None


def _tags(file: BinaryIO) -> Any:
    file.seek(0)
    header = file.read(8)
    if header[2:4] in (b"+\0", b"\0+"):
        header += file.read(8)
    tags = ImageFileDirectory_v2(header)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _described(tags: Any) -> str | None:
    colour = _COLOURS.get(tags.get(262), "unknown colours")
    bits = _numbers(tags.get(258, 1))
    bands = tags.get(277, len(bits))
    own = _COUNTS.get(colour, 1)
    extra = bands - own
    alpha = any(each in (1, 2) for each in _numbers(tags.get(338, 0)))
    if extra == 1 and alpha:
        colour += " with alpha"
    elif extra > 0:
        colour += f" with {extra} further bands"
    depth = f"{max(bits)} bits {_FORMATS.get(max(_numbers(tags.get(339, 1))), 'unsigned')}"
    packed = COMPRESSION_INFO.get(tags.get(259, 1), f"compression {tags.get(259)}")
    packed = "uncompressed" if packed == "raw" else packed.removeprefix("tiff_")
    return f"{bands} band{'s' if bands > 1 else ''} of {depth} ({colour}, {packed})"


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,)

"""Depth of picture files, and their pixels at 8 bits a channel."""

from __future__ import annotations

import re
import struct

import numpy as np
from PIL import Image, ImageFile

from promptcodec.io.opening import HEAD, open_header

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L")
_PHOTOMETRIC = 0x0106
# Magic, width, height, greatest value; comments may stand between them.
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PPM_HEADER = re.compile(rb"P[2356]" + (_GAP + rb"\d+") * 2 + _GAP + rb"(\d+)\s")
# The property av1C of an AV1 picture: marker, profile and level, then flags.
_AVIF_FLAGS = re.compile(rb"av1C\x81.(.)", re.DOTALL)


def head_of(image: Image.Image) -> bytes:
    """First bytes of the file of a picture that is not decoded; empty where it has none."""
    file = getattr(image, "fp", None)
    if file is None:
        return b""
    try:
        position = file.tell()
        file.seek(0)
        head = file.read(HEAD)
        file.seek(position)
    except (OSError, ValueError):  # closed or not seekable: without a head
        return b""
    return head


def bits_per_sample(image: Image.Image, head: bytes) -> int:
    """Bits of the deepest channel; from the file, as Pillow opens 16-bit RGB files as 8 bits."""
    if image.format == "PNG" and len(head) > 24:
        return head[24]
    if image.format == "TIFF":
        return max(getattr(image, "tag_v2", {}).get(258, (8,)))
    if image.format == "PPM" and (found := _PPM_HEADER.match(head)):
        return int(found[1]).bit_length()
    if image.format == "JPEG2000":
        return _jpeg2000_bits(head)
    if image.format == "AVIF":  # 8 is the only depth without the high_bitdepth flag
        flags = _AVIF_FLAGS.findall(head.split(b"mdat")[0])
        return 10 if any(flag[0] & 0x40 for flag in flags) else 8
    if image.mode.startswith("I;16"):
        return 16
    return 32 if image.mode in ("I", "F") else 8


def eight_bits(
    image: Image.Image, bits: int, *, head: bytes, below: np.ndarray | None
) -> Image.Image:
    """A decoded picture at 8 bits; alpha too where Pillow cannot find the transparent level.

    PNG gives that level in the bits of the file, Pillow compares it with pixels of 8 bits.
    """
    transparent = image.info.get("transparency")
    if image.mode in DEEP_MODES:
        return _upper_bits(image, bits)
    if image.format == "PNG" and bits == 16 and head[25:26] == b"\4":
        return image.convert("LA")  # grey with alpha, which Pillow opens as RGBA
    if image.mode == "L" and bits in (2, 4) and isinstance(transparent, int):
        return _without(image, np.asarray(image) == transparent * (255 // (2**bits - 1)))
    if image.mode == "RGB" and isinstance(transparent, tuple):
        if bits > 8 or (not head and max(transparent) > 255):
            hidden = _is_colour(image, [level >> 8 for level in transparent])
            # Of a picture that came decoded the lower bits are gone: colours near that one go too.
            return _without(image, hidden if below is None else hidden & below)
    return image


def _upper_bits(image: Image.Image, bits: int) -> Image.Image:
    """Grey of 9 to 16 bits as L or LA; colours Pillow has brought to 8 bits already."""
    # Only TIFF keeps 10 or 12 bits as they are; the others are stretched to 16.
    shift = bits - 8 if image.format == "TIFF" else 8
    levels = np.asarray(image)
    upper = (levels >> shift).clip(0, 255).astype(np.uint8)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # white is zero
        upper = 255 - upper
    grey = Image.fromarray(upper)
    transparent = image.info.get("transparency")
    return _without(grey, levels == transparent) if isinstance(transparent, int) else grey


def hidden_below(image: Image.Image, bits: int) -> np.ndarray | None:
    """Where the lower 8 of 16 bits are those of the transparent colour of an undecoded PNG."""
    transparent = image.info.get("transparency")
    if image.format != "PNG" or bits != 16 or not isinstance(transparent, tuple):
        return None
    if not isinstance(image, ImageFile.ImageFile) or image.fp is None:
        return None
    with open_header(image.fp, ("PNG",)) as lower:
        # Pillow has no 16 bits of colour; with the wrong byte order it keeps the lower byte.
        lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
        return _is_colour(lower, [level & 255 for level in transparent])


def _is_colour(image: Image.Image, colour: list[int]) -> np.ndarray:
    return (np.asarray(image) == colour).all(axis=2)  # (H, W)


def _without(image: Image.Image, hidden: np.ndarray) -> Image.Image:
    """L or RGB with alpha: 0 where (H, W) `hidden`, else 255."""
    alpha = Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8))
    return Image.merge(f"{image.mode}A", (*image.split(), alpha))


def _jpeg2000_bits(head: bytes) -> int:
    size = head.find(b"\xff\x4f\xff\x51")  # start of codestream, then the SIZ marker
    if size < 0 or len(head) < size + 42:
        return 8
    (components,) = struct.unpack_from(">H", head, size + 40)
    depths = head[size + 42 : size + 42 + 3 * components : 3]
    return max(((depth & 0x7F) + 1 for depth in depths), default=8)

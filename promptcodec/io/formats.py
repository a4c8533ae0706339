"""Reading of picture files: size and depth from the header, then upright L/LA/RGB/RGBA.

    file -> header: size, bits per sample -> pixels -> colours -> orientation -> Picture

Pillow decodes; the rules of acceptance are here. Every fault is a `PictureError` of one line.
"""

from __future__ import annotations

import io
import re
import struct
import threading
from dataclasses import dataclass, replace
from typing import IO, BinaryIO

import numpy as np
from PIL import Image, ImageFile

from promptcodec.errors import PictureError
from promptcodec.io.metadata import (
    MAX_EXIF,
    MAX_ICC,
    MAX_XMP,
    UPRIGHT,
    bounded,
    exif_of,
    orientation_of,
    upright_exif,
    upright_xmp,
    xmp_of,
)
from promptcodec.io.pictures import Picture, Pixels

# Formats whose depth is in the header and that need no outside program (EPS starts one) or guessing
# (TGA has no magic). The plugins of the first five are quick to import and therefore stand first.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "QOI")

_HEAD = 1 << 16  # bytes of a file to search for the depth
_PHOTOMETRIC = 0x0106
_TARGET_MODES = {
    **dict.fromkeys(("1", "L"), "L"),
    **dict.fromkeys(("LA", "La"), "LA"),
    **dict.fromkeys(("P", "RGB", "RGBX", "YCbCr", "HSV", "CMYK", "LAB"), "RGB"),
    **dict.fromkeys(("PA", "RGBA", "RGBa"), "RGBA"),
}
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L")
# Magic, width, height, greatest value; comments may stand between them.
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PPM_HEADER = re.compile(rb"P[2356]" + (_GAP + rb"\d+") * 2 + _GAP + rb"(\d+)\s")
# The property av1C of an AV1 picture: marker, profile and level, then flags.
_AVIF_FLAGS = re.compile(rb"av1C\x81.(.)", re.DOTALL)

_open_lock = threading.Lock()


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading picture files and PIL pictures.

    Args:
        max_pixels: largest allowed number of pixels, compared with the size in the header.
        allow_8bit: permission to take the upper 8 bits of files with 9 to 16 bits a channel, which
            are refused otherwise.
        strip: omission of EXIF, XMP and ICC profile; the orientation is applied all the same.
        in_place: pixels are left with Pillow, which halves the memory.
    """

    max_pixels: int
    allow_8bit: bool = False
    strip: bool = False
    in_place: bool = False


def read_picture(file: BinaryIO, name: str, options: ReadOptions) -> Picture:
    """Decode the picture in a file; of an animation or a multi-page file the first frame.

    Args:
        file: seekable file, at its start.
        name: name of the picture in messages.
        options: limits and omissions.

    Raises:
        PictureError: the file is empty, no picture, damaged, too large, or of too many bits.
    """
    head = _attempt(lambda: file.read(_HEAD), f"{name}: cannot be read")
    if not head:
        raise PictureError(f"{name}: is empty (0 bytes); give a picture")
    try:
        image = open_header(file, FORMATS)
    except Image.UnidentifiedImageError:
        raise PictureError(
            f"{name}: is no picture that can be read; give one of {', '.join(FORMATS)}"
        ) from None
    except Exception as error:  # Pillow raises many types on damaged headers
        raise PictureError(
            f"{name}: is no picture or a damaged one ({_reason(error)}); give a whole copy"
        ) from error
    with image:
        return normalise(image, name, options, head=head)


def open_header(file: IO[bytes], formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Open without decoding and without Pillow's own size limit, which cannot be passed to it.

    The caller checks the size. A lock ensures that threads restore the limit correctly.
    """
    with _open_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def normalise(
    image: Image.Image, name: str, options: ReadOptions, *, head: bytes | None = None
) -> Picture:
    """Decode a Pillow picture and bring it to L, LA, RGB or RGBA; `image` keeps its mode.

    Args:
        image: PIL picture, decoded or not.
        name: name of the picture in messages.
        options: limits and omissions.
        head: first bytes of its file; None reads them from an undecoded picture.

    Raises:
        PictureError: the picture is empty, too large, of too many bits or damaged, or its metadata
            is too long.
    """
    check_size(*image.size, name=name, max_pixels=options.max_pixels)
    fault = f"{name}: damaged or truncated {image.format or 'picture'}"
    head = _head_of(image) if head is None else head
    bits = _attempt(lambda: _bits_per_sample(image, head), fault)
    if bits > 8 and not (options.allow_8bit and bits <= 16):
        way = (
            "convert it, or let `encode --allow-8bit` (in Python allow_8bit=True) take the upper 8"
            if bits <= 16
            else "convert it to 8 bits first"
        )
        raise PictureError(f"{name}: has {bits} bits per channel and only 8 are coded; {way}")
    if image.mode not in (_TARGET_MODES if bits <= 8 else (*_TARGET_MODES, *_DEEP_MODES)):
        raise PictureError(f"{name}: has mode {image.mode}; convert it to L, LA, RGB or RGBA")
    below = _attempt(lambda: _hidden_below(image, bits), fault)
    _attempt(image.load, fault)
    # Metadata comes after the pixels: PNG may have it behind them, and TIFF is turned by Pillow.
    orientation, exif, xmp = orientation_of(image), exif_of(image), xmp_of(image)
    upright = _attempt(lambda: _to_target(_eight_bits(image, bits, head=head, below=below)), fault)
    if orientation != 1:
        upright = upright.transpose(UPRIGHT[orientation])
        exif, xmp = upright_exif(exif), upright_xmp(xmp)
    pixels, grey = Pixels(upright), upright.mode in ("L", "LA")
    picture = Picture(pixels if options.in_place else pixels[:, :], grey, pixels.alpha())
    if options.strip:
        return picture
    return replace(
        picture,
        icc=bounded(_kept_profile(image, grey=grey), MAX_ICC, "ICC profile", name=name),
        exif=bounded(exif, MAX_EXIF, "EXIF", name=name),
        xmp=bounded(xmp, MAX_XMP, "XMP", name=name),
    )


def upright_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height, px, of a picture as it is coded; no pixel is decoded, errors are Pillow's.

    Args:
        file: seekable file, at its start.
    """
    with open_header(file, FORMATS) as image:
        width, height = image.size
        return (height, width) if orientation_of(image) >= 5 else (width, height)


def check_size(width: int, height: int, *, name: str, max_pixels: int) -> None:
    """Refuse a picture without pixels or with more than `max_pixels`, with a `PictureError`."""
    if width < 1 or height < 1:
        raise PictureError(f"{name}: is {width} x {height} pixels; need at least 1 x 1")
    if width * height > max_pixels:
        raise PictureError(
            f"{name}: has {width} x {height} = {width * height} pixels and the limit is "
            f"{max_pixels}; reduce it, or raise --max-pixels (in Python max_pixels) if you trust it"
        )


def _attempt(step, fault: str):
    """Run `step()`; raise PictureError for any of the many error types of Pillow."""
    try:
        return step()
    except Exception as error:
        raise PictureError(f"{fault} ({_reason(error)}); give a whole copy") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:100] if text.isprintable() and text else type(error).__name__


# --- depth -------------------------------------------------------------------------------------


def _head_of(image: Image.Image) -> bytes:
    file = getattr(image, "fp", None)
    if file is None:
        return b""
    try:
        position = file.tell()
        file.seek(0)
        head = file.read(_HEAD)
        file.seek(position)
    except (OSError, ValueError):  # closed or not seekable
        return b""
    return head


def _bits_per_sample(image: Image.Image, head: bytes) -> int:
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


def _eight_bits(
    image: Image.Image, bits: int, *, head: bytes, below: np.ndarray | None
) -> Image.Image:
    """A decoded picture at 8 bits, with alpha where Pillow cannot find the transparent level.

    In PNG that level has the depth of the file; Pillow compares it with pixels of 8 bits.
    """
    transparent = image.info.get("transparency")
    if image.mode in _DEEP_MODES:
        return _upper_bits(image, bits)
    if image.format == "PNG" and bits == 16 and head[25:26] == b"\4":
        return image.convert("LA")  # grey with alpha, which Pillow opens as RGBA
    if image.mode == "L" and bits in (2, 4) and isinstance(transparent, int):
        return _without(image, np.asarray(image) == transparent * (255 // (2**bits - 1)))
    if image.mode == "RGB" and isinstance(transparent, tuple):
        if bits > 8 or (not head and max(transparent) > 255):
            hidden = _is_colour(image, [level >> 8 for level in transparent])
            # Pictures given as decoded lack the lower bits: similar colours become transparent too.
            return _without(image, hidden if below is None else hidden & below)
    return image


def _upper_bits(image: Image.Image, bits: int) -> Image.Image:
    """Grey of 9 to 16 bits as L or LA; Pillow has converted colours to 8 bits already."""
    # 10 or 12 bits are unscaled in TIFF, and scaled to 16 in the other formats.
    shift = bits - 8 if image.format == "TIFF" else 8
    levels = np.asarray(image)
    upper = (levels >> shift).clip(0, 255).astype(np.uint8)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # white is zero
        upper = 255 - upper
    grey = Image.fromarray(upper)
    transparent = image.info.get("transparency")
    return _without(grey, levels == transparent) if isinstance(transparent, int) else grey


def _hidden_below(image: Image.Image, bits: int) -> np.ndarray | None:
    """Where the lower 8 of 16 bits are those of the transparent colour of an undecoded PNG."""
    transparent = image.info.get("transparency")
    if image.format != "PNG" or bits != 16 or not isinstance(transparent, tuple):
        return None
    if not isinstance(image, ImageFile.ImageFile) or image.fp is None:
        return None
    with open_header(image.fp, ("PNG",)) as lower:
        # Pillow has no colour of 16 bits; with the wrong byte order the result is the lower byte.
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


# --- colours -----------------------------------------------------------------------------------


def _to_target(image: Image.Image) -> Image.Image:
    if image.mode == "CMYK":
        return _cmyk_to_rgb(image)
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return _converted(image, lab, srgb)
    target = _TARGET_MODES[image.mode]
    if not target.endswith("A") and image.mode in ("1", "L", "P", "RGB"):
        if image.has_transparency_data:  # a transparent palette entry or colour
            grey = image.convert("L") if image.mode == "1" else image
            return grey.convert(f"{target}A")
    return image if image.mode == target else image.convert(target)


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """Convert to sRGB by the picture's profile; without a usable one by 255 - ink - black.

    Pillow has already undone the inversion of Adobe's CMYK in JPEG.
    """
    icc = image.info.get("icc_profile")
    if isinstance(icc, bytes) and icc[16:20] == b"CMYK":
        from PIL import ImageCms

        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            return _converted(image, profile, ImageCms.createProfile("sRGB"))
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a damaged profile is ignored
    return image.convert("RGB")


def _converted(image: Image.Image, source, target) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(
        image,
        source,
        target,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # only in-place conversion returns None
    return converted


def _kept_profile(image: Image.Image, *, grey: bool) -> bytes | None:
    """The profile if it describes the converted pixels; else None."""
    icc = image.info.get("icc_profile")
    if image.mode in ("CMYK", "LAB") or not isinstance(icc, bytes) or len(icc) < 128:
        return None
    return icc if icc[16:20] == (b"GRAY" if grey else b"RGB ") else None

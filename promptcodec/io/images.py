"""Pictures of any kind to one form, and back to Pillow.

path, bytes, file, PIL picture, array, tensor --load--> Picture --to_pil--> PIL picture
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from promptcodec.bitstream import MAX_PIXELS
from promptcodec.errors import PictureError, ShapeError
from promptcodec.io.formats import (
    Decoded,
    Reading,
    check_size,
    normalise,
    read_picture,
)
from promptcodec.io.lazy_pixels import STRIP, Pixels

if TYPE_CHECKING:
    from torch import Tensor

# A float may leave [0, 1] by half an 8-bit level: resampling errs by less, a wrong scale by more.
_TOLERANCE = 0.5 / 255


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture as the codec sees it.

    Attributes:
        pixels: (H, W, 3) uint8; three equal channels if `grey`. Of a large picture they may stay
            with Pillow, to be read by parts.
        grey: the source had one channel and the decoded picture gets one.
        alpha: (H, W) uint8, coded without loss; None if the source had no alpha. An alpha of 255
            everywhere is kept, so that RGBA stays RGBA.
        icc: ICC profile of the colour space of `pixels` (of the grey axis if `grey`).
        exif: EXIF as a TIFF block, without the `Exif` prefix; its orientation is 1.
        xmp: XMP packet; its orientation is 1.
    """

    pixels: np.ndarray | Pixels
    grey: bool = False
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None

    @property
    def rgb(self) -> np.ndarray:
        """All pixels as an array."""
        return self.pixels if isinstance(self.pixels, np.ndarray) else self.pixels[:, :]

    @property
    def height(self) -> int:
        """Height in px."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Width in px."""
        return self.pixels.shape[1]


def load(
    source: Any,
    *,
    max_pixels: int = MAX_PIXELS,
    allow_8bit: bool = False,
    strip: bool = False,
    in_place: bool = False,
) -> Picture:
    """Bring anything that holds a picture to one form.

    Orientation is applied. Grey stays grey, palettes become RGB, transparency becomes alpha, CMYK
    becomes sRGB through its profile. Profiles that do not describe the result are dropped. Of an
    animation or a multi-page file the first frame is taken.

    Args:
        source: a path, the bytes of a file, a binary file, a PIL picture, a uint8 array (H, W),
            (H, W, 3) or (H, W, 4), or a float tensor (3, H, W) or (1, 3, H, W) in [0, 1]; floats
            may leave that range by half an 8-bit level (1/510) and are clamped.
        max_pixels: most pixels that are decoded, checked before any is.
        allow_8bit: of files with 9 to 16 bits a channel take the upper 8.
        strip: leave out EXIF, XMP and ICC profile; the orientation is applied all the same.
        in_place: leave the pixels of files and PIL pictures with Pillow, which halves the memory.

    Returns:
        The picture; its arrays are not shared with `source`, but for a PIL picture left in place.

    Raises:
        PictureError: missing, unreadable, no picture, damaged, too large, deeper than 8 bits, or
            values of the wrong type or range.
        ShapeError: an array or tensor of another shape.
    """
    if isinstance(source, np.ndarray):
        return _load_array(source, max_pixels=max_pixels)
    torch = sys.modules.get("torch")  # whoever holds a tensor has imported it
    if torch is not None and isinstance(source, torch.Tensor):
        return _load_tensor(source, max_pixels=max_pixels)
    decoded = _decode(source, Reading(max_pixels, allow_8bit=allow_8bit, strip=strip))
    return _from_pil(decoded, in_place=in_place)


def _decode(source: Any, reading: Reading) -> Decoded:
    if isinstance(source, str) and not source:
        raise PictureError("the path is empty; give the path of a picture")
    if isinstance(source, (str, os.PathLike)):
        return _load_path(Path(source), reading)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return read_picture(io.BytesIO(source), "the given bytes", reading)
    if isinstance(source, Image.Image):
        return normalise(source, "the given picture", reading)
    if hasattr(source, "read"):
        return _load_stream(source, reading)
    raise PictureError(
        f"a {type(source).__name__} holds no picture; give a path, bytes, a binary file, "
        "a PIL picture, a uint8 array (H, W, 3) or a float tensor (3, H, W)"
    )


def _load_path(path: Path, reading: Reading) -> Decoded:
    name = str(path) if str(path).isprintable() else repr(str(path))
    try:
        if path.is_dir():
            raise PictureError(f"{name}: is a folder; give one picture")
        with path.open("rb") as file:
            return read_picture(file, name, reading)
    except FileNotFoundError:
        raise PictureError(f"{name}: there is no such file; check the path") from None
    except PermissionError:
        raise PictureError(f"{name}: may not be read; check its permissions") from None
    except PictureError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise PictureError(f"{name}: cannot be opened ({error}); check the path") from error


def _load_stream(stream: BinaryIO, reading: Reading) -> Decoded:
    name = getattr(stream, "name", None)
    name = name if isinstance(name, str) and name.isprintable() else "the given file"
    try:
        data = stream.read()
    except (OSError, ValueError) as error:  # ValueError: closed, or text that is no UTF-8
        raise PictureError(f"{name}: cannot be read ({error}); give an open binary file") from error
    if not isinstance(data, bytes):
        raise PictureError(f"{name}: gives {type(data).__name__}; open it in binary mode ('rb')")
    return read_picture(io.BytesIO(data), name, reading)


def _load_array(array: np.ndarray, *, max_pixels: int) -> Picture:
    if array.dtype != np.uint8:
        raise PictureError(
            f"the array has dtype {array.dtype}; need uint8 in 0..255: scale, round and convert it"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ShapeError(
            f"the array has shape {array.shape}; need (H, W), (H, W, 3) or (H, W, 4): "
            "move the channels last"
        )
    check_size(array.shape[1], array.shape[0], name="the given array", max_pixels=max_pixels)
    if array.ndim == 2:
        return Picture(np.repeat(array[:, :, None], 3, axis=2), grey=True)
    return Picture(
        np.array(array[:, :, :3], order="C"),
        alpha=np.array(array[:, :, 3], order="C") if array.shape[2] == 4 else None,
    )


def _load_tensor(tensor: Tensor, *, max_pixels: int) -> Picture:
    shape = tuple(tensor.shape)
    if shape[-3:-2] != (3,) or shape[:-3] not in ((), (1,)):
        raise ShapeError(f"the tensor has shape {shape}; need (3, H, W) or (1, 3, H, W)")
    if not tensor.is_floating_point():
        raise PictureError(f"the tensor has dtype {tensor.dtype}; need float: divide by 255")
    check_size(shape[-1], shape[-2], name="the given tensor", max_pixels=max_pixels)
    low, high = tensor.detach().float().aminmax()
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # NaN fails both
        raise PictureError(
            f"the tensor has values from {low:.4g} to {high:.4g}; need finite ones in [0, 1]"
        )
    levels = tensor.detach().reshape(shape[-3:]).float().clamp(0, 1).mul_(255).round_()
    planes = levels.permute(1, 2, 0).cpu().numpy().astype(np.uint8)
    return Picture(np.ascontiguousarray(planes))


def _from_pil(decoded: Decoded, *, in_place: bool) -> Picture:
    pixels, grey = Pixels(decoded.image), decoded.image.mode in ("L", "LA")
    return Picture(
        pixels if in_place else pixels[:, :],
        grey,
        pixels.alpha(),
        decoded.icc,
        decoded.exif,
        decoded.xmp,
    )


def to_pil(picture: Picture) -> Image.Image:
    """A PIL picture of mode L, LA, RGB or RGBA; its `info` has icc_profile, exif and xmp.

    The grey of a decoded picture is the rounded mean of three channels that are nearly equal.
    """
    if isinstance(picture.pixels, Pixels):
        image = picture.pixels.image
    else:
        image = _shown(picture.pixels, grey=picture.grey)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(picture.alpha)))
    exif = b"Exif\0\0" + picture.exif if picture.exif else None  # the form that Pillow writes
    for key, value in (("icc_profile", picture.icc), ("exif", exif), ("xmp", picture.xmp)):
        if value:
            image.info[key] = value
    return image


def _shown(rgb: np.ndarray, *, grey: bool) -> Image.Image:
    if not grey:
        return Image.fromarray(np.ascontiguousarray(rgb))
    total = rgb.sum(axis=2, dtype=np.uint16)
    return Image.fromarray(((total + 1) // 3).astype(np.uint8))


def join(
    strips: Iterable[np.ndarray], *, height: int, width: int, grey: bool
) -> np.ndarray | Pixels:
    """Strips of rows (h, width, 3) uint8 as the pixels of a picture; several go to Pillow."""
    top, image = 0, None
    for strip in strips:
        if len(strip) == height:
            return strip
        if image is None:
            image = Image.new("L" if grey else "RGB", (width, height))
        for row in range(0, len(strip), STRIP):
            image.paste(_shown(strip[row : row + STRIP], grey=grey), (0, top + row))
        top += len(strip)
    if image is None or top != height:
        raise ShapeError(f"the strips have {top} rows; need {height} of width {width}")
    return Pixels(image)

"""Pictures to tensors and back.

    path, bytes, file, PIL picture, array, tensor --load--> Picture --to_tensor--> x --pad--> g_a
    g_s --> crop --> from_tensor --> Picture --to_pil--> PIL picture --encode_file--> bytes

Pillow and numpy only; torch is imported by the functions that take or return tensors.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from PIL import Image

from promptcodec.bitstream import MAX_PIXELS
from promptcodec.errors import OutputError, PictureError, ShapeError, StreamError
from promptcodec.io.formats import (
    Decoded,
    Reading,
    check_size,
    normalise,
    open_header,
    photograph_tags,
    read_picture,
)
from promptcodec.io.lazy_pixels import STRIP, Pixels

if TYPE_CHECKING:
    from torch import Tensor

# A float may leave [0, 1] by half an 8-bit level: resampling errs by less, a wrong scale by more.
_TOLERANCE = 0.5 / 255

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

# What Pillow needs for each suffix. The decoded picture is stored without further loss, except in
# JPEG, which has no such mode: there as good as it gets.
_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0, "optimize": True}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0, "optimize": True}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
}
OUTPUT_SUFFIXES = tuple(_WRITERS)


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
    return Picture(from_tensor(tensor))


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


def encode_file(image: Image.Image, suffix: str) -> bytes:
    """The bytes of what `write_file` writes."""
    output = io.BytesIO()
    write_file(image, suffix, output)
    return output.getvalue()


def write_file(image: Image.Image, suffix: str, file: BinaryIO) -> None:
    """Write a picture file with the ICC profile, EXIF and XMP from `image.info`.

    Args:
        image: mode L, LA, RGB or RGBA, as from `to_pil`.
        suffix: one of `OUTPUT_SUFFIXES`, in any case. PNG, WebP and TIFF are lossless; JPEG has
            quality 95 without chroma subsampling.
        file: empty; TIFF needs it readable.

    Raises:
        OutputError: an unknown suffix, alpha or too much metadata for JPEG, too large for WebP.
        OSError: of the file, such as a full disk.
    """
    if suffix.lower() not in _WRITERS:
        raise OutputError(
            f"cannot write a picture as {suffix or 'a file without suffix'}; "
            f"use one of {', '.join(OUTPUT_SUFFIXES)}"
        )
    kind, options = _WRITERS[suffix.lower()]
    if kind == "JPEG" and image.mode in ("LA", "RGBA"):
        raise OutputError(f"{suffix} holds no alpha; use .png, .webp or .tif")
    # libtiff writes to the file by itself: only so is the result not held in memory.
    sink = file if kind == "TIFF" else cast(BinaryIO, _Sink(file))
    try:
        image.save(sink, kind, **options, **_metadata_options(image, kind))
    except Exception as error:  # too large for the format, mostly; Pillow raises many types
        if isinstance(error, OSError) and error.errno:
            raise
        hint = "is the disk full? else use .png" if kind == "TIFF" else "use .png"
        raise OutputError(f"cannot write as {suffix} ({error}); {hint}") from error


class _Sink:
    """A file without a descriptor: what Pillow writes to one by itself fails without a reason."""

    def __init__(self, file: BinaryIO) -> None:
        self.write, self.seek, self.tell, self.flush = file.write, file.seek, file.tell, file.flush


def _metadata_options(image: Image.Image, kind: str) -> dict[str, Any]:
    """Pillow's four ways to be told about three blocks."""
    icc, exif, xmp = (image.info.get(key) for key in ("icc_profile", "exif", "xmp"))
    options: dict[str, Any] = {"icc_profile": icc} if icc else {}
    if kind == "TIFF":  # XMP is a tag among those of EXIF
        tags = photograph_tags(_parsed_exif(exif))
        if xmp:
            tags[0x02BC] = xmp
        return {**options, "exif": tags}
    if exif:
        options["exif"] = exif
    if xmp and kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        options["pnginfo"] = text
    elif xmp:
        options["xmp"] = xmp
    return options


def _parsed_exif(exif: bytes | None) -> Image.Exif:
    tags = Image.Exif()
    with contextlib.suppress(Exception):  # damaged EXIF must not keep the pixels from being written
        tags.load(exif or b"")
    return tags


def to_tensor(rgb: np.ndarray) -> Tensor:
    """Scale (H, W, 3) uint8 to (1, 3, H, W) float32 in [0, 1]."""
    import torch

    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ShapeError(f"got {rgb.dtype} {rgb.shape}; need uint8 (H, W, 3): call `load` first")
    planes = np.array(rgb.transpose(2, 0, 1), order="C")  # turned while it is small
    return torch.from_numpy(planes)[None].float().div_(255)


def from_tensor(x: Tensor) -> np.ndarray:
    """Clamp and round (1, 3, H, W) or (3, H, W) in [0, 1] to (H, W, 3) uint8; NaN becomes 0."""
    import torch

    shape = tuple(x.shape)
    if shape[-3:-2] != (3,) or shape[:-3] not in ((), (1,)):
        raise ShapeError(f"x has shape {shape}; need (1, 3, H, W) or (3, H, W)")
    planes = x.detach().reshape(shape[-3:]).float().clamp(0, 1)  # a copy: the rest is in place
    levels = planes.mul_(255).round_().nan_to_num_(0.0).to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy()


def pad(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of (N, C, H, W) until H and W are multiples of `multiple`."""
    if x.ndim != 4 or min(x.shape) < 1 or multiple < 1:
        raise ShapeError(
            f"x has shape {tuple(x.shape)} and multiple is {multiple}; "
            "need a non-empty (N, C, H, W) and a positive multiple"
        )
    from torch.nn import functional

    bottom, right = -x.shape[2] % multiple, -x.shape[3] % multiple
    return functional.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """The top left (N, C, height, width) of x; undoes `pad`. A view."""
    if not (1 <= height <= x.shape[-2] and 1 <= width <= x.shape[-1]):
        raise ShapeError(
            f"cannot crop {tuple(x.shape)} to {height} x {width}; need 1 x 1 up to the size of x"
        )
    return x[..., :height, :width]


def encode_alpha(alpha: np.ndarray) -> bytes:
    """(H, W) uint8 as a grey PNG: of one bit if all is 0 or 255, which is mostly so, else of 8."""
    if alpha.dtype != np.uint8 or alpha.ndim != 2 or alpha.size == 0:
        raise ShapeError(f"alpha is {alpha.dtype} {alpha.shape}; need a non-empty uint8 (H, W)")
    image = Image.fromarray(np.ascontiguousarray(alpha))
    if all(np.isin(row, (0, 255)).all() for row in alpha):
        image = image.convert("1", dither=Image.Dither.NONE)
    output = io.BytesIO()
    image.save(output, "PNG", optimize=True)
    return output.getvalue()


def decode_alpha(data: bytes, *, width: int, height: int) -> np.ndarray:
    """Invert `encode_alpha`; the size is compared before a pixel is decoded.

    Returns:
        (height, width) uint8.

    Raises:
        StreamError: no grey PNG of 1 or 8 bits, of another size, or damaged.
    """
    try:
        with open_header(io.BytesIO(data), ("PNG",)) as image:
            bits, mode, size = data[24], image.mode, image.size
            fits = (bits, mode) in ((1, "1"), (8, "L")) and size == (width, height)
            if fits:
                image.verify()  # every CRC but that of the end; leaves the picture unusable
                if not data.endswith(_PNG_END):
                    raise ValueError("no end")
        if fits:
            with open_header(io.BytesIO(data), ("PNG",)) as image:
                return np.array(image.convert("L"))
    except Exception as error:  # Pillow raises a dozen unrelated types on damaged files
        raise StreamError("the alpha of this stream is damaged; get a whole copy") from error
    raise StreamError(
        f"the alpha of this stream is {size[0]} x {size[1]} of mode {mode} with {bits} bits; "
        f"need {width} x {height} of grey with 1 or 8 bits: get a whole copy"
    )

"""Conversion of any kind of picture to `Picture`.

path, bytes, file, PIL picture, array, tensor --load_picture--> Picture
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from promptcodec.bitstream import MAX_PIXELS
from promptcodec.errors import PictureError, ShapeError, not_found
from promptcodec.io.formats import ReadOptions, check_size, normalise, read_picture
from promptcodec.io.pictures import Picture

if TYPE_CHECKING:
    from torch import Tensor

# Floats may leave [0, 1] by half an 8-bit level: resampling errs by less, a wrong scale by more.
_TOLERANCE = 0.5 / 255


def load_picture(
    source: Any,
    *,
    max_pixels: int = MAX_PIXELS,
    allow_8bit: bool = False,
    strip: bool = False,
    in_place: bool = False,
) -> Picture:
    """Convert a file, array, tensor or PIL picture to a `Picture`.

    Orientation is applied. Grey stays grey, palettes become RGB, transparency becomes alpha, CMYK
    becomes sRGB by its profile. Profiles that do not describe the result are dropped. An animation
    or a multi-page file is its first frame.

    Args:
        source: a path, the bytes of a file, a binary file, a PIL picture, a uint8 array (H, W),
            (H, W, 3) or (H, W, 4), or a float tensor (3, H, W) or (1, 3, H, W) in [0, 1]; floats
            may leave that range by half an 8-bit level (1/510) and are clamped.
        max_pixels: largest allowed number of pixels, checked before decoding.
        allow_8bit: permission to take the upper 8 bits of files with 9 to 16 bits a channel.
        strip: omission of EXIF, XMP and ICC profile; the orientation is applied all the same.
        in_place: pixels of files and PIL pictures are left with Pillow, which halves the memory.

    Returns:
        The picture; its arrays are not shared with `source`, except for a PIL picture in place.

    Raises:
        PictureError: the source is missing, unreadable, no picture, damaged, too large, deeper
            than 8 bits, or has values of the wrong type or range.
        ShapeError: the array or tensor has another shape.
    """
    if isinstance(source, np.ndarray):
        return _load_array(source, max_pixels=max_pixels)
    torch = sys.modules.get("torch")  # imported already where there is a tensor
    if torch is not None and isinstance(source, torch.Tensor):
        return _load_tensor(source, max_pixels=max_pixels)
    options = ReadOptions(max_pixels, allow_8bit=allow_8bit, strip=strip, in_place=in_place)
    if isinstance(source, str) and not source:
        raise PictureError("the path is empty; give the path of a picture")
    if isinstance(source, (str, os.PathLike)):
        return _load_path(Path(source), options)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return read_picture(io.BytesIO(source), "the given bytes", options)
    if isinstance(source, Image.Image):
        return normalise(source, "the given picture", options)
    if hasattr(source, "read"):
        return _load_stream(source, options)
    raise PictureError(
        f"a {type(source).__name__} holds no picture; give a path, bytes, a binary file, "
        "a PIL picture, a uint8 array (H, W, 3) or a float tensor (3, H, W)"
    )


def _load_path(path: Path, options: ReadOptions) -> Picture:
    name = str(path) if str(path).isprintable() else repr(str(path))
    try:
        if path.is_dir():
            raise PictureError(f"{name}: is a folder; give one picture")
        with path.open("rb") as file:
            return read_picture(file, name, options)
    except FileNotFoundError:
        raise PictureError(not_found(name)) from None
    except PermissionError:
        raise PictureError(f"{name}: may not be read; check its permissions") from None
    except PictureError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise PictureError(f"{name}: cannot be opened ({error}); check the path") from error


def _load_stream(stream: BinaryIO, options: ReadOptions) -> Picture:
    name = getattr(stream, "name", None)
    name = name if isinstance(name, str) and name.isprintable() else "the given file"
    try:
        data = stream.read()
    except (OSError, ValueError) as error:  # ValueError: closed, or text that is no UTF-8
        raise PictureError(f"{name}: cannot be read ({error}); give an open binary file") from error
    if not isinstance(data, bytes):
        raise PictureError(f"{name}: gives {type(data).__name__}; open it in binary mode ('rb')")
    return read_picture(io.BytesIO(data), name, options)


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

"""Upright pictures as arrays, and back to Pillow.

Pixels of a large picture stay in Pillow's memory: a copy would double it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from promptcodec.errors import ShapeError
from promptcodec.io.hidden import continue_colour
from promptcodec.io.resolution import Resolution, info_of

STRIP = 64  # rows copied at a time


class Pixels:
    """Pixels of a PIL picture, indexed like an array (H, W, 3) uint8; an index copies its part.

    Args:
        image: decoded picture of mode L, LA, RGB or RGBA.
    """

    def __init__(self, image: Image.Image) -> None:
        self.image = image

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, channels."""
        return (self.image.height, self.image.width, 3)

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        """Pixels of some rows and columns; three equal channels of a grey picture."""
        (top, bottom, _), (left, right, _) = (
            each.indices(size) for each, size in zip(part, self.shape, strict=False)
        )
        box = (left, top, right, bottom)
        whole = box == (0, 0, *self.image.size)
        planes = np.array(self.image if whole else self.image.crop(box))
        if self.image.mode in ("L", "LA"):
            return np.repeat(planes.reshape(*planes.shape[:2], -1)[:, :, :1], 3, axis=2)
        return np.ascontiguousarray(planes[:, :, :3])

    def alpha(self) -> np.ndarray | None:
        """Alpha, uint8 (H, W); None if the picture has none."""
        if self.image.mode not in ("LA", "RGBA"):
            return None
        height, width, _ = self.shape
        alpha = np.empty((height, width), np.uint8)
        for top in range(0, height, STRIP):
            strip = self.image.crop((0, top, width, min(top + STRIP, height)))
            alpha[top : top + STRIP] = np.asarray(strip)[:, :, -1]
        return alpha


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture with its metadata.

    Attributes:
        pixels: RGB, (H, W, 3) uint8; three equal channels if `grey`; in an array, or in Pillow's
            memory for a large picture.
        grey: whether source and decoded picture have one channel.
        alpha: alpha, (H, W) uint8, coded without loss; None if the source had none. An alpha of
            255 everywhere is kept, so that RGBA stays RGBA.
        icc: ICC profile of the colour space of `pixels` (of the grey axis if `grey`).
        exif: EXIF as a TIFF block, without the `Exif` prefix; its orientation is 1.
        xmp: XMP packet; its orientation is 1.
        resolution: pixels by the metre, or the shape of a pixel; None where nothing says.
        frames: frames or pages of the file, of which this is the first.
        notes: what the file has and this picture has not, each in a few words.
    """

    pixels: np.ndarray | Pixels
    grey: bool = False
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    resolution: Resolution | None = None
    frames: int = 1
    notes: tuple[str, ...] = ()

    @property
    def notes_on_frames(self) -> tuple[str, ...]:
        """The note on further frames or pages; none for a single one."""
        return self.notes[:1] if self.frames > 1 else ()

    @property
    def rgb(self) -> np.ndarray:
        """All pixels as an array."""
        return self.pixels if isinstance(self.pixels, np.ndarray) else self.pixels[:, :]

    @property
    def coded_rgb(self) -> np.ndarray:
        """All pixels as g_a sees them: visible colours go on below an alpha of 0."""
        return continue_colour(self.rgb, self.alpha)

    @property
    def height(self) -> int:
        """Height in px."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Width in px."""
        return self.pixels.shape[1]


def to_pil(picture: Picture) -> Image.Image:
    """A PIL picture of mode L, LA, RGB or RGBA; its `info` has icc_profile, exif, xmp and dpi.

    The grey of a decoded picture is the rounded mean of three channels that are nearly equal.
    """
    if isinstance(picture.pixels, Pixels):
        image = picture.pixels.image
    else:
        image = _shown(picture.pixels, grey=picture.grey)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(picture.alpha)))
    exif = b"Exif\0\0" + picture.exif if picture.exif else None  # Pillow's form
    for key, value in (("icc_profile", picture.icc), ("exif", exif), ("xmp", picture.xmp)):
        if value:
            image.info[key] = value
    if picture.resolution is not None:
        image.info.update(info_of(picture.resolution))
    return image


def _shown(rgb: np.ndarray, *, grey: bool) -> Image.Image:
    if not grey:
        return Image.fromarray(np.ascontiguousarray(rgb))
    total = rgb.sum(axis=2, dtype=np.uint16)
    return Image.fromarray(((total + 1) // 3).astype(np.uint8))


def join_rows(
    strips: Iterable[np.ndarray], *, height: int, width: int, grey: bool
) -> np.ndarray | Pixels:
    """Join strips of rows, uint8 (h, width, 3), to the pixels of a picture; several in Pillow."""
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

"""Class masks as pictures: a colour for each class, as an overlay, with a legend.

A mask file is a palette PNG: its values are the classes, its palette their colours, and its text
chunk `labels` their names as JSON.
"""

from __future__ import annotations

import colorsys
import io
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from promptcodec.errors import ShapeError

Colour = tuple[int, int, int]

CAMVID: dict[str, Colour] = {  # colours of SegNet
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
GOLDEN = 0.618034  # turns of the hue between neighbouring classes: far apart for any number
SHADES = ((0.65, 0.9), (0.9, 0.6), (0.4, 0.75))  # saturation and value, in turn
OPACITY = 0.55  # of colours over a picture
SWATCH = 14  # px
LINE = 22  # px, of a legend


class Share(NamedTuple):
    """Share of one class in a mask.

    Args:
        label: name of the class.
        share: part of all pixels, 0 to 1.
        colour: red, green, blue, 0 to 255.
    """

    label: str
    share: float
    colour: Colour


def palette(labels: Sequence[str]) -> list[Colour]:
    """A distinct colour for each class: CamVid's if all names are CamVid's, else generated."""
    if all(label in CAMVID for label in labels):
        return [CAMVID[label] for label in labels]
    colours = []
    for number in range(len(labels)):
        saturation, value = SHADES[number % len(SHADES)]
        channels = colorsys.hsv_to_rgb(number * GOLDEN % 1.0, saturation, value)
        red, green, blue = (round(255 * channel) for channel in channels)
        colours.append((red, green, blue))
    return colours


def shares(mask: np.ndarray, labels: Sequence[str]) -> list[Share]:
    """The classes in a mask (H, W), the largest first."""
    counts = np.bincount(mask.ravel(), minlength=len(labels)) / mask.size
    rows = zip(labels, counts.tolist(), palette(labels), strict=True)
    found = [Share(*row) for row in rows if row[1] > 0]
    return sorted(found, key=lambda each: -each.share)


def mask_file(mask: np.ndarray, labels: Sequence[str]) -> bytes:
    """A palette PNG of a mask, uint8 (H, W)."""
    picture = _painted(mask, labels)
    names = PngInfo()
    names.add_text("labels", json.dumps(list(labels)))
    output = io.BytesIO()
    picture.save(output, "PNG", pnginfo=names)
    return output.getvalue()


def overlay(picture: Image.Image, mask: np.ndarray, labels: Sequence[str]) -> Image.Image:
    """A picture under the colours of its classes, a legend below it.

    Args:
        picture: picture of any mode.
        mask: classes, uint8 (H, W), of the size of the picture.
        labels: names of the classes.
    Raises:
        ShapeError: picture and mask differ in size.
    """
    if picture.size != mask.shape[::-1]:
        raise ShapeError(
            f"the picture is {picture.width}x{picture.height} and the mask "
            f"{mask.shape[1]}x{mask.shape[0]}; need the same size"
        )
    blended = Image.blend(picture.convert("RGB"), _painted(mask, labels).convert("RGB"), OPACITY)
    below = legend(shares(mask, labels), width=picture.width)
    sheet = Image.new("RGB", (below.width, picture.height + below.height), "white")
    sheet.paste(blended, (0, 0))
    sheet.paste(below, (0, picture.height))
    return sheet


def legend(found: Sequence[Share], *, width: int) -> Image.Image:
    """Swatches with names, in lines of `width` px, wider if a name is longer."""
    font = ImageFont.load_default(size=SWATCH)
    sizes = [2 * SWATCH + round(font.getlength(each.label)) + SWATCH for each in found]
    width = max(width, *sizes)
    places, left, line = [], 0, 0
    for size in sizes:
        if left + size > width:
            left, line = 0, line + 1
        places.append((left, line * LINE))
        left += size
    sheet = Image.new("RGB", (width, (line + 1) * LINE), "white")
    draw = ImageDraw.Draw(sheet)
    for (x, y), each in zip(places, found, strict=True):
        top = y + (LINE - SWATCH) // 2
        draw.rectangle((x + 4, top, x + 4 + SWATCH, top + SWATCH), fill=each.colour)
        draw.text(
            (x + 10 + SWATCH, y + LINE // 2), each.label, fill="black", font=font, anchor="lm"
        )
    return sheet


def _painted(mask: np.ndarray, labels: Sequence[str]) -> Image.Image:
    """A picture of mode P whose values are the classes."""
    picture = Image.fromarray(np.ascontiguousarray(mask))
    picture.putpalette([channel for colour in palette(labels) for channel in colour])
    return picture

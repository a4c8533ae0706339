"""Resolution of a picture: pixels by the metre, or the shape of a pixel alone."""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

from PIL import Image

INCH = 0.0254  # metres
_METRES = {2: INCH, 3: 0.01}  # by ResolutionUnit of EXIF and TIFF
_LAYOUT = struct.Struct("<IIB")
_MOST = (1 << 32) - 1
_TIFF_X, _TIFF_Y, _TIFF_UNIT = 282, 283, 296
_ABSOLUTE_JFIF = (1, 2)  # units of JFIF: inch, centimetre; 0 is the shape of a pixel


class Resolution(NamedTuple):
    """How densely pixels are shown.

    Args:
        x: columns by the metre; without a unit, relative to `y`.
        y: rows by the metre.
        has_unit: False for the shape of a pixel alone, `y` to `x`.
    """

    x: int
    y: int
    has_unit: bool = True

    @classmethod
    def of_dpi(cls, x: Any, y: Any) -> Resolution | None:
        """From pixels by the inch; None for what is no resolution."""
        return _checked(x, y, INCH)

    @classmethod
    def of_tags(cls, x: Any, y: Any, unit: int | None) -> Resolution | None:
        """From the tags of EXIF and TIFF.

        Args:
            x: XResolution.
            y: YResolution.
            unit: ResolutionUnit: 2 inch, 3 centimetre, else none.
        """
        if unit in _METRES:
            return _checked(x, y, _METRES[unit])
        try:
            is_whole = float(x).is_integer() and float(y).is_integer()
        except (TypeError, ValueError, ArithmeticError):
            return None
        found = _checked(x, y, 1.0 if is_whole else 1e-3)
        return cls(found.x, found.y, False) if found and found.x != found.y else None

    @classmethod
    def from_bytes(cls, data: bytes) -> Resolution | None:
        """Invert `to_bytes`; None for other bytes."""
        if len(data) != _LAYOUT.size:
            return None
        x, y, unit = _LAYOUT.unpack(data)
        return cls(x, y, unit == 1) if x and y and unit in (0, 1) else None

    def to_bytes(self) -> bytes:
        """Content of the chunk that carries it."""
        return _LAYOUT.pack(self.x, self.y, self.has_unit)

    @property
    def turned(self) -> Resolution:
        """That of the picture on its side."""
        return Resolution(self.y, self.x, self.has_unit)

    @property
    def dpi(self) -> tuple[float, float]:
        """Pixels by the inch, whole where the metre alone made them broken."""
        x, y = (_whole(each * INCH) for each in (self.x, self.y))
        return x, y


def info_of(resolution: Resolution) -> dict[str, tuple[float, float]]:
    """A resolution as `Image.info` has it: "dpi", or "aspect" without a unit."""
    if resolution.has_unit:
        return {"dpi": resolution.dpi}
    return {"aspect": (resolution.x, resolution.y)}


def resolution_of(image: Image.Image) -> Resolution | None:
    """What the file of a picture says, EXIF left aside, or `info` of one without a file.

    Defaults of Pillow, 72 dpi of a JPEG with EXIF and 1 of TIFF, are none.
    """
    info = image.info
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        if _TIFF_X not in tags or _TIFF_Y not in tags:
            return None
        return Resolution.of_tags(tags[_TIFF_X], tags[_TIFF_Y], tags.get(_TIFF_UNIT, 2))
    if image.format in ("JPEG", "MPO"):
        unit = info.get("jfif_unit")
        density = info.get("jfif_density", (1, 1))
        if unit == 0 and density[0] != density[1]:
            return _shape(*density)
        if unit not in _ABSOLUTE_JFIF:
            return None
    if "dpi" in info:
        return Resolution.of_dpi(*_pair(info["dpi"]))
    aspect = _pair(info.get("aspect"))
    return _shape(*aspect) if aspect[0] != aspect[1] else None


def _shape(x: Any, y: Any) -> Resolution | None:
    found = _checked(x, y, 1.0)
    return None if found is None else Resolution(found.x, found.y, False)


def _checked(x: Any, y: Any, metres: float) -> Resolution | None:
    try:
        values = float(x) / metres, float(y) / metres
        across, down = (math.floor(value + 0.5) for value in values)
    except (TypeError, ValueError, OverflowError, ArithmeticError):
        return None
    fits = 0 < across <= _MOST and 0 < down <= _MOST
    return Resolution(across, down) if fits else None


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, (tuple, list)) and len(value) == 2 else (None, None)


def _whole(dpi: float) -> float:
    return round(dpi) if abs(dpi - round(dpi)) <= INCH / 2 and round(dpi) else dpi

"""ICC profiles written from a few numbers: primaries and a curve.

Source:
    ICC.1:2022, version 4: matrix/TRC and grey profiles, colorants adapted to D50 by Bradford.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

XY = tuple[float, float]

_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


class Primaries(NamedTuple):
    """Chromaticities (x, y) of white, red, green and blue."""

    white: XY
    red: XY
    green: XY
    blue: XY


class Curve(NamedTuple):
    """From a level to light, both 0 to 1: (a v + b)^gamma from d on, below it c v.

    Args:
        gamma: exponent.
        a: factor of the power.
        b: summand of the power.
        c: slope of the straight part.
        d: level at which it ends; 0 is a power alone.
    """

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0


D65 = (0.3127, 0.3290)
SRGB_PRIMARIES = Primaries(D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
SRGB_CURVE = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def write_profile(
    primaries: Primaries, curve: Curve | Sequence[int], *, grey: bool, name: str
) -> bytes:
    """A display profile.

    Args:
        primaries: colours of the channels; of grey they do not matter.
        curve: the same for all channels; or light, 0 to 65535, for each of 256 levels.
        grey: one channel instead of three.
        name: description, ASCII.
    Raises:
        ValueError: primaries that span no triangle.
    """
    tags = {
        b"desc": _text(name),
        b"cprt": _text("CC0"),
        b"wtpt": _xyz(_D50),
    }
    tone = _curve(curve)
    if grey:
        tags[b"kTRC"] = tone
    else:
        adapt, colorants = _colorants(primaries)
        tags[b"chad"] = b"sf32\0\0\0\0" + b"".join(map(_fixed, adapt.ravel()))
        for kind, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants.T, strict=True):
            tags[kind] = _xyz(column)
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone)
    return _file(tags, b"GRAY" if grey else b"RGB ")


def _colorants(primaries: Primaries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Adaptation of white to D50, and the colorants after it as columns, both (3, 3)."""
    if min(y for _, y in primaries) <= 0:
        raise ValueError("a primary without light")
    white, *channels = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in primaries)
    matrix = np.stack(channels, axis=1)
    if abs(np.linalg.det(matrix)) < 1e-6:
        raise ValueError("primaries on one line")
    matrix = matrix * np.linalg.solve(matrix, white)
    cones = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    adapt = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD
    return adapt, adapt @ matrix


def _curve(curve: Curve | Sequence[int]) -> bytes:
    if not isinstance(curve, Curve):
        return b"curv\0\0\0\0" + struct.pack(f">I{len(curve)}H", len(curve), *curve)
    values = curve if curve.d or curve.b or curve.a != 1 else curve[:1]
    kind = 3 if len(values) == len(curve) else 0
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + b"".join(map(_fixed, values))


def _text(text: str) -> bytes:
    words = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(words), 28) + words


def _xyz(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _fixed(value: float) -> bytes:
    """s15Fixed16Number."""
    try:
        return struct.pack(">i", round(value * 65536))
    except struct.error:
        raise ValueError(f"{value} is out of range for a profile") from None


def _file(tags: dict[bytes, bytes], space: bytes) -> bytes:
    """A profile of tags; equal contents are stored once."""
    table, body, places = b"", b"", {}
    start = 128 + 4 + 12 * len(tags)
    for kind, content in tags.items():
        if content not in places:
            places[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
        table += kind + struct.pack(">II", places[content], len(content))
    header = struct.pack(
        ">I4sI4s4s4s6H4s4sI4s4sQI12s4s16s28s",
        start + len(body), b"\0" * 4, 0x04300000, b"mntr", space, b"XYZ ", 2000, 1, 1, 0, 0, 0,
        b"acsp", b"\0" * 4, 0, b"\0" * 4, b"\0" * 4, 0, 0, _xyz(_D50)[8:], b"\0" * 4, b"\0" * 16,
        b"\0" * 28,
    )  # fmt: skip
    return header + struct.pack(">I", len(tags)) + table + body

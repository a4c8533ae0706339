"""Colour spaces that a file names by other means than an ICC profile, as profiles.

PNG has cICP, sRGB, cHRM and gAMA, AVIF the code points of cICP, TIFF chromaticities and a transfer
function, BMP end points and gammas. What is sRGB, and what names nothing, needs no profile: a
picture without one is sRGB.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from promptcodec.io.icc import D65, SRGB_CURVE, SRGB_PRIMARIES, Curve, Primaries, write_profile
from promptcodec.io.png import chunk_before_pixels

_C, _EQUAL = (0.310, 0.316), (1 / 3, 1 / 3)
_FILM = Primaries(_C, (0.681, 0.319), (0.243, 0.692), (0.145, 0.049))
_NTSC = Primaries(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
# By the code points of ITU-T H.273, which cICP and AVIF use.
_PRIMARIES = {
    1: SRGB_PRIMARIES,
    2: SRGB_PRIMARIES,  # unspecified
    4: Primaries(_C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: Primaries(D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: _NTSC,
    7: _NTSC,
    8: _FILM,
    9: Primaries(D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: Primaries((0.314, 0.351), *_P3),
    12: Primaries(D65, *_P3),
    22: Primaries(D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
_BT709 = Curve(1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_CURVES = {
    **dict.fromkeys((1, 6, 14, 15), _BT709),
    2: SRGB_CURVE,  # unspecified
    4: Curve(2.2),
    5: Curve(2.8),
    7: Curve(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4.0, 0.0913),
    8: Curve(1.0),
    13: SRGB_CURVE,
}
_HDR = {16: "PQ", 18: "HLG"}
_NEAR_GAMMA = 0.005  # of 1/2.2: what writers of sRGB store as gAMA
_NEAR_XY = 0.003  # of the chromaticities of sRGB, which writers round
_NCLX = re.compile(rb"colrnclx(....)", re.DOTALL)
_WHITE_POINT, _CHROMATICITIES, _TRANSFER_FUNCTION = 318, 319, 301
_BMP_V4, _BMP_V5 = 108, 124  # bytes of the header
_BMP_CALIBRATED, _BMP_EMBEDDED = 0, 0x4D424544


class Told(NamedTuple):
    """What a file names.

    Args:
        profile: equivalent ICC profile; None where there is none or it is sRGB.
        note: what is ignored; empty for nothing.
    """

    profile: bytes | None = None
    note: str = ""


def told_colour(image: Image.Image, head: bytes, *, grey: bool) -> Told:
    """The colour space that a file without a usable profile names.

    Args:
        image: picture, whose header is read.
        head: first bytes of its file.
        grey: the coded picture is grey.
    """
    try:
        return _told(image, head, grey=grey)
    except (ValueError, TypeError, ArithmeticError, LookupError, struct.error):
        return Told(note="the colour space that the file names makes no sense and is ignored")


def _told(image: Image.Image, head: bytes, *, grey: bool) -> Told:
    info = image.info
    if image.format == "AVIF" and (found := _NCLX.search(head.split(b"mdat")[0])):
        return _of_code_points(*struct.unpack(">HH", found[1]), grey=grey)
    if image.format == "PNG" and (points := chunk_before_pixels(head, b"cICP")):
        told = _of_code_points(points[0], points[1], grey=grey)
        narrow = "narrow range of levels in cICP is ignored" if points[3] == 0 else ""
        return Told(told.profile, told.note or narrow)
    if "srgb" in info:
        return Told()
    if "gamma" in info or "chromaticity" in info:
        return _of_png(info.get("gamma"), info.get("chromaticity"), grey=grey)
    tags = getattr(image, "tag_v2", {})
    if _CHROMATICITIES in tags or _TRANSFER_FUNCTION in tags:
        return _of_tiff(tags, grey=grey)
    if image.format in ("BMP", "DIB"):
        return _of_bmp(head, grey=grey)
    return Told()


def _of_code_points(primaries: int, transfer: int, *, grey: bool) -> Told:
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        what = _HDR.get(transfer, f"primaries {primaries}, transfer {transfer}")
        return Told(note=f"the colours ({what}) have no ICC profile and are coded as sRGB")
    return _unless_srgb(_PRIMARIES[primaries], _CURVES[transfer], grey=grey)


def _of_png(gamma: float | None, chromaticity: Sequence[float] | None, *, grey: bool) -> Told:
    primaries = _primaries(chromaticity) if chromaticity else SRGB_PRIMARIES
    curve = SRGB_CURVE
    if gamma is not None and abs(gamma - 1 / 2.2) > _NEAR_GAMMA:
        curve = Curve(1 / gamma)
    return _unless_srgb(primaries, curve, grey=grey)


def _of_tiff(tags: Any, *, grey: bool) -> Told:
    primaries, curve = SRGB_PRIMARIES, SRGB_CURVE
    if _CHROMATICITIES in tags:
        white = tags.get(_WHITE_POINT, D65)
        primaries = _primaries([*white, *tags[_CHROMATICITIES]])
    table = tuple(tags.get(_TRANSFER_FUNCTION, ()))
    if len(table) in (256, 768) and table[:256] * (len(table) // 256) == table:
        light = write_profile(primaries, table[:256], grey=grey, name="transfer function")
        return Told(light)
    note = "the transfer function of the TIFF is ignored" if table else ""
    return Told(_unless_srgb(primaries, curve, grey=grey).profile, note)


def _of_bmp(head: bytes, *, grey: bool) -> Told:
    start = 14 if head.startswith(b"BM") else 0
    size, space = struct.unpack_from("<I", head, start)[0], None
    if size >= _BMP_V4:
        (space,) = struct.unpack_from("<I", head, start + 56)
    if space == _BMP_CALIBRATED:
        numbers = struct.unpack_from("<9I3I", head, start + 60)
        if not any(numbers[:9]) or not all(numbers[9:]):
            return Told()
        points = [each / (1 << 30) for each in numbers[:9]]
        colours = [points[n : n + 3] for n in (0, 3, 6)]
        white = [sum(column) for column in zip(*colours, strict=True)]
        xy = [each / sum(c) for c in (white, *colours) for each in c[:2]]
        gamma = sum(numbers[9:]) / 3 / (1 << 16)
        return _of_png(1 / gamma, xy, grey=grey)
    if space == _BMP_EMBEDDED and size >= _BMP_V5:
        return Told(note="the ICC profile of the BMP is ignored")
    return Told()


def _unless_srgb(primaries: Primaries, curve: Curve, *, grey: bool) -> Told:
    pairs = zip(primaries, SRGB_PRIMARIES, strict=True)
    near = all(
        abs(a - b) <= _NEAR_XY for one, other in pairs for a, b in zip(one, other, strict=True)
    )
    if curve == SRGB_CURVE and (near or grey):
        return Told()
    name = f"gamma {curve.gamma:.4g}" if near else "primaries and curve of the file"
    return Told(write_profile(primaries, curve, grey=grey, name=name))


def _primaries(numbers: Sequence[Any]) -> Primaries:
    values = [float(number) for number in numbers]
    white, red, green, blue = ((values[n], values[n + 1]) for n in (0, 2, 4, 6))
    return Primaries(white, red, green, blue)

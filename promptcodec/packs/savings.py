"""Rate that adapters save at equal PSNR against the ladder they started from, in file bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from promptcodec.coding.codec import PictureCodec
from promptcodec.evaluation.bootstrap import MIN_PICTURES, RESAMPLES, Estimate
from promptcodec.evaluation.metrics import bpp, psnr

STEP = 0.5  # between two points of the ladder's curve, in rate indexes
BEYOND = 6.0  # gain steps past the ends of the ladder
WIDTH, HEIGHT = 768, 512  # px, of the part of a picture that is coded

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Point:
    """A picture at a rate.

    Args:
        bpp: bits per pixel of the stream.
        psnr: PSNR over RGB, dB.
    """

    bpp: float
    psnr: float


@dataclass(frozen=True)
class Saving:
    """What the adapter of a rate saves.

    Args:
        rate_index: rate.
        percent: rate saved at equal PSNR, mean over the pictures; negative is a loss.
        bpp: mean bits per pixel with the adapter.
        psnr: mean PSNR with it, dB.
        pictures: number of pictures.
    """

    rate_index: int
    percent: Estimate
    bpp: float
    psnr: float
    pictures: int


def savings(
    plain: PictureCodec, adapted: PictureCodec, pictures: Sequence[Pixels], *, rates: Sequence[int]
) -> list[Saving]:
    """Compare adapters with the plain ladder, picture by picture.

    Args:
        plain: codec with the ladder.
        adapted: codec of the same base with the adapters.
        pictures: pictures, uint8 (H, W, 3); a part in the middle is coded.
        rates: rate indexes of the adapters.
    """
    parts = [middle(picture) for picture in pictures]
    curves = [ladder_curve(plain, part, rates=rates) for part in parts]
    found = []
    for rate in rates:
        points = [measure(adapted, part, rate_index=rate) for part in parts]
        logs = [_log_ratio(point, curve) for point, curve in zip(points, curves, strict=True)]
        found.append(
            Saving(
                rate,
                _estimate(np.array(logs)),
                float(np.mean([point.bpp for point in points])),
                float(np.mean([point.psnr for point in points])),
                len(points),
            )
        )
    return found


def ladder_curve(plain: PictureCodec, part: Pixels, *, rates: Sequence[int]) -> list[Point]:
    """Points of the ladder around some rates, lowest first, a little beyond its ends."""
    known = [rate.index for rate in plain.rates]
    low, high = max(min(known), min(rates) - 1), min(max(known), max(rates) + 1)
    places = np.arange(low, high + STEP / 2, STEP)
    points = [measure(plain, part, rate_index=float(place)) for place in places]
    before = measure(plain, part, rate_index=float(low), gain_steps=-BEYOND)
    after = measure(plain, part, rate_index=float(high), gain_steps=BEYOND)
    return [before, *points, after]


def measure(
    codec: PictureCodec, part: Pixels, *, rate_index: float, gain_steps: float = 0.0
) -> Point:
    """One picture there and back, without exact tiles, which no adapter changes."""
    data = codec.encode(
        part, rate_index=rate_index, gain_steps=gain_steps, strip=True, graphics="never"
    )
    height, width = part.shape[:2]
    shown = np.asarray(codec.decode(data).convert("RGB"))
    return Point(bpp(len(data), width=width, height=height), psnr(part, shown))


def middle(picture: Pixels) -> Pixels:
    """The middle of a picture, (H, W, 3), at most `WIDTH` x `HEIGHT`."""
    top, left = max(0, len(picture) - HEIGHT) // 2, max(0, picture.shape[1] - WIDTH) // 2
    return np.ascontiguousarray(picture[top : top + HEIGHT, left : left + WIDTH])


def _log_ratio(point: Point, curve: Sequence[Point]) -> float:
    """Logarithm of the rate of a point over that of the curve at equal PSNR.

    Beyond its ends the curve goes on in a line.
    """
    rising = [curve[0]]
    for each in curve[1:]:
        if each.psnr > rising[-1].psnr:
            rising.append(each)
    decibels = np.array([each.psnr for each in rising])
    logs = np.log([each.bpp for each in rising])
    if len(rising) < 2:  # a flat picture, at the same PSNR everywhere
        return math.log(point.bpp) - float(logs[0])
    inside = min(max(point.psnr, decibels[0]), decibels[-1])
    shape = PchipInterpolator(decibels, logs)
    ends = slice(0, 2) if point.psnr < decibels[0] else slice(-2, None)
    slope = float(np.diff(logs[ends])[0] / np.diff(decibels[ends])[0])
    return math.log(point.bpp) - float(shape(inside)) - slope * (point.psnr - inside)


def _estimate(logs: NDArray[np.float64]) -> Estimate:
    """Rate saved in per cent, with an interval over pictures where there are enough."""
    value = _saved(logs.mean())
    if len(logs) < MIN_PICTURES:
        return Estimate(value)
    draws = np.random.default_rng(0).integers(0, len(logs), (RESAMPLES, len(logs)))
    return Estimate.of_draws(value, np.array([_saved(mean) for mean in logs[draws].mean(axis=1)]))


def _saved(log_ratio: float) -> float:
    return -100.0 * math.expm1(log_ratio)

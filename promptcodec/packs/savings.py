"""Rate that adapters save at equal quality against the ladder they started from, in file bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.distortion import MS_SSIM_SIDE
from promptcodec.errors import DataError
from promptcodec.evaluation.bootstrap import MIN_PICTURES, RESAMPLES, Estimate
from promptcodec.evaluation.metrics import Metric, bpp, to_db
from promptcodec.evaluation.perceptual import QualityMetrics

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
        ms_ssim: MS-SSIM, 0 to 1; None if it was not asked for or the picture is too small.
    """

    bpp: float
    psnr: float
    ms_ssim: float | None = None

    def quality(self, metric: Metric) -> float:
        """Quality in dB by a metric; MS-SSIM as -10 log10(1 - x)."""
        value = self.ms_ssim if metric == "ms-ssim" else self.psnr
        assert value is not None
        return to_db(metric, value)


@dataclass(frozen=True)
class Saving:
    """What the adapter of a rate saves.

    Args:
        rate_index: rate.
        percent: rate saved at equal quality, mean over the pictures; negative is a loss.
        bpp: mean bits per pixel with the adapter.
        psnr: mean PSNR with it, dB.
        pictures: number of pictures.
        ms_ssim: mean MS-SSIM with it; None where PSNR is the quality.
        at_equal_psnr: rate saved at equal PSNR where MS-SSIM is the quality, or None.
    """

    rate_index: int
    percent: Estimate
    bpp: float
    psnr: float
    pictures: int
    ms_ssim: float | None = None
    at_equal_psnr: Estimate | None = None


def savings(
    plain: PictureCodec,
    adapted: PictureCodec,
    pictures: Sequence[Pixels],
    *,
    rates: Sequence[int],
    metric: Metric = "psnr",
) -> list[Saving]:
    """Compare adapters with the plain ladder, picture by picture.

    Args:
        plain: codec with the ladder.
        adapted: codec of the same base with the adapters.
        pictures: pictures, uint8 (H, W, 3); a part in the middle is coded.
        rates: rate indexes of the adapters.
        metric: quality that is equal, "psnr" or "ms-ssim"; pictures too small for it are left out.
    Raises:
        DataError: all are too small.
    """
    parts = [middle(picture) for picture in pictures]
    if metric == "ms-ssim":
        parts = [part for part in parts if min(part.shape[:2]) >= MS_SSIM_SIDE]
        if not parts:
            raise DataError(f"no held-out picture has {MS_SSIM_SIDE} px a side, as MS-SSIM needs")
    curves = [ladder_curve(plain, part, rates=rates, metric=metric) for part in parts]
    found = []
    for rate in rates:
        points = [measure(adapted, part, rate_index=rate, metric=metric) for part in parts]
        mean = {
            name: float(np.mean([getattr(point, name) for point in points]))
            for name in ("bpp", "psnr", *(("ms_ssim",) if metric == "ms-ssim" else ()))
        }
        saved = {name: saving_of(points, curves, name) for name in ("psnr", metric)}
        beside = None if metric == "psnr" else saved["psnr"]
        found.append(Saving(rate, saved[metric], pictures=len(parts), at_equal_psnr=beside, **mean))
    return found


def ladder_curve(
    plain: PictureCodec, part: Pixels, *, rates: Sequence[int], metric: Metric = "psnr"
) -> list[Point]:
    """Points of the ladder around some rates, lowest first, a little beyond its ends."""
    at = partial(measure, plain, part, metric=metric)
    known = [rate.index for rate in plain.rates]
    low, high = max(min(known), min(rates) - 1), min(max(known), max(rates) + 1)
    places = np.arange(low, high + STEP / 2, STEP)
    points = [at(rate_index=float(place)) for place in places]
    before = at(rate_index=float(low), gain_steps=-BEYOND)
    after = at(rate_index=float(high), gain_steps=BEYOND)
    return [before, *points, after]


def measure(
    codec: PictureCodec,
    part: Pixels,
    *,
    rate_index: float,
    gain_steps: float = 0.0,
    metric: Metric = "psnr",
) -> Point:
    """One picture there and back, without exact tiles, which no adapter changes."""
    data = codec.encode(
        part, rate_index=rate_index, gain_steps=gain_steps, strip=True, graphics="never"
    )
    height, width = part.shape[:2]
    shown = np.asarray(codec.decode(data).convert("RGB"))
    quality = QualityMetrics((metric,))(part, shown)
    return Point(bpp(len(data), width=width, height=height), quality.psnr, quality.ms_ssim)


def middle(picture: Pixels) -> Pixels:
    """The middle of a picture, (H, W, 3), at most `WIDTH` x `HEIGHT`."""
    top, left = max(0, len(picture) - HEIGHT) // 2, max(0, picture.shape[1] - WIDTH) // 2
    return np.ascontiguousarray(picture[top : top + HEIGHT, left : left + WIDTH])


def saving_of(
    points: Sequence[Point], curves: Sequence[Sequence[Point]], metric: Metric = "psnr"
) -> Estimate:
    """Rate saved by points, each against the curve of its picture."""
    pairs = zip(points, curves, strict=True)
    return estimate(np.array([log_ratio(point, curve, metric) for point, curve in pairs]))


def log_ratio(point: Point, curve: Sequence[Point], metric: Metric) -> float:
    """Logarithm of the rate of a point over that of the curve at equal quality.

    Beyond its ends the curve goes on in a line.
    """
    rising = [curve[0]]
    for each in curve[1:]:
        if each.quality(metric) > rising[-1].quality(metric):
            rising.append(each)
    decibels = np.array([each.quality(metric) for each in rising])
    logs = np.log([each.bpp for each in rising])
    if len(rising) < 2:  # a flat picture, of the same quality everywhere
        return math.log(point.bpp) - float(logs[0])
    own = point.quality(metric)
    inside = min(max(own, decibels[0]), decibels[-1])
    shape = PchipInterpolator(decibels, logs)
    ends = slice(0, 2) if own < decibels[0] else slice(-2, None)
    slope = float(np.diff(logs[ends])[0] / np.diff(decibels[ends])[0])
    return math.log(point.bpp) - float(shape(inside)) - slope * (own - inside)


def estimate(logs: NDArray[np.float64]) -> Estimate:
    """Rate saved in per cent, with an interval over pictures where there are enough."""
    value = _percent(logs.mean())
    if len(logs) < MIN_PICTURES:
        return Estimate(value)
    draws = np.random.default_rng(0).integers(0, len(logs), (RESAMPLES, len(logs)))
    return Estimate.of_draws(value, np.array([_percent(mean) for mean in logs[draws].mean(axis=1)]))


def _percent(log_ratio: float) -> float:
    return -100.0 * math.expm1(log_ratio)

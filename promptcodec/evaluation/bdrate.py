"""Rate-distortion curves and Bjontegaard deltas between them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from promptcodec.errors import UsageError

if TYPE_CHECKING:
    from scipy.interpolate import PchipInterpolator

MIN_POINTS = 4
"""Points of a curve that a Bjontegaard delta needs."""


@dataclass(frozen=True)
class Curve:
    """One codec on one set of pictures, from its lowest rate to its highest.

    Attributes:
        name: label in messages and tables.
        bpp: means over the pictures, bits per pixel; in any order, sorted here.
        psnr: means over the pictures in dB, one for each of `bpp`; or another quality in dB
            (`metrics.to_db`).

    Raises:
        UsageError: a point is missing or not a positive finite rate, or PSNR does not rise
            strictly with rate (the message names the two points).
    """

    name: str
    bpp: tuple[float, ...]
    psnr: tuple[float, ...]

    def __post_init__(self) -> None:
        """Sort the points by rate and refuse what cannot be interpolated."""
        if len(self.bpp) != len(self.psnr) or len(self.bpp) < 2:
            raise UsageError(
                f"curve {self.name} has {len(self.bpp)} rates and {len(self.psnr)} PSNRs; "
                "give as many of one as of the other, at least 2"
            )
        if not np.isfinite(self.bpp + self.psnr).all() or min(self.bpp) <= 0:
            raise UsageError(
                f"curve {self.name} has a rate or PSNR that is not finite and positive: "
                "leave that point out"
            )
        points = sorted(zip(self.bpp, self.psnr, strict=True))
        for low, high in pairwise(points):
            if not (low[0] < high[0] and low[1] < high[1]):
                raise UsageError(
                    f"curve {self.name} is not strictly monotone between "
                    f"({low[0]:g} bpp, {low[1]:g} dB) and ({high[0]:g} bpp, {high[1]:g} dB): "
                    "leave one of the two out"
                )
        object.__setattr__(self, "bpp", tuple(point[0] for point in points))
        object.__setattr__(self, "psnr", tuple(point[1] for point in points))

    def bpp_at(self, quality: float) -> float:
        """Rate in bits per pixel at a quality, by PCHIP of log(bpp) over quality.

        Raises:
            UsageError: the quality is outside the measured ones; nothing is extrapolated.
        """
        if not self.psnr[0] <= quality <= self.psnr[-1]:
            raise UsageError(
                f"a quality of {quality:g} is outside curve {self.name} ({self.psnr[0]:g} to "
                f"{self.psnr[-1]:g}): measure it at more rates"
            )
        return float(np.exp(_rate_over_psnr(self)(quality)))

    def psnr_at(self, bpp: float) -> float:
        """PSNR in dB at a rate, by PCHIP over log(bpp).

        Raises:
            UsageError: the rate is outside the measured ones; nothing is extrapolated.
        """
        if not self.bpp[0] <= bpp <= self.bpp[-1]:
            raise UsageError(
                f"{bpp:g} bpp is outside curve {self.name} ({self.bpp[0]:g} to "
                f"{self.bpp[-1]:g} bpp): measure it at more qualities"
            )
        return float(_psnr_over_rate(self)(np.log(bpp)))


def bd_rate(curve: Curve, anchor: Curve, *, between: tuple[float, float] | None = None) -> float:
    """Average difference in rate at equal PSNR, in per cent; negative is better.

    Args:
        curve: curve of the tested codec.
        anchor: curve of the reference.
        between: range of PSNR in dB; None is the whole range of both curves.

    Raises:
        UsageError: a curve has under four points, the two share no range of PSNR, or `between`
            exceeds it.

    Source:
        Bjontegaard, VCEG-M33, 2001. Differs: PCHIP in place of one cubic, as JCT-VC does.
    """
    low, high = shared_psnr(curve, anchor)
    if between is not None:
        if not low - 1e-9 <= between[0] < between[1] <= high + 1e-9:
            raise UsageError(
                f"curves {curve.name} and {anchor.name} share {low:.2f} to {high:.2f} dB, not "
                f"{between[0]:.2f} to {between[1]:.2f} dB: measure more rates"
            )
        low, high = between
    means = [_mean(_rate_over_psnr(c), low, high) for c in (curve, anchor)]
    return float(100.0 * np.expm1(means[0] - means[1]))


def bd_psnr(curve: Curve, anchor: Curve) -> float:
    """Average difference in PSNR at equal rate, in dB; positive is better.

    Args:
        curve: curve of the tested codec.
        anchor: curve of the reference.

    Raises:
        UsageError: a curve has under four points, or the two share no range of rate.
    """
    low, high = _overlap(curve, anchor, axis=lambda c: c.bpp, unit="bpp")
    log_low, log_high = np.log(low), np.log(high)
    means = [_mean(_psnr_over_rate(c), log_low, log_high) for c in (curve, anchor)]
    return float(means[0] - means[1])


def shared_psnr(curve: Curve, anchor: Curve) -> tuple[float, float]:
    """Range of PSNR in dB that two curves share.

    Raises:
        UsageError: a curve has under four points, or there is no such range.
    """
    return _overlap(curve, anchor, axis=lambda c: c.psnr, unit="dB")


def quarters(curve: Curve) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Quarters of a curve's range of log(bpp), lowest first, each as rates and as qualities.

    Args:
        curve: curve that is divided; every rival is compared on the same quarters.
    Returns:
        Four pairs of ((low, high) in bpp, (low, high) in the quality of the curve).
    """
    edges = np.exp(np.linspace(np.log(curve.bpp[0]), np.log(curve.bpp[-1]), 5))
    rates = [float(rate) for rate in np.clip(edges, curve.bpp[0], curve.bpp[-1])]
    qualities = [curve.psnr_at(rate) for rate in rates]
    return list(zip(pairwise(rates), pairwise(qualities), strict=True))


def _overlap(
    curve: Curve, anchor: Curve, *, axis: Callable[[Curve], tuple[float, ...]], unit: str
) -> tuple[float, float]:
    for each in (curve, anchor):
        if len(each.bpp) < MIN_POINTS:
            raise UsageError(
                f"curve {each.name} has {len(each.bpp)} points; a Bjontegaard delta needs "
                f"{MIN_POINTS}: measure more rates"
            )
    low = max(axis(curve)[0], axis(anchor)[0])
    high = min(axis(curve)[-1], axis(anchor)[-1])
    if low >= high:
        raise UsageError(
            f"curves {curve.name} ({axis(curve)[0]:g} to {axis(curve)[-1]:g} {unit}) and "
            f"{anchor.name} ({axis(anchor)[0]:g} to {axis(anchor)[-1]:g} {unit}) do not "
            "overlap: measure rates in between"
        )
    return low, high


@lru_cache(maxsize=64)  # a curve is used with several anchors, segments and resamples
def _rate_over_psnr(curve: Curve) -> "PchipInterpolator":
    return _pchip(curve.psnr, np.log(curve.bpp))


@lru_cache(maxsize=64)
def _psnr_over_rate(curve: Curve) -> "PchipInterpolator":
    return _pchip(np.log(curve.bpp), curve.psnr)


def _pchip(x: ArrayLike, y: ArrayLike) -> "PchipInterpolator":
    # Imported late: scipy takes a second, and `psnr` does not need it.
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(np.asarray(x), np.asarray(y))


def _mean(interpolator: "PchipInterpolator", low: float, high: float) -> float:
    return float(interpolator.integrate(low, high)) / (high - low)

"""Confidence intervals of Bjontegaard deltas, by resampling pictures.

The pictures of a set are a sample. Resamples of the same size, drawn with replacement, show how far
a delta depends on which pictures were taken (Efron 1979, doi:10.1214/aos/1176344552; percentile
intervals). Both codecs are averaged over the same resample, so that a hard picture affects both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from promptcodec.errors import UsageError
from promptcodec.evaluation.bdrate import Curve, bd_psnr, bd_rate, shared_psnr

RESAMPLES = 1000
CONFIDENCE = 0.95
TAILS = (50 * (1 - CONFIDENCE), 100 - 50 * (1 - CONFIDENCE))  # percentiles
MIN_PICTURES = 5
"""Fewest pictures for an interval; fewer allow too few different resamples."""
MAX_FAILED = 0.05
"""Largest share of resamples without a comparable curve; above it there is no interval."""
EDGES = (0.0, 0.4, 1.0, np.inf)
"""Bounds of the segments of rate, bpp of the tested codec."""
MIN_WIDTH = 0.25
"""Least common range of PSNR, dB, of a segment that is reported."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes:
        value: figure over all pictures; None if the curves cannot be compared.
        low: lower end of the interval; None without an interval.
        high: upper end of the interval; None without an interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of_draws(cls, value: float, draws: np.ndarray) -> "Estimate":
        """A figure with the percentile interval of its resamples, (draws,)."""
        low, high = np.percentile(draws, TAILS)
        return cls(float(value), float(low), float(high))


@dataclass(frozen=True)
class Segment:
    """One part of the curve of the tested codec.

    Attributes:
        low_bpp: lower bound.
        high_bpp: upper bound; None is unbounded.
        bd_rate: per cent, within the segment.
    """

    low_bpp: float
    high_bpp: float | None
    bd_rate: Estimate


@dataclass(frozen=True)
class Deltas:
    """Differences of two curves.

    Attributes:
        bd_rate: per cent at equal quality, negative is better.
        bd_quality: difference in dB at equal rate, positive is better.
        segments: BD-rate by rate of the tested codec, lowest first.
        reason: why there is no BD-rate; empty if there is one.
    """

    bd_rate: Estimate
    bd_quality: Estimate
    segments: tuple[Segment, ...]
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """Rates and qualities of one codec by picture.

    Attributes:
        name: name of the codec.
        bpp: rates, (pictures, points).
        quality: quality in dB, same shape; the order of the pictures is the same for every codec.
    """

    name: str
    bpp: np.ndarray
    quality: np.ndarray

    def curve(self, chosen: np.ndarray | None = None) -> Curve:
        """Averages over all pictures, or over those with the given indexes.

        Raises:
            UsageError: the averages are no curve.
        """
        rows = slice(None) if chosen is None else chosen
        rates, qualities = self.bpp[rows].mean(axis=0), self.quality[rows].mean(axis=0)
        return Curve(self.name, tuple(rates.tolist()), tuple(qualities.tolist()))


def deltas(ours: Sample, rival: Sample | Curve, *, resamples: int = RESAMPLES) -> Deltas:
    """Compare two codecs, with intervals if both are known by picture.

    Args:
        ours: tested codec.
        rival: reference on the same pictures, or its published averages, which give no interval.
        resamples: number of resamples.
    """
    try:
        pair = ours.curve(), rival if isinstance(rival, Curve) else rival.curve()
        shared_psnr(*pair)
    except UsageError as error:
        return Deltas(Estimate(None), Estimate(None), (), str(error))
    values = _quantities(*pair)
    bounds = np.full((2, values.size), np.nan)
    pictures = ours.bpp.shape[0]
    if isinstance(rival, Sample) and pictures >= MIN_PICTURES:
        rng = np.random.default_rng(0)
        draws = rng.integers(0, pictures, (resamples, pictures))
        bounds = _bounds(
            np.stack([_of_draw(ours, rival, draw, count=values.size) for draw in draws])
        )
    rate, quality, *segments = (
        Estimate(_finite(value), _finite(low), _finite(high))
        for value, low, high in zip(values, *bounds, strict=True)
    )
    return Deltas(
        rate,
        quality,
        tuple(
            Segment(low, _finite(high), each)
            for (low, high), each in zip(pairwise(EDGES), segments, strict=True)
            if each.value is not None
        ),
    )


def _of_draw(ours: Sample, rival: Sample, draw: np.ndarray, *, count: int) -> np.ndarray:
    try:
        return _quantities(ours.curve(draw), rival.curve(draw))
    except UsageError:
        return np.full(count, np.nan)


def _quantities(curve: Curve, anchor: Curve) -> np.ndarray:
    """BD-rate, BD-quality and the BD-rate of each segment; NaN where one is impossible."""
    segments = pairwise(EDGES)
    return np.array(
        [
            _attempt(lambda: bd_rate(curve, anchor)),
            _attempt(lambda: bd_psnr(curve, anchor)),
            *[_attempt(lambda s=s: _segment_rate(curve, anchor, *s)) for s in segments],
        ]
    )


def _segment_rate(curve: Curve, anchor: Curve, low: float, high: float) -> float:
    shared = shared_psnr(curve, anchor)
    if high <= curve.bpp[0] or low >= curve.bpp[-1]:
        return np.nan
    ends = (
        curve.psnr_at(max(low, curve.bpp[0])),
        curve.psnr_at(min(high, curve.bpp[-1])),
    )
    between = max(ends[0], shared[0]), min(ends[1], shared[1])
    if between[1] - between[0] < MIN_WIDTH:
        return np.nan
    return bd_rate(curve, anchor, between=between)


def _bounds(draws: np.ndarray) -> np.ndarray:
    """Ends of the interval, (2, quantities), NaN where too many draws failed."""
    failed = np.isnan(draws).mean(axis=0)
    bounds = np.full((2, draws.shape[1]), np.nan)
    for column in np.flatnonzero(failed <= MAX_FAILED):
        bounds[:, column] = np.nanpercentile(draws[:, column], TAILS)
    return bounds


def _attempt(compute: Callable[[], float]) -> float:
    try:
        return compute()
    except UsageError:
        return np.nan


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

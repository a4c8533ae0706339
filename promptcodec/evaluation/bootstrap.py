"""Confidence intervals of Bjontegaard deltas, by resampling pictures.

The pictures of a set are a sample. Resamples of the same size, drawn with replacement, show how far
a delta depends on which pictures were taken (Efron 1979, doi:10.1214/aos/1176344552; percentile
intervals). Both codecs are averaged over the same resample, so that a hard picture affects both.
Qualities are averaged in the metric's own unit, as publications do, and then become dB.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from promptcodec.errors import UsageError
from promptcodec.evaluation.bdrate import Curve, bd_psnr, bd_rate, quarters, shared_psnr
from promptcodec.evaluation.metrics import Metric, to_db

RESAMPLES = 1000
CONFIDENCE = 0.95
TAILS = (50 * (1 - CONFIDENCE), 100 - 50 * (1 - CONFIDENCE))  # percentiles
MIN_PICTURES = 5
"""Fewest pictures for an interval; fewer allow too few different resamples."""
MAX_FAILED = 0.05
"""Largest share of resamples without a comparable curve; above it there is no interval."""


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
    """One quarter of the tested codec's range of log(bpp).

    Attributes:
        low_bpp: lower bound.
        high_bpp: upper bound.
        bd_rate: per cent within the quarter; without a value where the rival does not have the
            whole of it.
    """

    low_bpp: float
    high_bpp: float
    bd_rate: Estimate


@dataclass(frozen=True)
class Deltas:
    """Differences of two curves.

    Attributes:
        bd_rate: per cent at equal quality, negative is better.
        bd_quality: difference in dB at equal rate, positive is better.
        segments: BD-rate by quarter of the tested codec's rates, lowest first.
        range_bpp: rates of the tested codec at the ends of the common range of quality, the range
            of the BD-rate; None without one.
        reason: why there is no BD-rate; empty if there is one.
    """

    bd_rate: Estimate
    bd_quality: Estimate
    segments: tuple[Segment, ...]
    range_bpp: tuple[float, float] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """Rates and qualities of one codec by picture.

    Attributes:
        name: name of the codec.
        bpp: rates, (pictures, points).
        quality: quality in the metric's own unit, same shape; the order of the pictures is the
            same for every codec.
        metric: metric of the quality.
    """

    name: str
    bpp: np.ndarray
    quality: np.ndarray
    metric: Metric = "psnr"

    def curve(self, chosen: np.ndarray | None = None) -> Curve:
        """Averages over all pictures, or over those with the given indexes.

        Raises:
            UsageError: the averages are no curve.
        """
        rows = slice(None) if chosen is None else chosen
        rates, means = self.bpp[rows].mean(axis=0), self.quality[rows].mean(axis=0)
        qualities = (to_db(self.metric, mean) for mean in means.tolist())
        return Curve(self.name, tuple(rates.tolist()), tuple(qualities))


def deltas(ours: Sample, rival: Sample | Curve, *, resamples: int = RESAMPLES) -> Deltas:
    """Compare two codecs, with intervals if both are known by picture.

    Args:
        ours: tested codec.
        rival: reference on the same pictures, or its published averages, which give no interval.
        resamples: number of resamples.
    """
    try:
        pair = ours.curve(), rival if isinstance(rival, Curve) else rival.curve()
        common = shared_psnr(*pair)
    except UsageError as error:
        return Deltas(Estimate(None), Estimate(None), (), reason=str(error))
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
    parts = zip(quarters(pair[0]), segments, strict=True)
    return Deltas(
        rate,
        quality,
        tuple(Segment(low, high, each) for ((low, high), _), each in parts),
        (pair[0].bpp_at(common[0]), pair[0].bpp_at(common[1])),
    )


def estimate(
    figure: Callable[[np.ndarray], float], pictures: int, *, resamples: int = RESAMPLES
) -> Estimate:
    """A figure of a set of pictures with its interval.

    Args:
        figure: function from indexes of pictures to the figure over these; it raises `UsageError`
            where there is none, outside a measured range for instance.
        pictures: number of pictures.
        resamples: number of resamples.
    Returns:
        No value where there is none over all pictures; no interval for fewer pictures than
        `MIN_PICTURES`, or where more than `MAX_FAILED` of the resamples have no figure.
    """
    value = _attempt(lambda: figure(np.arange(pictures)))
    if not np.isfinite(value) or pictures < MIN_PICTURES:
        return Estimate(_finite(value))
    draws = np.random.default_rng(0).integers(0, pictures, (resamples, pictures))
    values = np.array([[_attempt(lambda d=draw: figure(d))] for draw in draws])
    low, high = _bounds(values)[:, 0]
    return Estimate(value, _finite(low), _finite(high))


def _of_draw(ours: Sample, rival: Sample, draw: np.ndarray, *, count: int) -> np.ndarray:
    try:
        return _quantities(ours.curve(draw), rival.curve(draw))
    except UsageError:
        return np.full(count, np.nan)


def _quantities(curve: Curve, anchor: Curve) -> np.ndarray:
    """BD-rate, BD-quality and the BD-rate of each quarter; NaN where one is impossible."""
    return np.array(
        [
            _attempt(lambda: bd_rate(curve, anchor)),
            _attempt(lambda: bd_psnr(curve, anchor)),
            *[_attempt(lambda q=q: bd_rate(curve, anchor, between=q)) for _, q in quarters(curve)],
        ]
    )


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

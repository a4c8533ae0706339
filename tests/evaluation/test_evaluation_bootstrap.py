import numpy as np
import pytest

from promptcodec.evaluation.anchors import kodak_anchors
from promptcodec.evaluation.bdrate import Curve, bd_psnr, bd_rate
from promptcodec.evaluation.bootstrap import MIN_PICTURES, Sample, deltas
from promptcodec.evaluation.metrics import Metric, to_db

RATES = np.array([0.15, 0.3, 0.6, 1.2, 2.0])
QUALITIES = np.array([27.0, 30.0, 33.0, 36.5, 39.0])


def sample(name: str, *, factors: np.ndarray, shift: float = 0.0) -> Sample:
    """Pictures that cost `factors` times the rate of the plain curve."""
    hardness = np.linspace(-2.0, 2.0, factors.size)[:, None]
    return Sample(name, RATES * factors[:, None], QUALITIES + shift + hardness)


def test_a_constant_factor_has_an_interval_of_no_width() -> None:
    plain = sample("plain", factors=np.ones(8))
    dearer = sample("dearer", factors=np.full(8, 1.25))
    found = deltas(dearer, plain, resamples=50)
    for estimate in (found.bd_rate, *(segment.bd_rate for segment in found.segments)):
        assert [estimate.low, estimate.value, estimate.high] == pytest.approx([25.0] * 3, abs=1e-6)
    rates = 1.25 * np.exp(np.linspace(np.log(RATES[0]), np.log(RATES[-1]), 5))
    assert [s.low_bpp for s in found.segments] == pytest.approx(rates[:-1])
    assert [s.high_bpp for s in found.segments] == pytest.approx(rates[1:])
    assert found.range_bpp == pytest.approx((rates[0], rates[-1]))
    assert found.bd_quality.value is not None and found.bd_quality.value < -0.5
    assert found.reason == ""


def test_an_interval_covers_what_single_pictures_say() -> None:
    factors = np.exp(np.random.default_rng(1).normal(0.1, 0.15, 24))
    plain = sample("plain", factors=np.ones(24))
    found = deltas(sample("varied", factors=factors), plain, resamples=400).bd_rate
    assert found.low is not None and found.value is not None and found.high is not None
    assert found.low < found.value < found.high
    # The mean of 24 factors: its standard error by the usual formula, two to each side.
    error = 100 * factors.std(ddof=1) / np.sqrt(24)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.25)
    assert found == deltas(sample("varied", factors=factors), plain, resamples=400).bd_rate


def test_values_are_those_of_the_average_curves() -> None:
    varied = sample("varied", factors=np.linspace(0.8, 1.3, 6))
    plain = sample("plain", factors=np.ones(6), shift=0.5)
    found = deltas(varied, plain, resamples=20)
    assert found.bd_rate.value == bd_rate(varied.curve(), plain.curve())
    assert found.bd_quality.value == bd_psnr(varied.curve(), plain.curve())


def test_few_pictures_and_published_curves_have_no_interval() -> None:
    few = MIN_PICTURES - 1
    pair = [sample(str(k), factors=np.full(few, 1.0 + k)) for k in range(2)]
    published = Curve("published", tuple(RATES.tolist()), tuple(QUALITIES.tolist()))
    for found in (deltas(*pair), deltas(sample("many", factors=np.ones(9)), published)):
        assert found.bd_rate.value is not None
        assert (found.bd_rate.low, found.bd_rate.high) == (None, None)


def test_curves_that_share_nothing_are_refused_with_the_reason() -> None:
    apart = deltas(sample("best", factors=np.ones(6), shift=40), sample("w", factors=np.ones(6)))
    assert apart.bd_rate.value is None and apart.segments == ()
    assert "do not overlap" in apart.reason
    short = Sample("short", np.ones((6, 3)) * [1, 2, 3], np.ones((6, 3)) * [30, 31, 32])
    assert "short has 3 points" in deltas(short, sample("w", factors=np.ones(6))).reason


def test_draws_that_cannot_be_compared_withhold_the_interval() -> None:
    # One picture alone keeps the averages monotone; a draw without it has no curve.
    flat = np.tile(QUALITIES[:1], (6, 5))
    flat[0] += np.arange(5.0) * 20
    found = deltas(Sample("fragile", np.tile(RATES, (6, 1)), flat), steep(), resamples=100)
    assert found.bd_rate.value is not None
    assert found.bd_rate.low is None


def steep() -> Sample:
    return Sample("steep", np.tile(RATES, (6, 1)), np.tile(np.linspace(25, 45, 5), (6, 1)))


def test_a_quarter_that_the_rival_has_in_part_has_no_value() -> None:
    """Nothing is extrapolated, and no quarter is judged by a part of it."""
    short = sample("short", factors=np.ones(8))
    short = Sample("short", short.bpp[:, 1:], short.quality[:, 1:])  # nothing below 30 dB
    found = deltas(sample("ours", factors=np.full(8, 1.1)), short, resamples=50)
    assert [segment.bd_rate.value is None for segment in found.segments] == [
        True,
        True,
        False,
        False,
    ]
    assert found.range_bpp == pytest.approx((1.1 * RATES[1], 1.1 * RATES[-1]))
    values = [segment.bd_rate.value for segment in found.segments[2:]]
    assert values == pytest.approx([10.0, 10.0], abs=0.5)


@pytest.mark.parametrize(("metric", "values"), [("ms-ssim", (0.9, 0.99)), ("lpips", (0.4, 0.01))])
def test_averages_are_taken_before_decibels(metric: Metric, values: tuple[float, ...]) -> None:
    """As publications do; the average of decibels would favour uneven codecs."""
    raw = np.tile(np.linspace(values[0], values[1], 5), (2, 1))
    raw[1] -= 0.004
    curve = Sample("x", np.tile(RATES, (2, 1)), raw, metric).curve()
    assert curve.psnr == pytest.approx([to_db(metric, mean) for mean in raw.mean(axis=0)])
    each = np.mean([[to_db(metric, value) for value in row] for row in raw], axis=0)
    assert abs(curve.psnr[-1] - each[-1]) > 0.05


def test_segments_of_published_curves_lie_around_the_whole() -> None:
    anchors = kodak_anchors()
    webp = Sample("WebP", np.array([anchors["WebP"].bpp]), np.array([anchors["WebP"].psnr]))
    found = deltas(webp, anchors["VTM"])
    parts = [segment.bd_rate.value for segment in found.segments]
    assert len(parts) == 4
    assert found.bd_rate.value == pytest.approx(78.7, abs=0.1)
    assert min(parts) < found.bd_rate.value < max(parts)

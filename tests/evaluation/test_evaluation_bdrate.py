import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcodec.errors import UsageError
from promptcodec.evaluation.anchors import kodak_anchors
from promptcodec.evaluation.bdrate import Curve, bd_psnr, bd_rate

RATES = (0.1, 0.2, 0.4, 0.8, 1.6)
QUALITIES = (27.0, 29.5, 32.5, 35.5, 39.0)
REFERENCE = Curve("reference", RATES, QUALITIES)


@pytest.mark.parametrize(
    ("codec", "expected"),
    [
        ("WebP", 78.7),
        ("JPEG", 208.5),
        ("AV1", 16.2),
        ("mbt2018-mean", 21.3),
        ("ELIC (paper)", -7.0),
    ],
)
def test_published_curves_against_vtm(codec: str, expected: float) -> None:
    anchors = kodak_anchors()
    assert bd_rate(anchors[codec], anchors["VTM"]) == pytest.approx(expected, abs=0.1)


@given(st.floats(0.5, 2.0))
def test_scaled_rates_give_that_bd_rate(factor: float) -> None:
    scaled = Curve("scaled", tuple(rate * factor for rate in RATES), QUALITIES)
    assert bd_rate(scaled, REFERENCE) == pytest.approx(100 * (factor - 1), abs=1e-6)
    # There and back is no change, whatever the curves.
    there, back = bd_rate(scaled, REFERENCE) / 100, bd_rate(REFERENCE, scaled) / 100
    assert (1 + there) * (1 + back) == pytest.approx(1, abs=1e-9)


@given(st.floats(-3.0, 3.0))
def test_shifted_quality_gives_that_bd_psnr(shift: float) -> None:
    shifted = Curve("shifted", RATES, tuple(quality + shift for quality in QUALITIES))
    assert bd_psnr(shifted, REFERENCE) == pytest.approx(shift, abs=1e-9)


def test_only_the_common_range_counts() -> None:
    # Twice the rate where the curves overlap, absurd above it.
    longer = Curve(
        "longer",
        (*(2 * rate for rate in RATES), 90.0),
        (*QUALITIES, 39.5),
    )
    shorter = Curve("shorter", RATES[:4], QUALITIES[:4])
    longer_exact = Curve("exact", tuple(2 * rate for rate in RATES[:4]), QUALITIES[:4])
    assert bd_rate(longer_exact, shorter) == pytest.approx(100, abs=1e-6)
    # PCHIP is local, so the far point moves only the slope at the end.
    assert bd_rate(longer, shorter) == pytest.approx(100, abs=1.0)


def test_points_may_come_in_any_order() -> None:
    backwards = Curve("backwards", RATES[::-1], QUALITIES[::-1])
    assert backwards.bpp == RATES
    assert bd_rate(backwards, REFERENCE) == 0.0


def test_psnr_at_meets_the_points_and_stays_between_them() -> None:
    assert [REFERENCE.psnr_at(rate) for rate in RATES] == pytest.approx(QUALITIES)
    assert 29.5 < REFERENCE.psnr_at(0.3) < 32.5
    straight = Curve("straight", (0.1, 1.0, 10.0), (30.0, 35.0, 40.0))
    assert straight.psnr_at(math.sqrt(0.1)) == pytest.approx(32.5)  # linear in log(bpp)


@pytest.mark.parametrize("rate", [0.09, 1.7])
def test_psnr_at_does_not_extrapolate(rate: float) -> None:
    with pytest.raises(UsageError, match=f"{rate} bpp is outside curve reference"):
        REFERENCE.psnr_at(rate)


@pytest.mark.parametrize(
    ("rates", "qualities", "says"),
    [
        (RATES, (27.0, 29.5, 29.5, 35.5, 39.0), r"\(0.2 bpp, 29.5 dB\) and \(0.4 bpp, 29.5 dB\)"),
        (RATES, (27.0, 29.5, 28.0, 35.5, 39.0), "not strictly monotone between"),
        ((0.1, 0.2, 0.2, 0.8, 1.6), QUALITIES, r"\(0.2 bpp, 29.5 dB\) and \(0.2 bpp, 32.5 dB\)"),
        ((0.0, 0.2, 0.4, 0.8, 1.6), QUALITIES, "not finite and positive"),
        (RATES, (27.0, 29.5, 32.5, 35.5, math.inf), "not finite and positive"),
        (RATES, QUALITIES[:4], "5 rates and 4 PSNRs"),
        ((0.1,), (30.0,), "at least 2"),
    ],
)
def test_curves_that_cannot_be_interpolated_are_refused(
    rates: tuple[float, ...], qualities: tuple[float, ...], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        Curve("odd", rates, qualities)


def test_without_a_common_range_there_is_no_delta() -> None:
    better = Curve("better", RATES, tuple(np.add(QUALITIES, 20).tolist()))
    with pytest.raises(UsageError, match=r"better \(47 to 59 dB\) and reference.*do not overlap"):
        bd_rate(better, REFERENCE)
    dearer = Curve("dearer", tuple(np.multiply(RATES, 100).tolist()), QUALITIES)
    with pytest.raises(UsageError, match=r"bpp.*do not overlap"):
        bd_psnr(dearer, REFERENCE)


def test_three_points_are_too_few() -> None:
    short = Curve("short", RATES[:3], QUALITIES[:3])
    for pair in ((short, REFERENCE), (REFERENCE, short)):
        with pytest.raises(UsageError, match="short has 3 points"):
            bd_rate(*pair)

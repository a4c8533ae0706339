import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptcodec.errors import ShapeError, UsageError
from promptcodec.evaluation.metrics import MAX_PSNR, bpp, psnr


def flat(value: int, shape: tuple[int, int, int] = (4, 5, 3)) -> np.ndarray:
    return np.full(shape, value, np.uint8)


@given(st.integers(0, 255), st.integers(0, 255))
def test_psnr_of_a_constant_difference_by_hand(a: int, b: int) -> None:
    expected = MAX_PSNR if a == b else 20 * math.log10(255 / abs(a - b))
    assert psnr(flat(a), flat(b)) == pytest.approx(expected, abs=1e-9)


def test_psnr_weighs_the_three_channels_alike() -> None:
    decoded = flat(10)
    decoded[..., 1] += 3  # mse = 9 / 3
    assert psnr(flat(10), decoded) == pytest.approx(10 * math.log10(255**2 / 3), abs=1e-9)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_psnr_is_symmetric_and_finite(seed: int) -> None:
    a, b = np.random.default_rng(seed).integers(0, 256, (2, 3, 2, 3), np.uint8)
    assert psnr(a, b) == psnr(b, a) <= MAX_PSNR


@pytest.mark.parametrize(
    ("original", "decoded", "says"),
    [
        (flat(1), flat(1, (4, 4, 3)), "crop"),
        (flat(1).astype(np.float32), flat(1), "original is float32"),
        (flat(1), flat(1)[..., 0], "decoded is uint8"),
        (flat(1)[:0], flat(1)[:0], "original"),
    ],
)
def test_psnr_refuses_what_it_cannot_compare(
    original: np.ndarray, decoded: np.ndarray, says: str
) -> None:
    with pytest.raises(ShapeError, match=says):
        psnr(original, decoded)


def test_bpp_counts_bits_of_the_file_over_pixels_of_the_picture() -> None:
    assert bpp(49152, width=768, height=512) == 1.0
    with pytest.raises(UsageError, match="0x5"):
        bpp(10, width=0, height=5)

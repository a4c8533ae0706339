"""Squared error and PSNR of 8-bit pictures, and the least side that MS-SSIM needs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LEAST_ERROR = 0.25  # squared levels, half a level in one sample: the error of a lossless picture
MS_SSIM_SIDE = 161  # px, least side for five scales with a window of 11


def squared_error(rgb: NDArray[np.uint8], shown: NDArray[np.uint8], *, grey: bool = False) -> float:
    """Sum of squared errors over all samples, in squared levels.

    Args:
        rgb: original, (H, W, 3).
        shown: decoded picture of the same shape.
        grey: whether to compare with the rounded mean of the decoded channels, as for grey files.
    """
    decoded = (shown.sum(axis=2, keepdims=True, dtype=np.int16) + 1) // 3 if grey else shown
    # Integer squares keep the sum exact, in less memory than float64.
    difference = rgb.astype(np.int16) - decoded
    return float(np.square(difference, dtype=np.int32).sum(dtype=np.float64))


def psnr_of(error: float, samples: int) -> float:
    """PSNR, dB, from a sum of squared errors and the number of samples."""
    return 10.0 * math.log10(255.0**2 * samples / max(error, LEAST_ERROR))

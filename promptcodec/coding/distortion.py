"""Squared error and PSNR of 8-bit pictures."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LEAST_ERROR = 0.25  # squared levels: a lossless picture counts as half a level off in one sample


def squared_error(rgb: NDArray[np.uint8], shown: NDArray[np.uint8], *, grey: bool = False) -> float:
    """Sum over all samples, in squared levels.

    Args:
        rgb: original, (H, W, 3).
        shown: decoded, same shape.
        grey: compare with one channel, the rounded mean, which a decoder of a grey picture gives.
    """
    decoded = (shown.sum(axis=2, keepdims=True, dtype=np.int16) + 1) // 3 if grey else shown
    # Integer squares keep the sum exact at a quarter of the memory that float64 takes.
    difference = rgb.astype(np.int16) - decoded
    return float(np.square(difference, dtype=np.int32).sum(dtype=np.float64))


def psnr_of(error: float, samples: int) -> float:
    """PSNR, dB, of a sum of squared errors over so many samples."""
    return 10.0 * math.log10(255.0**2 * samples / max(error, LEAST_ERROR))

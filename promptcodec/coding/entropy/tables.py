"""Log-spaced scale tables: density and integer frequencies of a table index.

Index i is a Gaussian of standard deviation SCALE_MIN * exp(i * SCALE_STEP), so multiplying a latent
by a gain adds log(gain) / SCALE_STEP to its index. Frequencies are integers over 2^16, computed
once and stored in the checkpoint; no decoder computes them.
"""

from __future__ import annotations

import functools
import math

import numpy as np

NUM_SCALES = 64
Z_MIN, Z_MAX = -128, 127  # of z_hat
SCALE_MIN = 0.11  # at this deviation all but 5e-6 of the mass rounds to zero
SCALE_MAX = 100.0
SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (NUM_SCALES - 1)
PRECISION = 16  # bits of a frequency table
TOTAL = 1 << PRECISION
TAIL = 5.0  # standard deviations in a table; symbols beyond are escaped


def scales() -> np.ndarray:
    """Standard deviation of each index, (64,) float64."""
    return SCALE_MIN * np.exp(SCALE_STEP * np.arange(NUM_SCALES))


@functools.cache
def table_range(index: int) -> int:
    """Largest |symbol| that table `index` holds; larger ones are escaped."""
    # Without the offset, a rounding error could make the last table's 500 a 501.
    return math.ceil(TAIL * float(scales()[index]) - 1e-6)


def quantise_frequencies(probabilities: np.ndarray) -> np.ndarray:
    """Quantise probabilities to integer frequencies >= 1 that sum to 2^16.

    The remainder is added to the most probable symbol, where it costs least.
    """
    p = np.maximum(probabilities.astype(np.float64), 0.0)
    p = p / p.sum()
    spare = TOTAL - len(p)
    if spare < 0:
        raise ValueError(f"{len(p)} symbols do not fit in a table of {TOTAL}")
    frequencies = np.floor(p * spare).astype(np.int64) + 1
    tops = np.flatnonzero(frequencies == frequencies.max())
    frequencies[tops[len(tops) // 2]] += TOTAL - int(frequencies.sum())  # the middle: symmetric
    return frequencies.astype(np.uint32)


def gaussian_probabilities(sigma: float, radius: int) -> np.ndarray:
    """P(-radius..radius) of a rounded Gaussian and, last, of everything beyond it."""
    upper = [
        0.5 * math.erfc(-(k + 0.5) / (sigma * math.sqrt(2.0)))
        for k in range(-radius - 1, radius + 1)
    ]
    inside = np.diff(np.array(upper))
    inside = 0.5 * (inside + inside[::-1])  # exact symmetry
    escape = math.erfc((radius + 0.5) / (sigma * math.sqrt(2.0)))
    return np.append(inside, escape)


def gaussian_table(index: int) -> np.ndarray:
    """Frequencies of table `index`: symbols -R..R, then the escape symbol; (2R + 2,) uint32."""
    return quantise_frequencies(gaussian_probabilities(float(scales()[index]), table_range(index)))

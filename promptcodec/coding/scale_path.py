"""The exact integer path from z to table indexes, in numpy; FORMAT.md specifies it.

    z_hat -> [3x3, round, clamp, pixel shuffle] at 1/64 and 1/32 -> 1x1 at 1/16 -> table indexes

Every number is an integer below 2^53 held in float64, so the result is exact on any machine, with
any number of threads and any order of summation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptcodec.coding.entropy.tables import NUM_SCALES, Z_MIN
from promptcodec.config import CodecConfig

ACTIVATION_BITS = 8  # fraction bits of an activation
WEIGHT_BITS = 14  # fraction bits of a weight
INDEX_BITS = 4  # the last layer counts in 16 table steps
ACTIVATION_MAX = (1 << 16) - 1  # activations are unsigned 16-bit integers after the ReLU
MAX_EXACT = 2**53  # integers up to here are exact in float64, whatever the order of a sum
INDEX_ROOM = 32  # indexes below the first table that the path may give, for gains to lift

Layers = Sequence[tuple[NDArray[np.int32], NDArray[np.int64]]]  # weight (out, in * k * k), bias


def layer_shapes(config: CodecConfig) -> list[tuple[int, int]]:
    """Shape of the weight of each layer."""
    width, inputs, outputs = config.scale_channels, config.z_channels, config.latent_channels
    return [(4 * width, 9 * inputs), (4 * width, 9 * width), (outputs, width)]


def exactness_bound(layers: Layers) -> int:
    """Largest |sum| that any output of the path can reach; must stay below 2^53."""
    largest, x_max = 0, -Z_MIN << ACTIVATION_BITS
    rounding = 1 << (WEIGHT_BITS + ACTIVATION_BITS)
    for weight, bias in layers:
        # Python integers: the check itself must not overflow.
        rows = np.abs(weight.astype(np.float64)).sum(axis=1) * x_max
        largest = max(largest, *(int(sum_) for sum_ in np.ceil(rows + np.abs(bias.astype(float)))))
        x_max = ACTIVATION_MAX
    return largest + rounding


def table_indexes(z_hat: NDArray[np.integer], layers: Layers) -> NDArray[np.int32]:
    """Run the path.

    Args:
        z_hat: integers in [-128, 127], (B, Cz, h, w).
        layers: integer weights and biases of a base.
    Returns:
        Table indexes before gains and clamping, (B, M, 4 h, 4 w).
    """
    return np.stack([_of_one(z, layers) for z in z_hat])


def _of_one(z_hat: NDArray[np.integer], layers: Layers) -> NDArray[np.int32]:
    x = z_hat.astype(np.float64) * (1 << ACTIVATION_BITS)
    for weight, bias in layers[:-1]:
        x = _convolve(x, weight, bias)
        _round(x, WEIGHT_BITS, 0, ACTIVATION_MAX)
        x = _pixel_shuffle(x)
    x = _convolve(x, *layers[-1])
    _round(x, WEIGHT_BITS + ACTIVATION_BITS - INDEX_BITS, -INDEX_ROOM, 2 * NUM_SCALES)
    return x.astype(np.int32)


def _round(x: NDArray[np.float64], bits: int, low: int, high: int) -> None:
    """Replace x by x / 2^bits, rounded half up and clamped."""
    x += float(1 << (bits - 1))
    x /= 1 << bits
    np.floor(x, out=x)
    np.clip(x, low, high, out=x)


def _convolve(
    x: NDArray[np.float64], weight: NDArray[np.int32], bias: NDArray[np.int64]
) -> NDArray[np.float64]:
    """1x1 or 3x3 convolution of (C, h, w) with a repeated border, as a matrix product."""
    channels, height, width = x.shape
    columns = x
    if weight.shape[1] != channels:
        around = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
        columns = np.stack(
            [around[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=1
        )
    product = weight.astype(np.float64) @ columns.reshape(weight.shape[1], -1)
    product += bias[:, None]
    return product.reshape(-1, height, width)


def _pixel_shuffle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4 C, h, w) to (C, 2 h, 2 w)."""
    channels, height, width = x.shape
    x = x.reshape(-1, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
    return x.reshape(channels // 4, 2 * height, 2 * width)

"""Latents of a picture, as arrays or, inside a network, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from promptcodec.coding.tiling import Box
from promptcodec.config import LATENT_STRIDE

Array = TypeVar("Array")


@dataclass(frozen=True, eq=False)
class Latents(Generic[Array]):
    """Quantised latents, and y_hat that the decoder reconstructs from them.

    Args:
        z_hat: integers in [-128, 127], (B, Cz, H/64, W/64).
        indexes: table index of each symbol, uint8, (B, M, H/16, W/16).
        symbols: quantised residuals r, int32, same shape.
        y_hat: reconstructed latents, float32, same shape.
    """

    z_hat: Array
    indexes: Array
    symbols: Array
    y_hat: Array


def inside(y_hat: Array, *, height: int, width: int) -> Array:
    """Latents (B, M, h, w) of a picture without those that lie in its padding alone.

    Args:
        y_hat: latents of the padded picture.
        height: rows of the picture, px.
        width: columns of the picture, px.
    """
    rows, columns = -(-height // LATENT_STRIDE), -(-width // LATENT_STRIDE)
    return y_hat[:, :, :rows, :columns]  # type: ignore[index]


def blank_latents(box: Box, channels: int) -> NDArray[np.float32]:
    """y_hat of a rectangle, zeros (1, M, h, w); channels last in memory, for faster networks."""
    shape = (1, box.height // LATENT_STRIDE, box.width // LATENT_STRIDE, channels)
    return np.zeros(shape, np.float32).transpose(0, 3, 1, 2)

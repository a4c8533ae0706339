"""What is written of a picture, as arrays or, inside a network, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Array = TypeVar("Array")


@dataclass(frozen=True, eq=False)
class Latents(Generic[Array]):
    """Everything that is written, and what the decoder makes of it.

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

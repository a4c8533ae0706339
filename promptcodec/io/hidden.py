"""Colour of pixels that alpha hides: nobody sees it, so it is what costs the fewest bits.

visible pixels -> means of 2x2, again and again -> each hidden pixel gets the nearest mean there is
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MIDDLE = 128  # level where nothing is visible


def continue_colour(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Pixels whose visible colours go on below an alpha of 0.

    Args:
        rgb: (H, W, 3); it is left as it was.
        alpha: (H, W); None hides nothing.
    """
    if alpha is None or alpha.all():
        return rgb
    visible = (alpha > 0)[:, :, None]
    if not visible.any():
        return np.full_like(rgb, _MIDDLE)
    weight = visible.astype(np.float32)
    filled = _filled(rgb * weight, weight)
    return np.where(visible, rgb, np.rint(filled).astype(np.uint8))


def _filled(total: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means where there is a weight, smooth ones of coarser levels elsewhere.

    Args:
        total: weighted colours, (H, W, 3).
        weight: (H, W, 1), above 0 somewhere.
    """
    mean = np.divide(total, weight.clip(1e-6), dtype=np.float32)
    if (weight > 0).all():
        return mean
    height, width = weight.shape[:2]
    coarse = _filled(_halved(total), _halved(weight)).repeat(2, axis=0).repeat(2, axis=1)
    smooth = _smoothed(_smoothed(coarse, axis=0), axis=1)[:height, :width]
    return np.where(weight > 0, mean, smooth)


def _halved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 2x2; what is added at odd sides counts as nothing."""
    height, width, channels = values.shape
    even = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    return even.reshape(-(-height // 2), 2, -(-width // 2), 2, channels).mean(axis=(1, 3))


def _smoothed(values: NDArray[np.float32], *, axis: int) -> NDArray[np.float32]:
    """Each element with half of its neighbours along an axis."""
    border = [(1, 1) if each == axis else (0, 0) for each in range(values.ndim)]
    wide = np.pad(values, border, mode="edge")
    size = values.shape[axis]
    before, here, after = (wide.take(range(n, n + size), axis) for n in range(3))
    return (before + 2 * here + after) / np.float32(4)

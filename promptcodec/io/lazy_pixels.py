"""Pixels of a large picture, left where Pillow decoded them: a copy would double its memory."""

from __future__ import annotations

import numpy as np
from PIL import Image

STRIP = 64  # rows that are copied at a time


class Pixels:
    """Reads like an array (H, W, 3) uint8; what is asked for is copied, nothing else.

    Args:
        image: decoded; mode L, LA, RGB or RGBA.
    """

    def __init__(self, image: Image.Image) -> None:
        self.image = image

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, channels."""
        return (self.image.height, self.image.width, 3)

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        """Pixels of some rows and columns; three equal channels of a grey picture."""
        (top, bottom, _), (left, right, _) = (
            each.indices(size) for each, size in zip(part, self.shape, strict=False)
        )
        box = (left, top, right, bottom)
        whole = box == (0, 0, *self.image.size)
        planes = np.array(self.image if whole else self.image.crop(box))
        if self.image.mode in ("L", "LA"):
            return np.repeat(planes.reshape(*planes.shape[:2], -1)[:, :, :1], 3, axis=2)
        return np.ascontiguousarray(planes[:, :, :3])

    def alpha(self) -> np.ndarray | None:
        """(H, W) uint8, or None where the picture has none."""
        if self.image.mode not in ("LA", "RGBA"):
            return None
        height, width, _ = self.shape
        alpha = np.empty((height, width), np.uint8)
        for top in range(0, height, STRIP):
            strip = self.image.crop((0, top, width, min(top + STRIP, height)))
            alpha[top : top + STRIP] = np.asarray(strip)[:, :, -1]
        return alpha

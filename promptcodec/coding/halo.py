"""Windows of tiles that have exact neighbours.

    +-------+-------+-------+
    | exact : tile  :       |      The halo of a tile ends at an exact tile beside, above or below
    |       :.......:...    |      it, as it does at the border of the picture. In a corner of the
    +-------+----...+--+----+      window an exact tile counts as the nearest element of the tile
    |       :    halo  :    |      that is being made, for g_a and g_s alike.
    |       :..........:    |
    +-------+-------+-------+

The decoder has no latents of an exact tile, and the encoder does as the decoder does.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.coding.tiling import Box, Tiling


def window_beside(tiling: Tiling, number: int, band: Box, exact: Container[int]) -> Box:
    """Input of g_a and g_s for a band of a tile.

    Args:
        tiling: tiles of the picture.
        number: number of the tile.
        band: box of the band.
        exact: numbers of the exact tiles.
    """
    window, tile = tiling.window(band), tiling.tile(number)
    top, left, bottom, right = window.top, window.left, window.bottom, window.right
    for each in tiling.touching(window):
        if each not in exact:
            continue
        box = tiling.tile(each)
        if box.top == tile.top:
            left = max(left, box.right) if box.left < tile.left else left
            right = min(right, box.left) if box.left > tile.left else right
        if box.left == tile.left:
            top = max(top, box.bottom) if box.top < tile.top else top
            bottom = min(bottom, box.top) if box.top > tile.top else bottom
    return Box(top, left, bottom, right)


def fill_corners(
    values: NDArray[Any],
    window: Box,
    *,
    tiling: Tiling,
    number: int,
    exact: Container[int],
    stride: int = 1,
) -> None:
    """Overwrite the corners of a window that lie in exact tiles.

    Args:
        values: window, (B, channels, rows, columns).
        window: box of `window_beside`.
        tiling: tiles of the picture.
        number: number of the tile that is being made.
        exact: numbers of the exact tiles.
        stride: px for each element.
    """
    tile = tiling.tile(number)
    for each in tiling.touching(window):
        if each not in exact:
            continue
        part = tiling.tile(each).within(window)
        rows = np.arange(part.top, part.bottom, stride).clip(tile.top, tile.bottom - stride)
        columns = np.arange(part.left, part.right, stride).clip(tile.left, tile.right - stride)
        rows, columns = (rows - window.top) // stride, (columns - window.left) // stride
        here = part.slices(window, stride=stride)
        values[:, :, here[0], here[1]] = values[:, :, rows[:, None], columns]

"""Latents of a whole stream: those that it has, and for exact tiles those of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from promptcodec.bitstream import ExactTile
from promptcodec.coding.decoder import TileDecoder
from promptcodec.coding.encoder import CodingPoint, PreparedPicture, default_tile_size
from promptcodec.coding.latents import Latents
from promptcodec.coding.tiling import Tiling
from promptcodec.io.pictures import Picture


def latents_of_stream(decoder: TileDecoder) -> Latents[Any]:
    """Latents of the picture of a stream, assembled from those of its tiles.

    Raises:
        StreamError: a tile is incomplete or damaged.
    """
    return _joined(
        [_latents_of(decoder, number) for number in range(len(decoder.tiling))],
        columns=decoder.tiling.grid[1],
    )


def _latents_of(decoder: TileDecoder, number: int) -> Latents[Any]:
    tile = decoder.read_tile(number)
    if not isinstance(tile, ExactTile):
        return decoder.latents_of(number, tile)
    picture = Picture(decoder.exact_pixels(number, tile))
    size = default_tile_size(picture.width, picture.height)
    tiling = Tiling(picture.width, picture.height, size, decoder.tiling.halo)
    prepared = PreparedPicture(decoder.engine, picture, tiling)
    point = CodingPoint(replace(decoder.point, gains=decoder.gains), rate=0)
    numbers = range(len(tiling))
    return _joined([prepared.latents_of(n, point) for n in numbers], columns=tiling.grid[1])


def _joined(parts: Sequence[Latents[Any]], *, columns: int) -> Latents[Any]:
    """Latents of a grid of tiles in raster order."""
    joined = {}
    for name in vars(parts[0]):
        arrays = [getattr(part, name) for part in parts]
        grid = [arrays[start : start + columns] for start in range(0, len(arrays), columns)]
        joined[name] = np.block(grid) if len(arrays) > 1 else arrays[0]
    return Latents(**joined)

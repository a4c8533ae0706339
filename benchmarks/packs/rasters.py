"""Tiles of satellite and aerial photographs.

A raster is a `picture` of 8 bits, or has its red, green and blue from three `bands`, each stretched
from its own 2nd to 98th percentile over the whole raster to 0..255. A band is "path" or
"path:number", counted from 1; `nodata` is the value of all three where nothing was seen. A raster,
or the `box` (left, top, right, bottom) in it, is cut in equal tiles of at most 512 px. Those with a
pixel without data are left out; `tiles` is how many of the others are drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.second_set import find

MOST = 512  # px of an edge
PERCENTILES = (2, 98)


def drawn_tiles(
    folder: Path, rasters: list[dict[str, Any]], *, seed: int
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Path and pixels of tiles, in a random order within each raster.

    Args:
        folder: unpacked package.
        rasters: those of a source.
        seed: seed of the order.
    """
    for facts in rasters:
        path, pixels, seen = read(folder, facts)
        name = path.relative_to(folder).as_posix()
        grid = list(tiles(facts.get("box", (0, 0, seen.shape[1], seen.shape[0]))))
        drawn = (grid[at] for at in np.random.default_rng(seed).permutation(len(grid)))
        whole = ((rows, columns) for rows, columns in drawn if seen[rows, columns].all())
        for rows, columns in islice(whole, facts.get("tiles")):
            tile = np.ascontiguousarray(pixels[rows, columns])
            place = f"{columns.start},{rows.start},{tile.shape[1]},{tile.shape[0]}"
            yield f"{name}#xywh={place}", tile


def read(folder: Path, facts: dict[str, Any]) -> tuple[Path, NDArray[np.uint8], NDArray[np.bool_]]:
    """Path, pixels (H, W, 3) and where there are data (H, W) of a raster."""
    if "picture" in facts:
        path = find(folder, facts["picture"])
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        return path, pixels, np.ones(pixels.shape[:2], bool)
    places = [text.partition(":") for text in facts["bands"]]
    paths = [find(folder, path) for path, _, _ in places]
    numbers = [int(number or 1) for _, _, number in places]
    values = np.stack([read_band(*band) for band in zip(paths, numbers, strict=True)], axis=2)
    seen = (values != facts.get("nodata", np.nan)).any(axis=2) & np.isfinite(values).all(axis=2)
    return paths[0], stretched(values, seen), seen


def read_band(path: Path, number: int) -> NDArray[Any]:
    """Values of one band of a TIFF file, (H, W)."""
    try:
        import imagecodecs  # noqa: F401  # type: ignore[import-not-found]
        import tifffile  # type: ignore[import-not-found]
    except ImportError:
        sys.exit("rasters need tifffile and imagecodecs: pip install tifffile imagecodecs")
    values = tifffile.imread(path, key=0)
    return values if values.ndim == 2 else values[..., number - 1]


def stretched(values: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Bands of any type as levels 0..255.

    Args:
        values: bands, (H, W, 3).
        seen: where there are data, (H, W); elsewhere the levels mean nothing.
    """
    low, high = np.percentile(values[seen].astype(np.float64), PERCENTILES, axis=0)
    shares = (np.where(seen[..., None], values, low) - low) / np.maximum(high - low, 1e-9)
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def tiles(box: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of equal tiles; what is left over at the right and below is left out.

    Args:
        box: left, top, right and bottom, px.
    """
    left, top, right, bottom = box
    across, down = -(-(right - left) // MOST), -(-(bottom - top) // MOST)
    wide, tall = (right - left) // across, (bottom - top) // down
    for y in range(top, top + down * tall, tall):
        for x in range(left, left + across * wide, wide):
            yield slice(y, y + tall), slice(x, x + wide)

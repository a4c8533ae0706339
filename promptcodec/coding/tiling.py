"""Tiles of a large picture, which are coded, and windows around them, which are transformed.

    +-----------+-----------+
    |           |           |      a tile's latents, z and y, are coded without its neighbours;
    |     +.....|.....+     |      g_a and g_s run on a band of the tile and a halo around it,
    |     :  window   :     |      so that no seam is visible; outputs of the halo are
    +-----+-----------+-----+      dropped

Tiles begin at multiples of 64 px, as the windows of every Swin stage do, so the window of a token
is the same in a tile and in the whole picture; only influence from beyond the halo is missing. All
sizes are those of the padded picture, in px.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from promptcodec.bitstream import Header, tile_grid_of
from promptcodec.config import TILE_STRIDE, CodecConfig

BAND = 512  # rows of a tile, px, in one pass of the networks; bounds the memory


@dataclass(frozen=True)
class Box:
    """A rectangle, px.

    Args:
        top: first row.
        left: first column.
        bottom: row after the last.
        right: column after the last.
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def area(self) -> int:
        """Pixels."""
        return self.width * self.height

    def grown(self, border: int) -> Box:
        """The box with a border on every side."""
        return Box(self.top - border, self.left - border, self.bottom + border, self.right + border)

    def within(self, other: Box) -> Box:
        """Intersection of both; an empty one has no rows or no columns."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Box(top, left, max(top, bottom), max(left, right))

    def slices(self, origin: Box, *, stride: int = 1) -> tuple[slice, slice]:
        """Rows and columns of this box in an array of the pixels of `origin`.

        Args:
            origin: box of the array.
            stride: px for each element of the array.
        """
        return (
            slice((self.top - origin.top) // stride, (self.bottom - origin.top) // stride),
            slice((self.left - origin.left) // stride, (self.right - origin.left) // stride),
        )


@dataclass(frozen=True)
class Tiling:
    """The tiles of a picture.

    Args:
        width: width of the picture, px.
        height: height of the picture, px.
        size: side of a tile, px, a multiple of 64; 0 is one tile.
        halo: border around a band in the input of g_a and g_s, px, from the config of the base.
    """

    width: int
    height: int
    size: int
    halo: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return tile_grid_of(self.width, self.height, self.size)

    @property
    def picture(self) -> Box:
        """The picture."""
        return Box(0, 0, self.height, self.width)

    @property
    def whole(self) -> Box:
        """The padded picture."""
        height, width = (-(-side // TILE_STRIDE) for side in (self.height, self.width))
        return Box(0, 0, height * TILE_STRIDE, width * TILE_STRIDE)

    @classmethod
    def of(cls, header: Header, config: CodecConfig) -> Tiling:
        """Tiles of a stream, with the halo of its base."""
        return cls(header.width, header.height, header.tile_size, config.halo)

    def __len__(self) -> int:
        rows, columns = self.grid
        return rows * columns

    def tile(self, number: int) -> Box:
        """Box of a tile in the padded picture."""
        if not self.size:
            return self.whole
        row, column = divmod(number, self.grid[1])
        top, left = row * self.size, column * self.size
        return Box(top, left, top + self.size, left + self.size).within(self.whole)

    def bands(self, number: int) -> Iterator[Box]:
        """Bands of a tile for g_a and g_s, from top to bottom; a single tile is one band."""
        tile = self.tile(number)
        rows = tile.height if len(self) == 1 else BAND
        for top in range(tile.top, tile.bottom, rows):
            yield Box(top, tile.left, min(top + rows, tile.bottom), tile.right)

    def window(self, band: Box) -> Box:
        """Input of g_a and g_s for a band: band and halo, inside the padded picture."""
        return band.grown(self.halo).within(self.whole)

    def touching(self, box: Box) -> Iterator[int]:
        """Numbers of the tiles that share pixels with a box, in raster order."""
        if not self.size:
            yield 0
            return
        rows, columns = self.grid
        inside = box.within(self.whole)
        for row in range(inside.top // self.size, min(rows, -(-inside.bottom // self.size))):
            for column in range(
                inside.left // self.size, min(columns, -(-inside.right // self.size))
            ):
                yield row * columns + column

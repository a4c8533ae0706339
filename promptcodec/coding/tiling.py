"""How a large picture is cut: tiles that are coded, and windows around them that are transformed.

    +-----------+-----------+
    |           |           |      a tile's latents, z and y, are coded without its neighbours;
    |     +.....|.....+     |      g_a and g_s run on a band of the tile and a halo around it,
    |     :  window   :     |      so that no seam shows; the halo's results are thrown
    +-----+-----------+-----+      away

Tiles lie on multiples of 64 px, where the windows of every Swin stage begin, so a token sees the
same window whether its picture is cut or not; only what reaches it through windows beyond the halo
differs. All sizes here are those of the padded picture, in px.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from promptcodec.bitstream import Header, tile_grid_of
from promptcodec.config import TILE_STRIDE, CodecConfig

BAND = 512  # rows of a tile, px, that the networks see at a time: they bound the memory


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
        """With a border on every side."""
        return Box(self.top - border, self.left - border, self.bottom + border, self.right + border)

    def within(self, other: Box) -> Box:
        """What lies in both; empty boxes have no rows or no columns."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Box(top, left, max(top, bottom), max(left, right))

    def slices(self, origin: Box, *, stride: int = 1) -> tuple[slice, slice]:
        """Rows and columns of this box in an array that begins where `origin` does.

        Args:
            origin: what the array covers.
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
        width: of the picture, px.
        height: of the picture, px.
        size: side of a tile, px, a multiple of 64; 0 is one tile.
        halo: px that g_a and g_s see around a band, as the config of the base says.
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
    def whole(self) -> Box:
        """The padded picture."""
        height, width = (-(-side // TILE_STRIDE) for side in (self.height, self.width))
        return Box(0, 0, height * TILE_STRIDE, width * TILE_STRIDE)

    @classmethod
    def of(cls, header: Header, config: CodecConfig) -> Tiling:
        """Tiles of a stream as its base sees them."""
        return cls(header.width, header.height, header.tile_size, config.halo)

    def __len__(self) -> int:
        rows, columns = self.grid
        return rows * columns

    def tile(self, number: int) -> Box:
        """Where a tile lies in the padded picture."""
        if not self.size:
            return self.whole
        row, column = divmod(number, self.grid[1])
        top, left = row * self.size, column * self.size
        return Box(top, left, top + self.size, left + self.size).within(self.whole)

    def bands(self, number: int) -> Iterator[Box]:
        """What g_a and g_s make at a time of a tile, from top to bottom; of a single one all."""
        tile = self.tile(number)
        rows = tile.height if len(self) == 1 else BAND
        for top in range(tile.top, tile.bottom, rows):
            yield Box(top, tile.left, min(top + rows, tile.bottom), tile.right)

    def window(self, band: Box) -> Box:
        """What g_a and g_s see for a band: it and its halo, inside the padded picture."""
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

"""Decoder of pixels, a row of tiles at a time: memory is bounded by a row, not by the picture.

Tile -> y_hat of this row and the next -> window of y_hat -> g_s -> the tile's pixels
exact tile -> WebP decoder -> the tile's pixels

A picture of one tile has one window, the whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream import AnyTile, ExactTile, Header, StreamFile, Tile, decoded_pixels
from promptcodec.coding.adapter import RatePoint
from promptcodec.coding.engine import Engine
from promptcodec.coding.entropy import rans
from promptcodec.coding.gains import Gains
from promptcodec.coding.halo import fill_corners, window_beside
from promptcodec.coding.latents import Latents, blank_latents
from promptcodec.coding.settings import Region
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.config import LATENT_STRIDE, TILE_STRIDE
from promptcodec.errors import StreamError, UsageError
from promptcodec.io.alpha import decode_alpha
from promptcodec.io.exact import decode_exact
from promptcodec.io.metadata import stored_resolution
from promptcodec.io.pictures import Picture, Pixels

MISSING = 128  # grey level of a missing tile

OnStage = Callable[[str], None]  # name of the part that is done


@dataclass(eq=False)
class TileDecoder:
    """Pixels from tiles, a row of them at a time.

    Args:
        engine: networks of the base.
        point: position of the ladder that the stream was coded at.
        gains: log-gains of the stream.
        tiling: tiles of the picture.
        read_tile: function from the number of a tile to its payload; raises StreamError for an
            incomplete one.
        exact: numbers of the exact tiles.
        allow_partial: whether an incomplete tile becomes grey; otherwise its error is raised.
        on_stage: function that receives the name of each part when it is done.
    """

    engine: Engine
    point: RatePoint
    gains: Gains
    tiling: Tiling
    read_tile: Callable[[int], AnyTile]
    exact: frozenset[int] = frozenset()
    allow_partial: bool = False
    on_stage: OnStage = lambda _: None
    missing: set[int] = field(default_factory=set)
    _rows: dict[int, tuple[Box, NDArray[Any]]] = field(default_factory=dict)  # y_hat, by their top
    _columns: tuple[int, int] = (0, 0)  # px, those of the rows
    _exact: dict[int, NDArray[np.uint8]] = field(default_factory=dict)  # of a row, by number
    _decoded: set[int] = field(default_factory=set)

    def rows(self, region: Box) -> Iterator[NDArray[np.uint8]]:
        """Pixels of a region, from top to bottom, one row of tiles after the other.

        Args:
            region: rectangle inside the picture, px.
        Yields:
            (rows, region.width, 3) uint8; together region.height rows.
        Raises:
            StreamError: a tile is incomplete, its payload does not hold exactly its symbols, or an
                exact tile is none.
        """
        tiles: dict[int, list[int]] = {}
        for number in self.tiling.touching(region):
            tiles.setdefault(self.tiling.tile(number).top, []).append(number)
        self._columns = self._columns_around(region)
        for numbers in tiles.values():
            for bands in zip(*map(self.tiling.bands, numbers), strict=True):
                if bands[0].within(region).height:
                    yield self._pixels_of_row(dict(zip(numbers, bands, strict=True)), region)
            self._exact.clear()
            self._drop_rows_above(self.tiling.tile(numbers[0]).bottom - self.tiling.halo)

    def _columns_around(self, region: Box) -> tuple[int, int]:
        """First column, and that after the last, of the tiles of a region and their neighbours."""
        tiles = [self.tiling.tile(number) for number in self.tiling.touching(region)]
        own = Box(tiles[0].top, tiles[0].left, tiles[-1].bottom, tiles[-1].right)
        around = [self.tiling.tile(n) for n in self.tiling.touching(own.grown(self.tiling.halo))]
        return around[0].left, around[-1].right

    def _pixels_of_row(self, bands: dict[int, Box], region: Box) -> NDArray[np.uint8]:
        first = next(iter(bands.values()))
        wanted = Box(first.top, region.left, first.bottom, region.right).within(region)
        pixels = None
        for number, band in bands.items():
            part = band.within(wanted)
            self._decode_tile(number)
            if number in self.missing:
                continue
            found = self._pixels(number, band, part)
            if part == wanted:  # a single tile
                return found
            if pixels is None:
                pixels = np.full((wanted.height, wanted.width, 3), MISSING, np.uint8)
            pixels[part.slices(wanted)] = found
        if pixels is None:
            return np.full((wanted.height, wanted.width, 3), MISSING, np.uint8)
        return pixels

    def _pixels(self, number: int, band: Box, part: Box) -> NDArray[np.uint8]:
        """A part of an exact tile, or of the output of g_s for the window of a band."""
        if number in self.exact:
            return self._exact[number][part.slices(self.tiling.tile(number))]
        window = window_beside(self.tiling, number, band, self.exact)
        y_hat = self._y_hat(number, window)
        rgb = self.engine.synthesise(y_hat, network=self.point.network)[0]
        self.on_stage("g_s")
        return rgb[part.slices(window)]

    def _y_hat(self, number: int, window: Box) -> NDArray[Any]:
        """y_hat of a window of a tile; zero where a tile is missing."""
        for each in self.tiling.touching(window):
            if each not in self.exact:
                self._decode_tile(each)
        if len(self.tiling) == 1:
            return self._rows[window.top][1]
        out = blank_latents(window, self.engine.config.codec.latent_channels)
        for box, y_hat in self._rows.values():
            part = box.within(window)
            rows, columns = part.slices(window, stride=LATENT_STRIDE)
            here = part.slices(box, stride=LATENT_STRIDE)
            out[:, :, rows, columns] = y_hat[:, :, here[0], here[1]]
        fill_corners(
            out,
            window,
            tiling=self.tiling,
            number=number,
            exact=self.exact,
            stride=LATENT_STRIDE,
        )
        return out

    def _decode_tile(self, number: int) -> None:
        """Decode the latents or pixels of a tile, unless they are decoded or missing."""
        if number in self._decoded or number in self._exact or number in self.missing:
            return
        try:
            tile = self.read_tile(number)
        except StreamError:
            if not self.allow_partial:
                raise
            self.missing.add(number)
            return
        if isinstance(tile, ExactTile):
            self._exact[number] = self.exact_pixels(number, tile)
            self.on_stage("exact")
            return
        y_hat, box = self.latents_of(number, tile).y_hat, self.tiling.tile(number)
        self._decoded.add(number)
        if len(self.tiling) == 1:
            self._rows[box.top] = box, y_hat
            return
        row = Box(box.top, self._columns[0], box.bottom, self._columns[1])
        if row.top not in self._rows:
            # One array for all tiles of a row: many small ones fragment the memory.
            channels = self.engine.config.codec.latent_channels
            self._rows[row.top] = row, blank_latents(row, channels)
        rows, columns = box.slices(row, stride=LATENT_STRIDE)
        self._rows[row.top][1][:, :, rows, columns] = y_hat

    def _drop_rows_above(self, above: int) -> None:
        """Drop rows of tiles that end above a row of pixels."""
        for top, (box, y_hat) in list(self._rows.items()):
            if box.bottom <= above:
                del self._rows[top]
            elif box.top < above:
                kept = Box(above, box.left, box.bottom, box.right)
                rows, _ = kept.slices(box, stride=LATENT_STRIDE)
                self._rows[top] = kept, y_hat[:, :, rows].copy(order="K")

    def latents_of(self, number: int, tile: Tile) -> Latents[Any]:
        """Decoded latents of one tile.

        Raises:
            StreamError: the payload does not hold exactly the symbols of the tile.
        """
        box = self.tiling.tile(number)
        return decode_together(
            self.engine,
            [tile],
            size=(box.height, box.width),
            point=self.point,
            gains=self.gains,
            on_stage=self.on_stage,
        )

    def exact_pixels(self, number: int, tile: ExactTile) -> NDArray[np.uint8]:
        """Pixels of an exact tile, inside the picture.

        Raises:
            StreamError: the payload is no file of that size, or is damaged.
        """
        box = self.tiling.tile(number).within(self.tiling.picture)
        return decode_exact(tile.webp, width=box.width, height=box.height)


def decode_together(
    engine: Engine,
    tiles: Sequence[Tile],
    *,
    size: tuple[int, int],
    point: RatePoint,
    gains: Gains,
    on_stage: OnStage = lambda _: None,
) -> Latents[Any]:
    """Decode the latents of tiles of one size at one rate.

    Args:
        engine: networks of the base.
        tiles: payloads of the tiles.
        size: height and width of a tile, px.
        point: position of the ladder that the streams were coded at.
        gains: log-gains of the streams.
        on_stage: function that receives the name of each part when it is done.
    Returns:
        Latents of the batch.
    Raises:
        StreamError: a payload does not hold exactly the symbols of its tile.
    """
    tables = engine.tables.with_sets(point.z_sets)
    channels = engine.config.codec.z_channels
    shape = (channels, -(-size[0] // TILE_STRIDE), -(-size[1] // TILE_STRIDE))
    z_hat = np.stack([rans.decode_z(tile.z, shape, tables) for tile in tiles])
    indexes = engine.indexes(z_hat, gains=gains)
    on_stage("scale_path")
    for tile, own in zip(tiles, indexes, strict=True):
        if zlib.crc32(own.tobytes()) != tile.index_crc:
            raise StreamError(
                "the table indexes do not match their checksum: the stream is damaged or was "
                "written by a faulty encoder; encode the picture again"
            )
    coded = [rans.decode_y(tile.y, own, tables) for tile, own in zip(tiles, indexes, strict=True)]
    symbols = np.stack(coded)
    on_stage("coding")
    y_hat = engine.reconstruct(z_hat, symbols, indexes, gains=gains, network=point.network)
    on_stage("context")
    return Latents(z_hat=z_hat, indexes=indexes, symbols=symbols, y_hat=y_hat)


def missing_parts(stream: StreamFile, tiles: set[int]) -> tuple[str, ...]:
    """Names of the tiles and chunks that are missing in a partial stream."""
    names = [f"tile {number}" for number in sorted(tiles)]
    for row in stream.header.chunks:
        try:
            stream.chunk(row.kind)
        except StreamError:
            names.append(f"chunk {row.kind.decode('ascii').strip()}")
    return tuple(names)


def check_region(region: Region | None, header: Header, *, max_pixels: int) -> Box:
    """Box of a region, or of the whole picture for None.

    Raises:
        UsageError: the region is not inside the picture.
        StreamError: its tiles have more than `max_pixels`, or the alpha of the picture.
    """
    if region is None:
        return Box(0, 0, header.height, header.width)
    if len(region) != 4 or not all(isinstance(value, Integral) for value in region):
        raise UsageError(f"region is {region}: give four whole numbers, x,y,width,height")
    x, y, width, height = region
    box = Box(y, x, y + height, x + width)
    if min(width, height) < 1 or box != box.within(Box(0, 0, header.height, header.width)):
        raise UsageError(
            f"region {x},{y},{width},{height} is not inside the picture of {header.width}x"
            f"{header.height} px: give x,y,width,height"
        )
    most = max(max_pixels, TILE_STRIDE**2)
    has_alpha = b"ALPH" in (chunk.kind for chunk in header.chunks)
    if has_alpha and decoded_pixels(header.width, header.height) > most:
        raise StreamError(
            f"the alpha of all {header.width}x{header.height} px is decoded for a region, over the "
            f"limit of {max_pixels}: if you trust the stream, raise --max-pixels"
        )
    tiling = Tiling(header.width, header.height, header.tile_size, halo=0)
    cost = sum(tiling.tile(n).height * tiling.tile(n).width for n in tiling.touching(box))
    if cost > most:
        raise StreamError(
            f"the region lies in tiles of {cost} px, over the limit of {max_pixels}: if you trust "
            "the stream, raise --max-pixels"
        )
    return box


def assemble_picture(
    pixels: NDArray[np.uint8] | Pixels, header: Header, chunks: Mapping[bytes, bytes], region: Box
) -> Picture:
    """Decoded pixels of a region, with alpha and metadata from the chunks of the stream."""
    alpha = None
    if b"ALPH" in chunks:
        alpha = decode_alpha(chunks[b"ALPH"], width=header.width, height=header.height)
        alpha = alpha[region.slices(Box(0, 0, header.height, header.width))]
    return Picture(
        pixels=pixels,
        grey=header.grey,
        alpha=alpha,
        icc=chunks.get(b"ICCP"),
        exif=chunks.get(b"EXIF"),
        xmp=chunks.get(b"XMP "),
        resolution=stored_resolution(chunks),
    )

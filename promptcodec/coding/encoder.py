"""Encoder: a picture is cut, analysed at a position of the ladder, and entropy-coded.

window of the picture -> g_a -> the tile's part of y -> hyperprior, context -> Tile -> container

A small picture is one tile, whose latents are kept for a search of the rate. A larger one has many
tiles, and latents of one at a time are in memory. See `tiling` for the cut, `decoder` for the
inverse.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec import bitstream
from promptcodec.bitstream import HASH_BYTES, MAX_TILES, AnyTile, Chunk, Container, ExactTile, Tile
from promptcodec.coding import memory_limit
from promptcodec.coding.adapter import RatePoint
from promptcodec.coding.decoder import OnStage, TileDecoder
from promptcodec.coding.distortion import psnr_of, squared_error
from promptcodec.coding.engine import Engine, Progress
from promptcodec.coding.entropy import rans
from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.gains import Gains, finer
from promptcodec.coding.halo import fill_corners, window_beside
from promptcodec.coding.latents import Latents, blank_latents
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.config import LATENT_STRIDE, TILE_STRIDE
from promptcodec.errors import PictureError, UsageError
from promptcodec.io.alpha import encode_alpha
from promptcodec.io.exif import exif_resolution
from promptcodec.io.hidden import continue_colour
from promptcodec.io.pictures import Picture

ONE_TILE_PIXELS = 1 << 22  # larger pictures are cut by default; a tile of this size takes 1 GB
TILE_SIZE = 512  # px, default of larger pictures; memory is proportional to its square


@dataclass(frozen=True, eq=False)
class CodingPoint:
    """A position on the ladder, in the units of a header.

    Args:
        rate_point: networks, gains and tables of the position.
        rate: position in 1/4096 of an index.
        gain: shift of every log-gain, in 1/256 of a table step.
    """

    rate_point: RatePoint
    rate: int
    gain: int = 0

    @property
    def gains(self) -> Gains:
        """Log-gains of the stream."""
        return self.rate_point.gains.shifted(self.gain)

    @property
    def lmbda(self) -> float:
        """Rate-distortion weight: cost = bits + lmbda * squared error of a channel, in levels."""
        return self.rate_point.lmbda * finer(self.gain)


@dataclass(frozen=True, eq=False)
class PreparedPicture:
    """A picture, checked and cut.

    Args:
        engine: networks of the base.
        picture: loaded picture.
        tiling: tiles of the picture.
        on_stage: function that receives "g_a" or "coding" when a part of either is done.
        exact: WebP files of the exact tiles, by number.
        cell: side of the squares whose bits are kept apart, px, a multiple of 64 that tiles
            consist of; 0 is one for each tile.
    """

    engine: Engine
    picture: Picture
    tiling: Tiling
    on_stage: OnStage = lambda _: None
    exact: Mapping[int, bytes] = field(default_factory=dict)
    cell: int = 0

    @property
    def is_tiled(self) -> bool:
        """Whether there are several tiles."""
        return len(self.tiling) > 1

    def window(self, box: Box) -> NDArray[np.uint8]:
        """Pixels of a window of the padded picture, (1, H, W, 3)."""
        rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
        part, alpha = self.picture.pixels[rows, columns], self.picture.alpha
        if self.is_tiled and alpha is not None:  # of one tile `prepare` has done so
            part = continue_colour(part, alpha[rows, columns])
        bottom, right = -part.shape[0] % TILE_STRIDE, -part.shape[1] % TILE_STRIDE
        if bottom or right:
            part = np.pad(part, ((0, bottom), (0, right), (0, 0)), mode="edge")
        return part[None]

    def encode_at(self, point: CodingPoint) -> Candidate:
        """The candidate at a position."""
        if self.is_tiled or self.exact:
            return Candidate(self, point, None)
        return encode_together([self], point)[0]

    def latents_of(self, tile: int, point: CodingPoint) -> Latents[Any]:
        """Latents of one of many tiles; only g_a has its neighbours as input."""
        box, network = self.tiling.tile(tile), point.rate_point.network
        y = blank_latents(box, self.engine.config.codec.latent_channels)
        for band in self.tiling.bands(tile):
            window = window_beside(self.tiling, tile, band, self.exact)
            pixels = self.window(window)
            if self.exact:
                pixels = pixels.copy()  # of a view of the picture
                planes = np.moveaxis(pixels, 3, 1)
                fill_corners(planes, window, tiling=self.tiling, number=tile, exact=self.exact)
            found = self.engine.analyse(pixels, network=network)
            rows, columns = band.slices(window, stride=LATENT_STRIDE)
            own_rows, own_columns = band.slices(box, stride=LATENT_STRIDE)
            y[:, :, own_rows, own_columns] = found[:, :, rows, columns]
        z = self.engine.hyper_analyse(y)
        return self.engine.quantise(y, z, gains=point.gains, network=network)


@dataclass(frozen=True, eq=False)
class OneTile:
    """Latents of a picture of one tile.

    Args:
        y: latents before rounding, (1, M, h, w).
        z: side information before rounding, (1, Cz, h / 4, w / 4).
        latents: quantised latents.
    """

    y: NDArray[Any]
    z: NDArray[Any]
    latents: Latents[Any]


@dataclass(frozen=True, eq=False)
class Candidate:
    """Encoding of a picture at one position.

    Args:
        prepared: prepared picture.
        point: position on the ladder.
        kept: latents of a picture of one tile; None for many, whose latents are made when coded.
    """

    prepared: PreparedPicture
    point: CodingPoint
    kept: OneTile | None

    @property
    def tables(self) -> EntropyTables:
        """Entropy tables of the position."""
        return self.prepared.engine.tables.with_sets(self.point.rate_point.z_sets)

    @property
    def latents(self) -> Latents[Any]:
        """Latents of a picture of one tile."""
        assert self.kept is not None
        return self.kept.latents

    @property
    def is_exact(self) -> bool:
        """Whether every tile is exact."""
        return len(self.prepared.exact) == len(self.prepared.tiling)

    def with_gain(self, gain: int) -> Candidate:
        """The same position with another gain; g_a runs again for a picture of many tiles."""
        point = replace(self.point, gain=gain)
        if self.kept is None:
            return Candidate(self.prepared, point, None)
        y, z, network = self.kept.y, self.kept.z, point.rate_point.network
        latents = self.prepared.engine.quantise(y, z, gains=point.gains, network=network)
        return Candidate(self.prepared, point, OneTile(y, z, latents))

    def refine(self, effort: int, *, progress: Progress | None) -> Candidate:
        """The same position with refined latents; for a picture of one tile."""
        prepared, point = self.prepared, self.point
        if self.kept is None or not effort:
            return self
        latents = prepared.engine.refine(
            prepared.window(prepared.tiling.whole),
            size=(prepared.picture.height, prepared.picture.width),
            tables=self.tables,
            gains=point.gains,
            lmbda=point.lmbda,
            effort=effort,
            network=point.rate_point.network,
            progress=progress,
        )
        return replace(self, kept=replace(self.kept, latents=latents))

    @property
    def tiles(self) -> tuple[AnyTile, ...]:
        """The coded tiles."""
        return self._coded[0]

    def bits(self) -> float:
        """Ideal code length of y and z, and the bits of exact tiles, without headers."""
        if self.kept is not None:
            return sum(rans.estimate_bits(self.kept.latents, self.tables))
        return sum(self._coded[1].values())

    def cell_bits(self, cell: int) -> Mapping[Box, float]:
        """Ideal code length of each square of the picture.

        Args:
            cell: side of a square, px; that of the prepared picture if it has many tiles.
        """
        if self.kept is not None:
            return bits_of_cells(self.kept.latents, self.tables, self.prepared.tiling.whole, cell)
        return self._coded[1]

    @cached_property
    def _coded(self) -> tuple[tuple[AnyTile, ...], Mapping[Box, float]]:
        """Coded tiles, and the ideal code length of the squares of many of them."""
        prepared, tables, bits = self.prepared, self.tables, {}
        tiles: list[AnyTile] = []
        for number in range(len(prepared.tiling)):
            box = prepared.tiling.tile(number)
            if number in prepared.exact:
                tiles.append(ExactTile(prepared.exact[number]))
                bits[box] = 8.0 * len(prepared.exact[number])
                continue
            latents = self._latents(number)
            prepared.on_stage("g_a")
            tiles.append(code_tile(latents, tables))
            if self.kept is None:
                bits |= bits_of_cells(latents, tables, box, prepared.cell)
            prepared.on_stage("coding")
        return tuple(tiles), bits

    def _latents(self, number: int) -> Latents[Any]:
        if self.kept is not None:
            return self.kept.latents
        return self.prepared.latents_of(number, self.point)

    def stream(self) -> bytes:
        """The whole file."""
        return bitstream.pack(self._container(chunks_of(self.prepared.picture)))

    def cost_of(self, error: float, *, lmbda: float | None = None) -> float:
        """Rate-distortion cost, bits: those of header and tiles, and of a sum of squared errors.

        Args:
            error: sum of squared errors, in squared levels.
            lmbda: weight of the error; None is that of the position.
        """
        size = len(bitstream.pack(self._container(())))
        return 8.0 * size + (self.point.lmbda if lmbda is None else lmbda) * error / 3

    def _container(self, chunks: tuple[Chunk, ...]) -> Container:
        prepared, rate_point = self.prepared, self.point.rate_point
        picture = prepared.picture
        return Container(
            width=picture.width,
            height=picture.height,
            grey=picture.grey,
            base_hash=prepared.engine.base_hash[:HASH_BYTES],
            adapter_hashes=tuple(digest[:HASH_BYTES] for digest in rate_point.hashes),
            rate=self.point.rate,
            gain=self.point.gain,
            profile=bitstream.OWN_TABLES if rate_point.z_sets else bitstream.BASE_TABLES,
            tile_size=prepared.tiling.size if prepared.is_tiled else 0,
            tiles=self.tiles,
            chunks=chunks,
        )

    def psnr(self) -> float:
        """PSNR over RGB, dB, of the decoded pixels; those with an alpha of 0 are not counted."""
        picture = self.prepared.picture
        visible = picture.height * picture.width
        if picture.alpha is not None:
            visible = int(np.count_nonzero(picture.alpha))
        return psnr_of(sum(self.errors()), 3 * max(visible, 1))

    def errors(self, boxes: Sequence[Box] = ()) -> list[float]:
        """Sum of squared errors of each box, in squared levels, as `psnr` counts them.

        Args:
            boxes: boxes in the padded picture; none is one box, the whole.
        """
        picture = self.prepared.picture
        boxes = boxes or [self.prepared.tiling.picture]
        found, top = [0.0] * len(boxes), 0
        for rows in self._reconstruct():
            strip = Box(top, 0, top + len(rows), picture.width)
            for number, box in enumerate(boxes):
                part = box.within(strip)
                if part.area:
                    found[number] += self.error_of(rows[part.slices(strip)], part)
            top = strip.bottom
        return found

    def error_of(self, shown: NDArray[np.uint8], box: Box) -> float:
        """Sum of squared errors of decoded pixels, (H, W, 3), in a box of the picture."""
        picture, here = self.prepared.picture, box.slices(self.prepared.tiling.picture)
        source = picture.pixels[here]
        if picture.alpha is not None:
            seen = picture.alpha[here] > 0
            source, shown = source[seen][None], shown[seen][None]
        return squared_error(source, shown, grey=picture.grey)

    def _reconstruct(self) -> Iterator[NDArray[np.uint8]]:
        """Decoded pixels, (rows, W, 3) from top to bottom."""
        prepared, point = self.prepared, self.point
        height, width = prepared.picture.height, prepared.picture.width
        if self.kept is not None:
            y_hat, network = self.kept.latents.y_hat, point.rate_point.network
            yield prepared.engine.synthesise(y_hat, network=network)[0, :height, :width]
            return
        decoder = TileDecoder(
            engine=prepared.engine,
            point=point.rate_point,
            gains=point.gains,
            tiling=prepared.tiling,
            read_tile=self.tiles.__getitem__,
            exact=frozenset(prepared.exact),
        )
        yield from decoder.rows(prepared.tiling.picture)


def bits_of_cells(
    latents: Latents[Any], tables: EntropyTables, tile: Box, cell: int
) -> dict[Box, float]:
    """Ideal code length of each square of a tile.

    Args:
        latents: latents of the tile.
        tables: entropy tables of the position.
        tile: box of the tile.
        cell: side of a square, px; 0 is the whole tile.
    """
    if not cell:
        return {tile: sum(rans.estimate_bits(latents, tables))}
    found = {}
    for top in range(tile.top, tile.bottom, cell):
        for left in range(tile.left, tile.right, cell):
            box = Box(top, left, top + cell, left + cell).within(tile)
            y, z = (box.slices(tile, stride=stride) for stride in (LATENT_STRIDE, TILE_STRIDE))
            parts = {name: array[:, :, y[0], y[1]] for name, array in vars(latents).items()}
            parts["z_hat"] = latents.z_hat[:, :, z[0], z[1]]
            found[box] = sum(rans.estimate_bits(Latents(**parts), tables))
    return found


def encode_together(pictures: Sequence[PreparedPicture], point: CodingPoint) -> list[Candidate]:
    """Candidates of pictures of one tile and one padded size, in one pass."""
    engine, network = pictures[0].engine, point.rate_point.network
    rgb = [prepared.window(prepared.tiling.whole) for prepared in pictures]
    y = engine.analyse(rgb[0] if len(rgb) == 1 else np.concatenate(rgb), network=network)
    z = engine.hyper_analyse(y)
    latents = engine.quantise(y, z, gains=point.gains, network=network)
    candidates = []
    for n, prepared in enumerate(pictures):
        own = Latents(**{name: value[n : n + 1] for name, value in vars(latents).items()})
        candidates.append(Candidate(prepared, point, OneTile(y[n : n + 1], z[n : n + 1], own)))
    return candidates


def prepare(
    engine: Engine,
    picture: Picture,
    *,
    tile_size: int | None,
    effort: int,
    max_pixels: int,
    exact: bool = False,
    on_stage: OnStage = lambda _: None,
) -> PreparedPicture:
    """Check a picture and cut it.

    Args:
        engine: networks of the base.
        picture: loaded picture.
        tile_size: side of a tile, px; 0 is one tile; None is 512 px for large pictures.
        effort: amount of refinement; above 0 needs one tile.
        max_pixels: largest allowed number of pixels in decoding.
        exact: whether every tile will be exact, so that no network runs.
        on_stage: function as in `PreparedPicture`.
    Raises:
        PictureError: decoding would cost more than `max_pixels`.
        UsageError: the tile size cannot be written, or tiles are combined with an effort.
    """
    height, width = picture.height, picture.width
    if bitstream.decoded_pixels(width, height) > max(max_pixels, TILE_STRIDE**2):
        raise PictureError(
            f"the picture of {width}x{height} px would cost more than {max_pixels} px to "
            "decode; raise --max-pixels (in Python max_pixels)"
        )
    size = tile_size
    if size is None:
        size = 0 if effort else default_tile_size(width, height)
    size = _checked_tile_size(size, width=width, height=height)
    config = engine.config.codec
    tiling = Tiling(width, height, size, config.halo)
    more = memory_limit.excess(config, tiling, tiling.picture, max_pixels=max_pixels, exact=exact)
    if more:
        raise PictureError(
            f"{more}: {'leave --effort out' if effort else 'take smaller tiles (--tile-size)'}, "
            "or raise --max-pixels (in Python max_pixels)"
        )
    if len(tiling) == 1:
        picture = replace(picture, pixels=picture.coded_rgb)
    elif effort:
        raise UsageError(
            f"an effort searches one tile, and tile_size {size} cuts the picture into "
            f"{len(tiling)}: leave one of them out"
        )
    return PreparedPicture(engine, picture, tiling, on_stage)


def default_tile_size(width: int, height: int) -> int:
    """Side of the tiles of a picture where none is given, px; 0 is one tile."""
    work = bitstream.decoded_pixels(width, height)  # a thin picture is wide once it is padded
    return TILE_SIZE if work > ONE_TILE_PIXELS else 0


def _checked_tile_size(size: int, *, width: int, height: int) -> int:
    """A tile size that can be written for a picture of that size; all in px."""
    if not isinstance(size, Integral) or size < 0 or size % TILE_STRIDE:
        raise UsageError(
            f"tile_size is {size!r}; need a multiple of {TILE_STRIDE}, or 0 for one tile"
        )
    tiles = len(Tiling(width, height, size, halo=0))
    if tiles > MAX_TILES:
        raise UsageError(f"tile_size {size} gives {tiles} tiles, at most {MAX_TILES} can be")
    return size


def code_tile(latents: Latents[Any], tables: EntropyTables) -> Tile:
    """Entropy-code the latents of one tile."""
    (z_hat,), (indexes,), (symbols,) = latents.z_hat, latents.indexes, latents.symbols
    return Tile(
        z=rans.encode_z(z_hat, tables),
        y=rans.encode_y(symbols, indexes, tables),
        index_crc=zlib.crc32(indexes.tobytes()),
    )


def chunks_of(picture: Picture) -> tuple[Chunk, ...]:
    """Chunks of a stream: alpha and metadata."""
    chunks = []
    if picture.alpha is not None:
        chunks.append(Chunk(b"ALPH", encode_alpha(picture.alpha)))
    metadata = ((b"ICCP", picture.icc), (b"EXIF", picture.exif), (b"XMP ", picture.xmp))
    chunks += [Chunk(kind, data) for kind, data in metadata if data]
    # What EXIF says is not said again.
    if picture.resolution and picture.resolution != exif_resolution(picture.exif):
        chunks.append(Chunk(b"reso", picture.resolution.to_bytes()))
    return tuple(chunks)

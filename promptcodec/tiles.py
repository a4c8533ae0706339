"""Encoding a large picture tile by tile, so that no latent of more than one is held at a time.

window of the picture -> g_a -> the tile's part of y -> hyperprior, context -> Tile

`codec.tiling` says how a picture is cut, `rebuild` how its pixels come back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Integral

import torch
from torch import Tensor

from promptcodec import bitstream
from promptcodec.bitstream import MAX_TILES, Tile
from promptcodec.coding import memory_limit
from promptcodec.coding.entropy import rans
from promptcodec.coding.latents import Latents
from promptcodec.coding.tiling import LATENT, Box, Tiling
from promptcodec.config import STRIDE
from promptcodec.drafts import Engine, Position, Work, code_tile, psnr_of, squared_error
from promptcodec.errors import PictureError, UsageError
from promptcodec.io import images
from promptcodec.models.adapters.interpolation import RatePoint
from promptcodec.models.tensors import arrays_of, pad, to_tensor
from promptcodec.rebuild import Rebuilder

ONE_TILE_PIXELS = 1 << 22  # larger pictures are cut by default; one of this size takes 1 GB
TILE_SIZE = 512  # px, of a picture that is cut by default; memory follows its area


@dataclass(frozen=True, eq=False)
class TiledWork:
    """One large picture on its way through the encoder.

    Args:
        engine: what encodes it.
        picture: as it was loaded.
        tiling: how it is cut.
    """

    engine: Engine
    picture: images.Picture
    tiling: Tiling

    def draft(self, point: RatePoint, *, rate: int, gain: int = 0) -> TiledDraft:
        """Encode every tile at a position.

        Args:
            point: adapter and gains.
            rate: position in 1/4096 of an index.
            gain: added to every log-gain, in 1/256 of a table step.
        """
        position, tables = Position(point, rate, gain), self.engine.tables_at(point)
        tiles, bits = [], 0.0
        for number in range(len(self.tiling)):
            latents = self._latents(number, position)
            tiles.append(code_tile(latents, tables))
            bits += sum(rans.estimate_bits(arrays_of(latents), tables))
        return TiledDraft(self, position, tuple(tiles), bits)

    @torch.inference_mode()
    def _latents(self, number: int, position: Position) -> Latents:
        """What is written of one tile; only g_a sees its neighbours."""
        model, prompts = self.engine.model, position.point.prompts
        bands = [self._analysed(band, position) for band in self.tiling.bands(number)]
        y = torch.cat(bands, dim=2).contiguous(memory_format=torch.channels_last)
        z = model.hyperprior.h_a(y)
        with self.engine.autocast():
            return model.quantise(y, z, gains=position.gains, adapter=prompts)

    def _analysed(self, band: Box, position: Position) -> Tensor:
        """y of a band of a tile."""
        window = self.tiling.window(band)
        rows, columns = band.slices(window, stride=LATENT)
        with self.engine.autocast():
            y = self.engine.model.to_latents(self._pixels(window), position.point.prompts)
        return y[:, :, rows, columns]

    def _pixels(self, window: Box) -> Tensor:
        """A window of the padded picture as g_a takes it, (1, 3, H, W)."""
        part = self.picture.pixels[window.top : window.bottom, window.left : window.right]
        x = pad(to_tensor(part).to(self.engine.device), STRIDE)
        return x.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, eq=False)
class TiledDraft:
    """What would be written of a large picture at one position.

    Args:
        work: the picture.
        position: where on the ladder.
        coded: its tiles.
        bits: ideal code length of y and z, without headers.
    """

    work: TiledWork
    position: Position
    coded: tuple[Tile, ...]
    bits: float

    def tuned(self, gain: int) -> TiledDraft:
        """The same position with another gain; latents are not kept, so g_a runs again."""
        return self.work.draft(self.position.point, rate=self.position.rate, gain=gain)

    def tiles(self) -> tuple[Tile, ...]:
        """The coded tiles."""
        return self.coded

    def stream(self, tiles: tuple[Tile, ...]) -> bytes:
        """The whole file around the coded tiles."""
        work = self.work
        return self.position.stream(work.picture, work.engine, tiles, tile_size=work.tiling.size)

    def estimate_bits(self) -> float:
        """Ideal code length of y and z, without headers."""
        return self.bits

    def log_bytes(self) -> float:
        """Logarithm of the bytes of the whole file."""
        return math.log(len(self.stream(self.coded)))

    def psnr(self) -> float:
        """PSNR over RGB, dB, from pixels that are rebuilt a row of tiles at a time."""
        work, top, error = self.work, 0, 0.0
        rebuilt = Rebuilder(
            engine=work.engine,
            point=self.position.point,
            gains=self.position.gains,
            tiling=work.tiling,
            tile=self.coded.__getitem__,
        )
        picture = work.picture
        for strip in rebuilt.strips(Box(0, 0, picture.height, picture.width)):
            source = picture.pixels[top : top + len(strip), :]
            error += squared_error(source, strip, grey=picture.grey)
            top += len(strip)
        return psnr_of(error, picture)


def begin(
    engine: Engine,
    picture: images.Picture,
    *,
    tile_size: int | None,
    effort: int,
    max_pixels: int,
) -> Work | TiledWork:
    """The picture as one tile, or with the tiles that it is cut into.

    Args:
        engine: what will encode it.
        picture: as it was loaded.
        tile_size: px; 0 is one tile; None chooses.
        effort: above 0 needs one tile.
        max_pixels: most pixels that a decoder has to pay for.
    Raises:
        PictureError: it would cost more than `max_pixels`.
        UsageError: a tile size that cannot be written, or tiles with an effort.
    """
    height, width = picture.height, picture.width
    if bitstream.decoded_pixels(width, height) > max(max_pixels, STRIDE**2):
        raise PictureError(
            f"the picture of {width}x{height} px would cost more than {max_pixels} px to "
            "decode; raise --max-pixels (in Python max_pixels)"
        )
    size = tile_size
    if size is None:
        size = TILE_SIZE if width * height > ONE_TILE_PIXELS and not effort else 0
    size = _checked_tile_size(size, width=width, height=height)
    config = engine.model.config
    tiling = Tiling(width, height, size, config.halo)
    more = memory_limit.excess(config, tiling, Box(0, 0, height, width), max_pixels=max_pixels)
    if more:
        raise PictureError(
            f"{more}: {'leave --effort out' if effort else 'take smaller tiles (--tile-size)'}, "
            "or raise --max-pixels (in Python max_pixels)"
        )
    if len(tiling) == 1:
        picture = replace(picture, pixels=picture.rgb)
        x = pad(to_tensor(picture.rgb).to(engine.device), STRIDE)
        x = x.contiguous(memory_format=torch.channels_last)
        return Work(engine, picture, x=x)
    if effort:
        raise UsageError(
            f"an effort searches one tile, and tile_size {size} cuts the picture into "
            f"{len(tiling)}: leave one of them out"
        )
    return TiledWork(engine, picture, tiling)


def _checked_tile_size(size: int, *, width: int, height: int) -> int:
    """A tile size that can be written for a picture of that size; all in px."""
    if not isinstance(size, Integral) or size < 0 or size % STRIDE:
        raise UsageError(f"tile_size is {size!r}; need a multiple of {STRIDE}, or 0 for one tile")
    tiles = len(Tiling(width, height, size, halo=0))
    if tiles > MAX_TILES:
        raise UsageError(f"tile_size {size} gives {tiles} tiles, at most {MAX_TILES} can be")
    return size

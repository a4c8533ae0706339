"""Pixels of a stream, a row of tiles at a time: what is held is that row, not the picture.

Tile -> y_hat of this row and the next -> window of y_hat -> g_s -> the tile's pixels

A picture of one tile takes the same way; its window is the whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from promptcodec.bitstream import Parts, Tile
from promptcodec.coding.entropy import rans
from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents
from promptcodec.coding.tiling import LATENT, Box, Tiling
from promptcodec.config import STRIDE
from promptcodec.drafts import Engine
from promptcodec.errors import StreamError
from promptcodec.models.adapters.interpolation import RatePoint
from promptcodec.models.tensors import from_tensor, tensor_of

MISSING = 128  # level of the pixels of a tile that is not there

Lap = Callable[[str], None]


@dataclass(eq=False)
class Rebuilder:
    """Pixels from tiles, a row of them at a time.

    Args:
        engine: what decodes.
        point: adapter of the stream.
        gains: log-gains that it was coded with.
        tiling: how the picture is cut.
        tile: gives the payload of a tile; a StreamError where it is not whole.
        allow_partial: such a tile becomes grey; otherwise its error is passed on.
        lap: books the time of a part.
    """

    engine: Engine
    point: RatePoint
    gains: Gains
    tiling: Tiling
    tile: Callable[[int], Tile]
    allow_partial: bool = False
    lap: Lap = lambda _: None
    missing: set[int] = field(default_factory=set)
    _rows: dict[int, tuple[Box, Tensor]] = field(default_factory=dict)  # y_hat, by their top
    _learned: set[int] = field(default_factory=set)

    def strips(self, region: Box) -> Iterator[np.ndarray]:
        """Pixels of a region, from top to bottom: bands of one row of tiles after the other.

        Args:
            region: inside the picture, px.
        Yields:
            (rows, region.width, 3) uint8; together region.height rows.
        Raises:
            StreamError: a tile is not whole, its symbols do not fit or no tile is whole.
        """
        rows: dict[int, list[int]] = {}
        for number in self.tiling.touching(region):
            rows.setdefault(self.tiling.tile(number).top, []).append(number)
        for numbers in rows.values():
            for bands in zip(*map(self.tiling.bands, numbers), strict=True):
                if bands[0].within(region).height:
                    yield self._strip(dict(zip(numbers, bands, strict=True)), region)
            self._forget(self.tiling.tile(numbers[0]).bottom - self.tiling.halo)

    def _strip(self, bands: dict[int, Box], region: Box) -> np.ndarray:
        first = next(iter(bands.values()))
        wanted = Box(first.top, region.left, first.bottom, region.right).within(region)
        strip = np.full((wanted.height, wanted.width, 3), MISSING, np.uint8)
        for number, band in bands.items():
            part = band.within(wanted)
            self._learn(number)
            if number not in self.missing:
                strip[part.slices(wanted)] = self._pixels(band, part)
        return strip

    @torch.inference_mode()
    def _pixels(self, band: Box, part: Box) -> np.ndarray:
        """Run g_s on the window of a band and cut out a part of it."""
        window = self.tiling.window(band)
        y_hat = self._y_hat(window)
        with self.engine.autocast():
            x_hat = self.engine.model.synthesise(y_hat, adapter=self.point.prompts)
        self.lap("g_s")
        rows, columns = part.slices(window)
        rgb = from_tensor(x_hat[:, :, rows, columns])
        self.lap("picture")
        return rgb

    def _y_hat(self, window: Box) -> Tensor:
        """y_hat of a window; zero where a tile is missing."""
        for number in self.tiling.touching(window):
            self._learn(number)
        if len(self.tiling) == 1:
            return self._rows[window.top][1]
        out = self._zeros(window)
        for box, y_hat in self._rows.values():
            part = box.within(window)
            rows, columns = part.slices(window, stride=LATENT)
            here = part.slices(box, stride=LATENT)
            out[:, :, rows, columns] = y_hat[:, :, here[0], here[1]]
        return out

    def _learn(self, number: int) -> None:
        """Decode the latents of a tile that is not known yet."""
        if number in self._learned or number in self.missing:
            return
        try:
            tile = self.tile(number)
        except StreamError:
            if not self.allow_partial:
                raise
            self.missing.add(number)
            return
        y_hat, box = self.latents(number, tile).y_hat, self.tiling.tile(number)
        self._learned.add(number)
        if len(self.tiling) == 1:
            self._rows[box.top] = box, y_hat
            return
        row = Box(box.top, 0, box.bottom, self.tiling.whole.right)
        if row.top not in self._rows:
            # One piece for all tiles of a row: many small ones would tear the memory to shreds.
            self._rows[row.top] = row, self._zeros(row)
        rows, columns = box.slices(row, stride=LATENT)
        self._rows[row.top][1][:, :, rows, columns] = y_hat

    def _zeros(self, box: Box) -> Tensor:
        """Room for y_hat of a rectangle."""
        channels = self.engine.model.config.latent_channels
        shape = (1, box.height // LATENT, box.width // LATENT, channels)
        return torch.zeros(shape, device=self.engine.device).permute(0, 3, 1, 2)

    def _forget(self, above: int) -> None:
        """Keep of y_hat only what lies below a row of pixels."""
        for top, (box, y_hat) in list(self._rows.items()):
            if box.bottom <= above:
                del self._rows[top]
            elif box.top < above:
                kept = Box(above, box.left, box.bottom, box.right)
                rows, _ = kept.slices(box, stride=LATENT)
                self._rows[top] = kept, y_hat[:, :, rows].clone()

    def latents(self, number: int, tile: Tile) -> Latents:
        """Everything that was transmitted of one tile.

        Raises:
            StreamError: the payload does not hold exactly the symbols of the tile.
        """
        box = self.tiling.tile(number)
        return decode_latents(
            self.engine,
            [tile],
            size=(box.height, box.width),
            point=self.point,
            gains=self.gains,
            lap=self.lap,
        )

    def all_latents(self) -> Latents:
        """The latents of the whole picture, put together from those of its tiles."""
        rows, columns = self.tiling.grid
        parts = [self.latents(number, self.tile(number)) for number in range(len(self.tiling))]
        names = ("z_hat", "indexes", "symbols", "y_hat")
        joined = {}
        for name in names:
            arrays = [getattr(part, name) for part in parts]
            bands = [
                torch.cat(arrays[row * columns : (row + 1) * columns], dim=3) for row in range(rows)
            ]
            joined[name] = torch.cat(bands, dim=2)
        return Latents(**joined)


@torch.inference_mode()
def decode_latents(
    engine: Engine,
    tiles: Sequence[Tile],
    *,
    size: tuple[int, int],
    point: RatePoint,
    gains: Gains,
    lap: Lap = lambda _: None,
) -> Latents:
    """Everything that was transmitted of tiles of one size at one rate.

    Args:
        engine: what decodes.
        tiles: payloads.
        size: height and width of each, px.
        point: of the rate, as the streams say.
        gains: log-gains that they were coded with.
        lap: books the time of a part.
    Returns:
        Latents of the batch.
    Raises:
        StreamError: a payload does not hold exactly the symbols of its tile.
    """
    model, tables = engine.model, engine.tables_at(point)
    shape = (model.config.z_channels, -(-size[0] // STRIDE), -(-size[1] // STRIDE))
    z_hat = tensor_of(np.stack([rans.decode_z(t.z, shape, tables) for t in tiles]), engine.device)
    indexes = model.indexes(z_hat, gains=gains)
    arrays = indexes.cpu().numpy()
    lap("scale_path")
    for tile, array in zip(tiles, arrays, strict=True):
        if zlib.crc32(array.tobytes()) != tile.index_crc:
            raise StreamError(
                "the table indexes do not match their checksum: the stream is damaged or was "
                "written by a faulty encoder; encode the picture again"
            )
    symbols = [
        rans.decode_y(tile.y, array, tables) for tile, array in zip(tiles, arrays, strict=True)
    ]
    residual = tensor_of(np.stack(symbols), engine.device)
    lap("coding")
    y_hat = model.reconstruct_latents(
        z_hat, residual, indexes=indexes, gains=gains, adapter=point.prompts
    )
    lap("context")
    return Latents(z_hat=z_hat, indexes=indexes, symbols=residual, y_hat=y_hat)


def missing_parts(parts: Parts, tiles: set[int]) -> tuple[str, ...]:
    """Names of the tiles and chunks that a partial stream does not hold."""
    names = [f"tile {number}" for number in sorted(tiles)]
    for row in parts.header.chunks:
        try:
            parts.chunk(row.kind)
        except StreamError:
            names.append(f"chunk {row.kind.decode('ascii').strip()}")
    return tuple(names)

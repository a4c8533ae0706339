"""Many pictures at once: those of one size and one rate share each pass of the networks.

Pictures and streams may mix sizes and rates; results come in the order of the input. What is cut
into tiles is coded by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from promptcodec import images
from promptcodec.adapters.bank import RatePoint
from promptcodec.bitstream import Header, Parts
from promptcodec.codec.gains import Gains
from promptcodec.codec.model import Latents
from promptcodec.codec.tiling import Box, Tiling
from promptcodec.config import STRIDE
from promptcodec.drafts import AnyDraft, Draft, Engine, Position, Work
from promptcodec.rebuild import Rebuilder, decode_latents
from promptcodec.tiles import TiledWork

PASS_PIXELS = 1 << 21  # of one pass, which then takes about 0.5 GB


def draft_batch(works: Sequence[Work | TiledWork], positions: Sequence[Position]) -> list[AnyDraft]:
    """What would be written of each picture at its position; see `Work.draft`."""
    drafts: dict[int, AnyDraft] = {}
    keys: dict[int, Hashable] = {}
    for number, (work, position) in enumerate(zip(works, positions, strict=True)):
        if isinstance(work, Work):
            keys[number] = (work.x.shape, position.rate, position.gain)
        else:
            drafts[number] = work.draft(position.point, rate=position.rate, gain=position.gain)
    for numbers in _passes(keys, pixels=lambda n: works[n].picture.rgb[..., 0].size):
        alike = [work for n in numbers if isinstance(work := works[n], Work)]
        drafts |= zip(numbers, _draft_together(alike, positions[numbers[0]]), strict=True)
    return [drafts[number] for number in range(len(works))]


@torch.inference_mode()
def _draft_together(works: list[Work], position: Position) -> Iterator[Draft]:
    """Drafts of pictures of one padded size at one position."""
    engine, point = works[0].engine, position.point
    with engine.autocast():
        x = torch.cat([work.x for work in works])
        y, z = engine.model.transform(x, adapter=point.prompts)
        latents = engine.model.quantise(y, z, gains=position.gains, adapter=point.prompts)
    for n, work in enumerate(works):
        own = {name: value[n : n + 1] for name, value in vars(latents).items()}
        yield Draft(
            work,
            point,
            y[n : n + 1],
            z[n : n + 1],
            rate=position.rate,
            gain=position.gain,
            latents=Latents(**own),
        )


@dataclass(frozen=True, eq=False)
class Reading:
    """A stream that is to be decoded.

    Args:
        parts: of the file.
        point: its adapter and gains.
    """

    parts: Parts
    point: RatePoint

    @property
    def header(self) -> Header:
        """What the stream says of itself."""
        return self.parts.header

    @property
    def gains(self) -> Gains:
        """Log-gains that it was coded with."""
        return self.point.gains.moved(self.header.gain)

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of what g_s gives, px."""
        height, width = self.header.height, self.header.width
        return -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE


def rebuild_batch(engine: Engine, readings: Sequence[Reading]) -> list[np.ndarray]:
    """Pixels of streams, uint8 (H, W, 3) each.

    Raises:
        StreamError: a payload does not hold exactly the symbols of its picture.
    """
    rgb: dict[int, np.ndarray] = {}
    keys: dict[int, Hashable] = {}
    for number, reading in enumerate(readings):
        header = reading.header
        if len(header.tiles) == 1:
            keys[number] = (reading.padded, header.rate, header.gain, header.adapter_hashes)
        else:
            rgb[number] = _rebuild_tiles(engine, reading)
    for numbers in _passes(
        keys, pixels=lambda n: readings[n].header.width * readings[n].header.height
    ):
        alike = [readings[n] for n in numbers]
        rgb |= zip(numbers, _rebuild_together(engine, alike), strict=True)
    return [rgb[number] for number in range(len(readings))]


@torch.inference_mode()
def _rebuild_together(engine: Engine, readings: list[Reading]) -> Iterator[np.ndarray]:
    """Pixels of one-tile streams of one padded size at one rate."""
    first, adapter = readings[0], readings[0].point.prompts
    tiles = [reading.parts.tile(0) for reading in readings]
    latents = decode_latents(engine, tiles, size=first.padded, gains=first.gains, adapter=adapter)
    with engine.autocast():
        x_hat = engine.model.synthesise(latents.y_hat, adapter=adapter)
    for n, reading in enumerate(readings):
        own = images.crop(x_hat[n : n + 1], reading.header.height, reading.header.width)
        yield images.from_tensor(own)


def _rebuild_tiles(engine: Engine, reading: Reading) -> np.ndarray:
    """Pixels of a stream of several tiles."""
    header = reading.header
    rebuilder = Rebuilder(
        engine=engine,
        point=reading.point,
        gains=reading.gains,
        tiling=Tiling(header.width, header.height, header.tile_size),
        tile=reading.parts.tile,
    )
    strips = rebuilder.strips(Box(0, 0, header.height, header.width))
    return images.stack(strips, height=header.height, width=header.width)


def _passes(keys: dict[int, Hashable], *, pixels: Callable[[int], int]) -> Iterator[list[int]]:
    """Numbers of the items that go through the networks together: equal keys, bounded memory."""
    groups: dict[Hashable, list[int]] = {}
    for number, key in keys.items():
        groups.setdefault(key, []).append(number)
    for numbers in groups.values():
        most = max(1, PASS_PIXELS // pixels(numbers[0]))
        for start in range(0, len(numbers), most):
            yield numbers[start : start + most]

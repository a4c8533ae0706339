"""Many pictures at once: those of one size and one rate share each pass of the networks.

Pictures and streams may mix sizes and rates; results come in the order of the input. What is cut
into tiles is coded by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from promptcodec.bitstream import Header, Parts
from promptcodec.coding.gains import Gains, finer
from promptcodec.coding.latents import Latents
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.config import STRIDE
from promptcodec.drafts import AnyDraft, Draft, Engine, Position, Work
from promptcodec.io import images
from promptcodec.io.lazy_pixels import Pixels
from promptcodec.models.adapters.interpolation import RatePoint
from promptcodec.models.tensors import crop, from_tensor
from promptcodec.rebuild import Rebuilder, decode_latents
from promptcodec.tiles import TiledWork

PASS_PIXELS = 1 << 21  # of one pass, which then takes about 0.5 GB


def draft_batch(works: Sequence[Work | TiledWork], positions: Sequence[Position]) -> list[AnyDraft]:
    """What would be written of each picture at its position; see `Work.draft`."""
    drafts: dict[int, AnyDraft] = {}
    keys: dict[int, Hashable] = {}
    sizes: dict[int, int] = {}
    for number, (work, position) in enumerate(zip(works, positions, strict=True)):
        if isinstance(work, Work):
            keys[number] = (work.x.shape, position.rate, position.gain)
            sizes[number] = work.x[0, 0].numel()
        else:
            drafts[number] = work.draft(position.point, rate=position.rate, gain=position.gain)
    for numbers in _passes(keys, pixels=sizes.__getitem__):
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
    def is_tiled(self) -> bool:
        """Whether the picture was cut."""
        return len(self.header.tiles) > 1

    @property
    def lmbda(self) -> float:
        """Rate-distortion weight that its gains stand for."""
        return self.point.lmbda * finer(self.header.gain)

    @property
    def gains(self) -> Gains:
        """Log-gains that it was coded with."""
        return self.point.gains.moved(self.header.gain)

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of what g_s gives, px."""
        height, width = self.header.height, self.header.width
        return -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE


def rebuild_batch(engine: Engine, readings: Sequence[Reading]) -> list[np.ndarray | Pixels]:
    """Pixels of streams, uint8 (H, W, 3) each.

    Raises:
        StreamError: a payload does not hold exactly the symbols of its picture.
    """
    rgb: dict[int, np.ndarray | Pixels] = {}
    for numbers in _alike(readings):
        alike = [readings[n] for n in numbers]
        if alike[0].is_tiled:
            rgb[numbers[0]] = _rebuild_tiles(engine, alike[0])
        else:
            rgb |= zip(numbers, _rebuild_together(engine, alike), strict=True)
    return [rgb[number] for number in range(len(readings))]


@torch.inference_mode()
def latents_batch(engine: Engine, readings: Sequence[Reading]) -> list[Tensor]:
    """y_hat of streams, float32 (1, M, h, w) each.

    Raises:
        StreamError: a payload does not hold exactly the symbols of its picture.
    """
    found: dict[int, Tensor] = {}
    for numbers in _alike(readings):
        alike = [readings[n] for n in numbers]
        if alike[0].is_tiled:
            found[numbers[0]] = _rebuilder(engine, alike[0]).all_latents().y_hat
        else:
            found |= zip(numbers, _latents_together(engine, alike).y_hat.split(1), strict=True)
    return [found[number] for number in range(len(readings))]


def _alike(readings: Sequence[Reading]) -> Iterator[list[int]]:
    """Numbers of the streams that go through the networks together; a tiled one is alone."""
    keys: dict[int, Hashable] = {}
    for number, reading in enumerate(readings):
        header = reading.header
        if reading.is_tiled:
            yield [number]
        else:
            rate = (header.rate, header.gain, header.adapter_hashes, header.profile)
            keys[number] = (reading.padded, rate)
    yield from _passes(keys, pixels=lambda n: math.prod(readings[n].padded))


def _latents_together(engine: Engine, readings: list[Reading]) -> Latents:
    """What was transmitted of one-tile streams of one padded size at one rate."""
    first = readings[0]
    return decode_latents(
        engine,
        [reading.parts.tile(0) for reading in readings],
        size=first.padded,
        point=first.point,
        gains=first.gains,
    )


@torch.inference_mode()
def _rebuild_together(engine: Engine, readings: list[Reading]) -> Iterator[np.ndarray]:
    """Pixels of one-tile streams of one padded size at one rate."""
    y_hat, adapter = _latents_together(engine, readings).y_hat, readings[0].point.prompts
    with engine.autocast():
        x_hat = engine.model.synthesise(y_hat, adapter=adapter)
    for n, reading in enumerate(readings):
        own = crop(x_hat[n : n + 1], reading.header.height, reading.header.width)
        yield from_tensor(own)


def _rebuild_tiles(engine: Engine, reading: Reading) -> np.ndarray | Pixels:
    """Pixels of a stream of several tiles."""
    header = reading.header
    strips = _rebuilder(engine, reading).strips(Box(0, 0, header.height, header.width))
    return images.join(strips, height=header.height, width=header.width, grey=header.grey)


def _rebuilder(engine: Engine, reading: Reading) -> Rebuilder:
    header = reading.header
    return Rebuilder(
        engine=engine,
        point=reading.point,
        gains=reading.gains,
        tiling=Tiling.of(header, engine.model.config),
        tile=reading.parts.tile,
    )


def _passes(keys: dict[int, Hashable], *, pixels: Callable[[int], int]) -> Iterator[list[int]]:
    """Numbers of the items that go through the networks together: equal keys, bounded memory."""
    groups: dict[Hashable, list[int]] = {}
    for number, key in keys.items():
        groups.setdefault(key, []).append(number)
    for numbers in groups.values():
        most = max(1, PASS_PIXELS // pixels(numbers[0]))
        for start in range(0, len(numbers), most):
            yield numbers[start : start + most]

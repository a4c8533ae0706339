"""Many pictures at once: those of one size and one rate share each pass of the networks.

Pictures and streams may have several sizes and rates; results are in the order of the input. Tiled
pictures are coded one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream import Header, StreamFile, Tile
from promptcodec.coding.adapter import RatePoint
from promptcodec.coding.decoder import TileDecoder, decode_together
from promptcodec.coding.encoder import Candidate, CodingPoint, PreparedPicture, encode_together
from promptcodec.coding.engine import Engine
from promptcodec.coding.gains import Gains, finer
from promptcodec.coding.latents import Latents, inside
from promptcodec.coding.stream_latents import latents_of_stream
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.config import TILE_STRIDE
from promptcodec.io.pictures import Pixels, join_rows

PASS_PIXELS = 1 << 21  # of one pass, about 0.5 GB
HEAD_PICTURES = 64  # in one pass of a head


def encode_batch(
    pictures: Sequence[PreparedPicture], points: Sequence[CodingPoint]
) -> list[Candidate]:
    """A candidate for each picture at its point."""
    found: dict[int, Candidate] = {}
    keys: dict[int, Hashable] = {}
    for number, (prepared, point) in enumerate(zip(pictures, points, strict=True)):
        if prepared.is_tiled or prepared.exact:
            found[number] = prepared.encode_at(point)
        else:
            adapters = point.rate_point.hashes
            keys[number] = (prepared.tiling.whole, point.rate, point.gain, adapters)
    for numbers in _passes(keys, pixels=lambda n: pictures[n].tiling.whole.area):
        alike = [pictures[n] for n in numbers]
        found |= zip(numbers, encode_together(alike, points[numbers[0]]), strict=True)
    return [found[number] for number in range(len(pictures))]


@dataclass(frozen=True, eq=False)
class OpenStream:
    """A stream to decode.

    Args:
        file: stream file.
        point: position of the ladder that the stream was coded at.
    """

    file: StreamFile
    point: RatePoint

    @property
    def header(self) -> Header:
        """Header of the stream."""
        return self.file.header

    @property
    def is_alone(self) -> bool:
        """Whether it shares no pass of the networks: it has several tiles, or an exact one."""
        return len(self.header.tiles) > 1 or bool(self.header.exact_tiles)

    @property
    def lmbda(self) -> float:
        """Rate-distortion weight that corresponds to its gains."""
        return self.point.lmbda * finer(self.header.gain)

    @property
    def gains(self) -> Gains:
        """Log-gains of the stream."""
        return self.point.gains.shifted(self.header.gain)

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the padded picture, px."""
        height, width = self.header.height, self.header.width
        return -(-height // TILE_STRIDE) * TILE_STRIDE, -(-width // TILE_STRIDE) * TILE_STRIDE

    def decoder(self, engine: Engine, **options: Any) -> TileDecoder:
        """A decoder of its tiles; `options` as `TileDecoder` has them."""
        return TileDecoder(
            engine,
            self.point,
            self.gains,
            Tiling.of(self.header, engine.config.codec),
            self.file.tile,
            self.header.exact_tiles,
            **options,
        )


def decode_batch(engine: Engine, streams: Sequence[OpenStream]) -> list[NDArray[np.uint8] | Pixels]:
    """Pixels of streams, (H, W, 3) each.

    Raises:
        StreamError: a payload does not hold exactly the symbols of its picture.
    """
    rgb: dict[int, NDArray[np.uint8] | Pixels] = {}
    for numbers in _alike(streams):
        first = streams[numbers[0]]
        if first.is_alone:
            height, width, grey = first.header.height, first.header.width, first.header.grey
            rows = first.decoder(engine).rows(Box(0, 0, height, width))
            rgb[numbers[0]] = join_rows(rows, height=height, width=width, grey=grey)
            continue
        y_hat = _latents_together(engine, [streams[n] for n in numbers]).y_hat
        shown = engine.synthesise(y_hat, network=first.point.network)
        for number, pixels in zip(numbers, shown, strict=True):
            header = streams[number].header
            rgb[number] = pixels[: header.height, : header.width]
    return [rgb[number] for number in range(len(streams))]


def latents_batch(engine: Engine, streams: Sequence[OpenStream]) -> list[NDArray[Any]]:
    """y_hat of streams, float32 (1, M, h, w) each.

    Raises:
        StreamError: a payload does not hold exactly the symbols of its picture.
    """
    found: dict[int, NDArray[Any]] = {}
    for numbers in _alike(streams):
        alike = [streams[n] for n in numbers]
        if alike[0].is_alone:
            found[numbers[0]] = latents_of_stream(alike[0].decoder(engine)).y_hat
        else:
            y_hat = _latents_together(engine, alike).y_hat
            found |= {number: y_hat[n : n + 1] for n, number in enumerate(numbers)}
    return [found[number] for number in range(len(streams))]


def scores_batch(
    engine: Engine, task: str, streams: Sequence[OpenStream]
) -> list[NDArray[np.float32]]:
    """Scores of the head of a task for each stream, with a batch of one; see `Engine.predict`.

    Latents that lie in the padding of a picture alone are left out.
    """
    latents = [
        inside(y_hat, height=stream.header.height, width=stream.header.width)
        for y_hat, stream in zip(latents_batch(engine, streams), streams, strict=True)
    ]
    keys: dict[int, Hashable] = {number: y_hat.shape for number, y_hat in enumerate(latents)}
    found: dict[int, NDArray[np.float32]] = {}
    for numbers in _passes(keys, pixels=lambda _: PASS_PIXELS // HEAD_PICTURES):
        y_hat = np.concatenate([latents[n] for n in numbers])
        scores = engine.predict(task, y_hat, lmbdas=[streams[n].lmbda for n in numbers])
        found |= {number: scores[n : n + 1] for n, number in enumerate(numbers)}
    return [found[number] for number in range(len(streams))]


def _alike(streams: Sequence[OpenStream]) -> Iterator[list[int]]:
    """Numbers of the streams that share a pass of the networks; some are alone."""
    keys: dict[int, Hashable] = {}
    for number, stream in enumerate(streams):
        header = stream.header
        if stream.is_alone:
            yield [number]
        else:
            rate = (header.rate, header.gain, header.adapter_hashes, header.profile)
            keys[number] = (stream.padded, rate)
    yield from _passes(keys, pixels=lambda n: math.prod(streams[n].padded))


def _latents_together(engine: Engine, streams: list[OpenStream]) -> Latents[Any]:
    """Latents of one-tile streams of one padded size at one rate."""
    first, tiles = streams[0], []
    for stream in streams:
        tile = stream.file.tile(0)
        assert isinstance(tile, Tile)  # one that is exact is alone
        tiles.append(tile)
    return decode_together(
        engine,
        tiles,
        size=first.padded,
        point=first.point,
        gains=first.gains,
    )


def _passes(keys: dict[int, Hashable], *, pixels: Callable[[int], int]) -> Iterator[list[int]]:
    """Numbers of the items that share a pass of the networks: equal keys, bounded memory."""
    groups: dict[Hashable, list[int]] = {}
    for number, key in keys.items():
        groups.setdefault(key, []).append(number)
    for numbers in groups.values():
        most = max(1, PASS_PIXELS // pixels(numbers[0]))
        for start in range(0, len(numbers), most):
            yield numbers[start : start + most]

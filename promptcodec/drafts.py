"""One picture on its way through the encoder, at one position of the ladder or at several."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from promptcodec import bitstream
from promptcodec.bitstream import Chunk, Container, Tile
from promptcodec.coding.entropy import rans
from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.gains import Gains, finer
from promptcodec.coding.latents import Latents
from promptcodec.io import images
from promptcodec.io.alpha import encode_alpha
from promptcodec.models.adapters.interpolation import RatePoint
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.refine import SCHEDULES, refine
from promptcodec.models.tensors import arrays_of, crop, from_tensor

Precision = Literal["float32", "bfloat16"]
Progress = Callable[[int, int], None]  # steps done, steps


@dataclass(frozen=True, eq=False)
class Engine:
    """What codes pictures, whatever the rate.

    Args:
        model: on its device.
        tables: of the base.
        base_hash: 32 bytes.
        device: of the model.
        precision: of g_a and g_s.
    """

    model: CodecModel
    tables: EntropyTables
    base_hash: bytes
    device: torch.device
    precision: Precision

    def tables_at(self, point: RatePoint) -> EntropyTables:
        """What a rate is coded with: its own tables of z, where it has any."""
        return self.tables.with_sets(point.z_sets)

    def autocast(self) -> torch.autocast:
        """The precision as a context."""
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)


@dataclass(frozen=True, eq=False)
class Position:
    """A place on the ladder, as a header has it.

    Args:
        point: adapter and gains.
        rate: in 1/4096 of an index.
        gain: added to every log-gain, in 1/256 of a table step.
    """

    point: RatePoint
    rate: int
    gain: int

    @property
    def gains(self) -> Gains:
        """Log-gains that are coded with."""
        return self.point.gains.moved(self.gain)

    def stream(
        self,
        picture: images.Picture,
        engine: Engine,
        tiles: tuple[Tile, ...],
        *,
        tile_size: int = 0,
    ) -> bytes:
        """The whole file around coded tiles.

        Args:
            picture: gives size, alpha and metadata.
            engine: gives the hash of the base.
            tiles: in raster order.
            tile_size: px; 0 is one tile.
        """
        hashes = tuple(h[: bitstream.HASH_BYTES] for h in self.point.hashes)
        container = Container(
            width=picture.width,
            height=picture.height,
            grey=picture.grey,
            base_hash=engine.base_hash[: bitstream.HASH_BYTES],
            adapter_hashes=hashes,
            rate=self.rate,
            gain=self.gain,
            profile=bitstream.OWN_TABLES if self.point.z_sets else bitstream.BASE_TABLES,
            tile_size=tile_size,
            tiles=tiles,
            chunks=chunks_of(picture),
        )
        return bitstream.pack(container)


@dataclass(frozen=True, eq=False)
class Work:
    """One picture on its way through the encoder.

    Args:
        engine: what encodes it.
        picture: as it was loaded.
        x: padded, (1, 3, H, W).
    """

    engine: Engine
    picture: images.Picture
    x: Tensor

    def draft(self, point: RatePoint, *, rate: int, gain: int = 0) -> Draft:
        """Run g_a at a position and quantise.

        Args:
            point: adapter and gains.
            rate: position in 1/4096 of an index.
            gain: added to every log-gain, in 1/256 of a table step.
        """
        with self.engine.autocast():
            y, z = self.engine.model.transform(self.x, adapter=point.prompts)
            return Draft.quantised(self, point, y=y, z=z, rate=rate, gain=gain)


@dataclass(frozen=True, eq=False)
class Draft:
    """What would be written at one position with one gain.

    Args:
        work: the picture.
        point: adapter and gains of the position.
        y: latents before rounding.
        z: hyper-latents before rounding.
        rate: position in 1/4096.
        gain: in 1/256 of a table step.
        latents: rounded.
    """

    work: Work
    point: RatePoint
    y: Tensor
    z: Tensor
    rate: int
    gain: int
    latents: Latents

    @classmethod
    def quantised(
        cls, work: Work, point: RatePoint, *, y: Tensor, z: Tensor, rate: int, gain: int
    ) -> Draft:
        """Round y and z."""
        gains = point.gains.moved(gain)
        latents = work.engine.model.quantise(y, z, gains=gains, adapter=point.prompts)
        return cls(work, point, y, z, rate, gain, latents)

    def tuned(self, gain: int) -> Draft:
        """The same y and z with another gain."""
        with self.work.engine.autocast():
            return self.quantised(
                self.work, self.point, y=self.y, z=self.z, rate=self.rate, gain=gain
            )

    def refined(self, effort: int, *, progress: Progress | None) -> Draft:
        """The same position with y and z searched for a lower cost."""
        engine, point = self.work.engine, self.point
        gains = point.gains.moved(self.gain)
        height, width = self.work.picture.rgb.shape[:2]
        with engine.autocast():
            latents = refine(
                engine.model,
                self.work.x,
                size=(height, width),
                tables=engine.tables_at(point),
                gains=gains,
                lmbda=point.lmbda * finer(self.gain),
                schedule=SCHEDULES[effort],
                adapter=point.prompts,
                progress=progress,
            )
        return replace(self, latents=latents)

    def tiles(self) -> tuple[Tile, ...]:
        """Entropy-code the latents."""
        return (code_tile(self.latents, self.work.engine.tables_at(self.point)),)

    def stream(self, tiles: tuple[Tile, ...]) -> bytes:
        """The whole file around the coded latents."""
        return self.position.stream(self.work.picture, self.work.engine, tiles)

    @property
    def position(self) -> Position:
        """Where on the ladder it stands."""
        return Position(self.point, self.rate, self.gain)

    def estimate_bits(self) -> float:
        """Ideal code length of y and z, without headers."""
        tables = self.work.engine.tables_at(self.point)
        return sum(rans.estimate_bits(arrays_of(self.latents), tables))

    def rebuilt(self) -> np.ndarray:
        """Pixels that a decoder gets, uint8 (H, W, 3)."""
        engine = self.work.engine
        height, width = self.work.picture.rgb.shape[:2]
        with engine.autocast():
            x_hat = engine.model.synthesise(self.latents.y_hat, adapter=self.point.prompts)
        return from_tensor(crop(x_hat, height, width))

    def log_bytes(self) -> float:
        """Logarithm of the bytes of the whole file."""
        return math.log(len(self.stream(self.tiles())))

    def psnr(self) -> float:
        """PSNR over RGB, dB; a lossless picture counts as half a level off in one sample."""
        picture = self.work.picture
        return psnr_of(squared_error(picture.rgb, self.rebuilt(), grey=picture.grey), picture)


class AnyDraft(Protocol):
    """A draft of one tile or of many."""

    @property
    def position(self) -> Position:
        """Where on the ladder it stands."""
        ...

    def tiles(self) -> tuple[Tile, ...]:
        """Entropy-code the latents."""
        ...

    def stream(self, tiles: tuple[Tile, ...]) -> bytes:
        """The whole file around the coded latents."""
        ...

    def tuned(self, gain: int) -> AnyDraft:
        """The same position with another gain."""
        ...

    def estimate_bits(self) -> float:
        """Ideal code length of y and z, without headers."""
        ...

    def log_bytes(self) -> float:
        """Logarithm of the bytes of the whole file."""
        ...

    def psnr(self) -> float:
        """PSNR over RGB, dB."""
        ...


@dataclass(frozen=True, eq=False)
class DraftTrial:
    """A draft and what is searched for in it; see `targets.Trial`.

    Args:
        draft: the trial.
        measured: gives its `log_bytes` or its `psnr`.
        measure: what it gave.
    """

    draft: AnyDraft
    measured: Callable[[AnyDraft], float]
    measure: float

    @classmethod
    def of(cls, draft: AnyDraft, measured: Callable[[AnyDraft], float]) -> DraftTrial:
        """Measure a draft."""
        return cls(draft, measured, measured(draft))

    def tuned(self, gain: int) -> DraftTrial:
        """The same latents with another gain."""
        return self.of(self.draft.tuned(gain), self.measured)


@dataclass(frozen=True, eq=False)
class Written:
    """A stream and the draft it was made of.

    Args:
        data: the file.
        draft: what was coded.
        passes: how often g_a ran.
        target_met: False where a target was missed.
        seconds: time of each part.
    """

    data: bytes
    draft: AnyDraft
    passes: int
    target_met: bool
    seconds: dict[str, float]


def code_tile(latents: Latents, tables: EntropyTables) -> Tile:
    """Entropy-code the latents of one tile."""
    written = arrays_of(latents)
    (z_hat,), (indexes,), (symbols,) = written.z_hat, written.indexes, written.symbols
    return Tile(
        z=rans.encode_z(z_hat, tables),
        y=rans.encode_y(symbols, indexes, tables),
        index_crc=zlib.crc32(indexes.tobytes()),
    )


def squared_error(rgb: np.ndarray, shown: np.ndarray, *, grey: bool) -> float:
    """Sum over all samples of (H, W, 3) uint8 arrays, in squared levels."""
    decoded = shown.astype(np.float64)
    if grey:  # the decoder gives one channel, the rounded mean
        decoded = np.floor((decoded.sum(axis=2, keepdims=True) + 1.0) / 3.0)
    return float(np.sum((decoded - rgb.astype(np.float64)) ** 2))


def psnr_of(error: float, picture: images.Picture) -> float:
    """PSNR, dB, of a sum of squared errors over the samples of a picture."""
    samples = 3 * picture.width * picture.height
    return 10.0 * math.log10(255.0**2 * samples / max(error, 0.25))


def chunks_of(picture: images.Picture) -> tuple[Chunk, ...]:
    """Alpha and metadata as they travel beside the latents."""
    chunks = []
    if picture.alpha is not None:
        chunks.append(Chunk(b"ALPH", encode_alpha(picture.alpha)))
    metadata = ((b"ICCP", picture.icc), (b"EXIF", picture.exif), (b"XMP ", picture.xmp))
    return (*chunks, *(Chunk(kind, data) for kind, data in metadata if data))

"""The codec as a user meets it: load once, encode and decode pictures.

picture -> images.load -> pad -> model.analyse -> coder -> bitstream.pack -> bytes
bytes -> bitstream.parse -> coder -> model.synthesise -> crop -> picture
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import torch
from PIL import Image

from promptcodec import bitstream, images
from promptcodec.bitstream import MAX_PIXELS, Chunk, Container, Tile
from promptcodec.codec import coder
from promptcodec.codec.checkpoint import Base, read_base
from promptcodec.codec.coder import EntropyTables
from promptcodec.codec.gains import Gains
from promptcodec.codec.model import CodecModel, Latents
from promptcodec.codec.refine import MAX_EFFORT, SCHEDULES, refine
from promptcodec.config import LAMBDAS, STRIDE
from promptcodec.errors import (
    CheckpointError,
    ModelMismatchError,
    PictureError,
    RateError,
    StreamError,
    UsageError,
)

Precision = Literal["float32", "bfloat16"]
Progress = Callable[[int, int], None]  # steps done, steps

PROFILE = 1  # numerics profile of FORMAT.md
MAX_GAIN_STEPS = 24.0


@dataclass(frozen=True)
class Rate:
    """One position of the ladder that this codec can write.

    Args:
        index: rate index; higher is larger and better.
        lmbda: rate-distortion weight it was trained with.
    """

    index: float
    lmbda: float


@dataclass(frozen=True)
class Encoded:
    """A stream and what is known about how it came to be.

    Args:
        data: the file.
        bpp_estimate: ideal code length of y and z by the pixels of the picture, no header.
        header_bytes: bytes of the header, checksums included.
        seconds: time of each part: "load", "g_a" (with hyperprior and context), "coding", "pack".
    """

    data: bytes
    bpp_estimate: float
    header_bytes: int
    seconds: dict[str, float] = field(compare=False)


@dataclass(frozen=True)
class Decoded:
    """A picture and the time it took.

    Args:
        picture: mode L, LA, RGB or RGBA.
        seconds: time of each part: "scale_path", "coding", "context", "g_s", "picture".
    """

    picture: Image.Image
    seconds: dict[str, float] = field(compare=False)


class Codec:
    """A base codec ready to run; immutable, and safe to share among threads.

    Build it with `Codec.load`.
    """

    def __init__(self, base: Base, *, device: torch.device, precision: Precision) -> None:
        if device.type == "cuda":
            # torch lets convolutions of float32 drop to 10 bits there; means need all 23.
            torch.backends.cudnn.allow_tf32 = False
        self.model: CodecModel = base.model.to(device).to(memory_format=torch.channels_last)
        self.tables: EntropyTables = base.tables
        self.config = base.config
        self.base_hash = base.sha256
        self.device = device
        self.precision: Precision = precision
        self.rates = (Rate(index=base.config.rate_index, lmbda=base.config.lmbda),)

    @classmethod
    def load(
        cls,
        base: str | Path | None = None,
        prompts: str | Path | None = None,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> Self:
        """Load a base codec.

        Args:
            base: folder of a checkpoint, or a Hub id "owner/name"; None is the bundled nano codec.
            prompts: folder of rate adapters; None is the base's own rate.
            device: "cpu", "cuda", "cuda:1", ...
            precision: of g_a and g_s; entropy coding is exact in either.
        Raises:
            CheckpointError: nothing usable at `base` or `prompts`.
            UsageError: unknown device or precision.
        """
        if precision not in ("float32", "bfloat16"):
            raise UsageError(f"precision is {precision!r}; need 'float32' or 'bfloat16'")
        if prompts is not None:
            raise CheckpointError(
                f"no rate adapter was found in {prompts}: leave `prompts` out for the base's rate"
            )
        return cls(read_base(find_base(base)), device=_device(device), precision=precision)

    # -- encoding ------------------------------------------------------------------------------

    def encode(
        self,
        source: Any,
        *,
        rate_index: float | None = None,
        gain_steps: float = 0.0,
        effort: int = 0,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
    ) -> bytes:
        """Compress a picture.

        Args:
            source: path, file bytes, binary file, PIL picture, uint8 array (H, W, 3) or (H, W), or
                float tensor (3, H, W) in [0, 1].
            rate_index: one of `rates`; None is the base's own.
            gain_steps: finer (positive) or coarser quantisation around that rate, in steps of the
                scale tables: +6 is about twice as fine.
            effort: 0 to 9; above 0 the latents of this picture are searched for a lower
                rate-distortion cost, which takes seconds to minutes and about 1 GB for each
                megapixel; any decoder reads the result.
            max_pixels: refuse larger pictures.
            progress: called with (steps done, steps) while latents are refined.
        Returns:
            The stream; FORMAT.md specifies it.
        Raises:
            PictureError: no picture, or one of a refused kind.
            RateError: that rate is not installed.
            UsageError: an effort outside 0 to 9, or a codec that writes no files.
        """
        return self._encode(
            source,
            rate_index,
            gain_steps,
            effort=effort,
            max_pixels=max_pixels,
            progress=progress,
            clock=_Clock(),
        )[0]

    def encode_detailed(
        self,
        source: Any,
        *,
        rate_index: float | None = None,
        gain_steps: float = 0.0,
        effort: int = 0,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
    ) -> Encoded:
        """Like `encode`, with the estimated rate and the time of each part."""
        clock = _Clock()
        data, latents = self._encode(
            source,
            rate_index,
            gain_steps,
            effort=effort,
            max_pixels=max_pixels,
            progress=progress,
            clock=clock,
        )
        header = bitstream.parse_header(data, max_pixels=max(max_pixels, STRIDE**2))
        bits = sum(coder.estimate_bits(latents, self.tables))
        return Encoded(
            data=data,
            bpp_estimate=bits / (header.width * header.height),
            header_bytes=header.size,
            seconds=clock.laps,
        )

    def _encode(
        self,
        source: Any,
        rate_index: float | None,
        gain_steps: float,
        *,
        effort: int,
        max_pixels: int,
        progress: Progress | None,
        clock: _Clock,
    ) -> tuple[bytes, Latents]:
        if self.config.codec.scale == "context":
            raise UsageError(
                "this codec's scales depend on float results that differ between machines, so its "
                "streams could not be decoded elsewhere; it serves research by bpp_estimate alone: "
                "write files with a codec of scale 'hyperprior'"
            )
        if isinstance(effort, float) or effort not in range(len(SCHEDULES)):
            raise UsageError(f"effort is {effort}; need a whole number from 0 to {MAX_EFFORT}")
        rate = self._rate(rate_index)
        gain = _gain_to_fixed(gain_steps)
        picture = images.load(source, max_pixels=max_pixels)
        height, width = picture.rgb.shape[:2]
        if bitstream.decoded_pixels(width, height) > max(max_pixels, STRIDE**2):
            raise PictureError(
                f"the picture of {width}x{height} px would cost more than {max_pixels} px to "
                "decode; raise max_pixels"
            )
        x = images.to_tensor(picture.rgb).to(self.device)
        x = images.pad(x, STRIDE).contiguous(memory_format=torch.channels_last)
        clock.lap("load")
        with self._autocast():
            gains = self._gains(gain)
            if effort:
                # A finer gain is for those who weigh distortion more.
                weight = rate.lmbda * float(gains.multipliers(self.device)[0, 0]) ** 2
                latents = refine(
                    self.model,
                    x,
                    size=(height, width),
                    tables=self.tables,
                    gains=gains,
                    lmbda=weight,
                    schedule=SCHEDULES[effort],
                    progress=progress,
                )
            else:
                latents = self.model.analyse(x, gains=gains)
        clock.lap("g_a")
        z_hat, indexes, symbols = coder.to_numpy(latents)
        tile = Tile(
            z=coder.encode_z(z_hat, self.tables),
            y=coder.encode_y(symbols, indexes, self.tables),
            index_crc=zlib.crc32(indexes.tobytes()),
        )
        clock.lap("coding")
        container = Container(
            width=width,
            height=height,
            grey=picture.grey,
            base_hash=self.base_hash[: bitstream.HASH_BYTES],
            adapter_hashes=(),
            rate=bitstream.rate_to_fixed(rate.index),
            gain=gain,
            profile=PROFILE,
            tile_size=0,
            tiles=(tile,),
            chunks=tuple(_chunks(picture)),
        )
        data = bitstream.pack(container)
        clock.lap("pack")
        return data, latents

    # -- decoding ------------------------------------------------------------------------------

    def decode(self, data: bytes | str | Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """Rebuild a picture.

        Args:
            data: a whole stream, or the path of its file.
            max_pixels: refuse larger pictures before allocating anything.
        Returns:
            A picture in the mode of the original: L, LA, RGB or RGBA.
        Raises:
            StreamError: no stream, damaged, truncated, or from a newer version.
            ModelMismatchError: written with another base or adapter.
        """
        return self.decode_detailed(data, max_pixels=max_pixels).picture

    def decode_detailed(self, data: bytes | str | Path, *, max_pixels: int = MAX_PIXELS) -> Decoded:
        """Like `decode`, with the time of each part."""
        clock = _Clock()
        container = self._parse(data, max_pixels=max_pixels)
        latents = self._decode_latents(container, lap=clock.lap)
        with self._autocast():
            x_hat = self.model.synthesise(latents.y_hat)
        clock.lap("g_s")
        rgb = images.from_tensor(images.crop(x_hat, container.height, container.width))
        picture = images.to_pil(_picture(rgb, container))
        clock.lap("picture")
        return Decoded(picture=picture, seconds=clock.laps)

    def decode_latents(self, data: bytes | str | Path, *, max_pixels: int = MAX_PIXELS) -> Latents:
        """Everything that was transmitted, without rebuilding pixels.

        Raises:
            StreamError: see `decode`.
            ModelMismatchError: see `decode`.
        """
        latents = self._decode_latents(self._parse(data, max_pixels=max_pixels))
        # Copies outside inference mode: a head may be trained on them.
        return Latents(**{name: value.clone() for name, value in vars(latents).items()})

    def _decode_latents(
        self, container: Container, *, lap: Callable[[str], None] = lambda _: None
    ) -> Latents:
        gains = self._gains(container.gain)
        tile = container.tiles[0]
        height, width = (-(-n // STRIDE) for n in (container.height, container.width))
        shape = (self.config.codec.z_channels, height, width)
        z_hat = coder.from_numpy(coder.decode_z(tile.z, shape, self.tables), self.device)
        indexes = self.model.indexes(z_hat, gains=gains)
        index_array = indexes[0].cpu().numpy()
        lap("scale_path")
        if zlib.crc32(index_array.tobytes()) != tile.index_crc:
            raise StreamError(
                "the table indexes do not match their checksum: the stream is damaged or was "
                "written by a faulty encoder; encode the picture again"
            )
        symbols = coder.decode_y(tile.y, index_array, self.tables)
        lap("coding")
        residual = coder.from_numpy(symbols, self.device)
        y_hat = self.model.reconstruct_latents(z_hat, residual, gains=gains)
        lap("context")
        return Latents(z_hat=z_hat, indexes=indexes, symbols=residual, y_hat=y_hat)

    def _parse(self, data: bytes | str | Path, *, max_pixels: int) -> Container:
        container = bitstream.parse(_stream(data), max_pixels=max_pixels)
        own = self.base_hash[: bitstream.HASH_BYTES]
        if container.base_hash != own:
            raise ModelMismatchError(
                f"the stream was written with base {container.base_hash.hex()}, the loaded one is "
                f"{own.hex()}: load the checkpoint it was written with"
            )
        if container.adapter_hashes:
            names = " and ".join(h.hex() for h in container.adapter_hashes)
            raise ModelMismatchError(
                f"the stream needs rate adapter {names}, none is loaded: upgrade promptcodec"
            )
        if len(container.tiles) != 1:
            raise StreamError(
                f"the stream has {len(container.tiles)} tiles, this promptcodec decodes one: "
                "upgrade promptcodec"
            )
        return container

    # -- small parts ---------------------------------------------------------------------------

    def _rate(self, rate_index: float | None) -> Rate:
        own = self.rates[0]
        if rate_index is None or rate_index == own.index:
            return own
        known = ", ".join(f"{r.index} (lambda {r.lmbda})" for r in self.rates)
        hint = f"0 to {len(LAMBDAS) - 1} is the ladder"
        if rate_index in range(len(LAMBDAS)):
            hint = (
                f"train it with `promptcodec train-base` and rate_index: {int(rate_index)} "
                "in the recipe"
            )
        raise RateError(f"rate index {rate_index} is not installed; installed: {known}; {hint}")

    def _gains(self, gain: int) -> Gains:
        return Gains.constant(self.config.codec.latent_channels, gain)

    def _autocast(self) -> torch.autocast:
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def _stream(data: bytes | str | Path) -> bytes:
    """The bytes of a stream, which may be given as the path of its file.

    Raises:
        StreamError: no such file.
    """
    if isinstance(data, str | Path):
        try:
            return Path(data).read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StreamError(f"{data} cannot be read: {reason}: name a readable file") from None
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise StreamError(
            f"a stream is bytes or the path of a file, not {type(data).__name__}"
        ) from None


def find_base(base: str | Path | None) -> Path:
    """Folder of a base checkpoint: given, bundled, or fetched from the Hub.

    Raises:
        CheckpointError: it is in none of these places.
    """
    if base is None:
        package = Path(__file__).resolve().parent
        for root in (package, package.parent):  # installed wheel, source checkout
            folder = root / "checkpoints" / "nano" / "base"
            if folder.is_dir():
                return folder
        raise CheckpointError("the bundled checkpoint is missing; install promptcodec again")
    if not Path(base).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(base)):
        return _from_hub(str(base))
    return Path(base)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download  # only a Hub id needs it
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"no folder {name} and no such repository on the Hub ({line}); give the folder of a "
            "checkpoint or a Hub id owner/name"
        ) from None


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"device {name!r} cannot be used: {line}") from None
    return device


def _gain_to_fixed(gain_steps: float) -> int:
    if not abs(gain_steps) <= MAX_GAIN_STEPS:
        raise UsageError(f"gain_steps is {gain_steps}; need {-MAX_GAIN_STEPS} to {MAX_GAIN_STEPS}")
    return round(gain_steps * bitstream.GAIN_STEPS)


def _chunks(picture: images.Picture) -> list[Chunk]:
    chunks = []
    if picture.alpha is not None:
        chunks.append(Chunk(b"ALPH", images.encode_alpha(picture.alpha)))
    metadata = ((b"ICCP", picture.icc), (b"EXIF", picture.exif), (b"XMP ", picture.xmp))
    return chunks + [Chunk(kind, data) for kind, data in metadata if data]


def _picture(rgb: Any, container: Container) -> images.Picture:
    chunks = {chunk.kind: chunk.data for chunk in container.chunks}
    alpha = None
    if b"ALPH" in chunks:
        alpha = images.decode_alpha(chunks[b"ALPH"], width=container.width, height=container.height)
    return images.Picture(
        rgb=rgb,
        grey=container.grey,
        alpha=alpha,
        icc=chunks.get(b"ICCP"),
        exif=chunks.get(b"EXIF"),
        xmp=chunks.get(b"XMP "),
    )


__all__ = ["Codec", "Decoded", "Encoded", "Precision", "Rate", "find_base"]

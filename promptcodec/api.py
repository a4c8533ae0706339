"""The codec as a user meets it: load once, encode and decode pictures.

picture -> images.load -> pad -> model.analyse -> coder -> bitstream.pack -> bytes
bytes -> bitstream.parse -> coder -> model.synthesise -> crop -> picture
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from promptcodec import bitstream
from promptcodec.aim import aim
from promptcodec.batches import Reading, draft_batch, latents_batch, rebuild_batch
from promptcodec.bitstream import MAX_PIXELS, Header, Parts
from promptcodec.coding import memory_limit
from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.latents import Latents
from promptcodec.coding.results import Clock, Decoded, Encoded, Rate
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.config import STRIDE
from promptcodec.drafts import (
    Draft,
    Engine,
    Position,
    Precision,
    Progress,
    Written,
)
from promptcodec.errors import (
    ModelMismatchError,
    StreamError,
    UsageError,
)
from promptcodec.io import images
from promptcodec.io.hub import PromptsSource, find_base, find_heads, find_prompts, find_tasks
from promptcodec.ladder import Ladder, gain_to_fixed
from promptcodec.models.adapters.checkpoint import RateAdapter, read_adapter
from promptcodec.models.adapters.interpolation import RatePoint
from promptcodec.models.adapters.task_prompts import with_task
from promptcodec.models.checkpoint import Base, read_base
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.heads import predict
from promptcodec.models.heads.checkpoint import Head
from promptcodec.models.heads.config import CLASSIFY, SEGMENT
from promptcodec.models.heads.predict import Label
from promptcodec.models.refine import MAX_EFFORT
from promptcodec.models.task_modules import Shelf
from promptcodec.rebuild import Rebuilder, missing_parts
from promptcodec.settings import EncodeSettings
from promptcodec.sources import Region, open_source, picture_of, read_chunks, region_of
from promptcodec.tiles import begin


class Codec:
    """A base codec and its rates, ready to run and safe to share among threads.

    Only `add_prompts` changes it, in one step: who is coding meanwhile goes on with the rates that
    were there. Build it with `Codec.load`.
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
        self._base = base
        self._engine = Engine(self.model, base.tables, base.sha256, device, precision)
        self._ladder = Ladder(self.model, base.config)
        self._adding = threading.Lock()
        self._shelf = Shelf(base, device)

    @classmethod
    def load(
        cls,
        base: str | Path | None = None,
        prompts: PromptsSource | None = None,
        *,
        heads: str | Path | None = None,
        tasks: str | Path | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> Self:
        """Load a base codec and the adapters of its rates.

        Args:
            base: folder of a checkpoint, or a Hub id "owner/name"; None is the bundled nano codec.
            prompts: an adapter, a folder of adapters, a Hub id of either, several of these, or a
                dict of them by rate index; None is the bundled ladder for the bundled base, and
                no adapter for another one. An empty list is the base alone.
            heads: for `classify` and `segment`: a head, a folder of heads, or a Hub id of either;
                None is those of the bundled base. They are read when they are first used.
            tasks: for `encode(task=...)`: task prompts, a folder of them, or a Hub id of either;
                None is those of the bundled base.
            device: "cpu", "cuda", "cuda:1", ...
            precision: of g_a and g_s; entropy coding is exact in either.
        Raises:
            CheckpointError: nothing usable at `base` or `prompts`.
            ModelMismatchError: an adapter of another base.
            UsageError: unknown device or precision, or a dict that names an adapter wrongly.
        """
        if precision not in ("float32", "bfloat16"):
            raise UsageError(f"precision is {precision!r}; need 'float32' or 'bfloat16'")
        codec = cls(read_base(find_base(base)), device=_device(device), precision=precision)
        codec._install(codec._read(prompts, find_prompts(prompts, base=base)))
        codec._shelf = Shelf(
            codec._base,
            codec.device,
            heads=find_heads(heads, base=base),
            tasks=find_tasks(tasks, base=base),
        )
        return codec

    @property
    def rates(self) -> tuple[Rate, ...]:
        """Positions that can be written, lowest first; any position between two adapters too."""
        return self._ladder.rates()

    @property
    def ladder(self) -> Ladder:
        """Everything that can be written and read at; what is installed later is not in it."""
        return self._ladder

    def at(self, rate_index: float | None = None) -> RatePoint:
        """What a rate adds to the base: networks, gains, lambda.

        Args:
            rate_index: as `encode` takes it.
        Raises:
            RateError: that rate is not installed.
        """
        ladder = self._ladder
        return ladder.at(ladder.position(rate_index))

    def add_prompts(self, prompts: PromptsSource) -> None:
        """Install adapters while the codec is in use; one of a rate that is there replaces it.

        Streams that were written with a replaced adapter still decode.

        Raises:
            CheckpointError: no usable adapter there; none is installed then.
            ModelMismatchError: an adapter of another base.
            UsageError: a dict that names an adapter by another rate index than its own.
        """
        self._install(self._read(prompts, find_prompts(prompts, base="")))

    def _read(self, prompts: PromptsSource | None, folders: list[Path]) -> list[RateAdapter]:
        adapters = [read_adapter(folder, base=self._base) for folder in folders]
        if isinstance(prompts, Mapping):
            found = [adapter.config.rate_index for adapter in adapters]
            if list(prompts) != found:
                raise UsageError(
                    f"prompts are given for rates {', '.join(map(str, prompts))}, and the folders "
                    f"hold {', '.join(map(str, found))}: name each adapter by its own rate index"
                )
        for adapter in adapters:
            adapter.prompts.to(self.device)
        return adapters

    def _install(self, adapters: list[RateAdapter]) -> None:
        with self._adding:
            self._ladder = self._ladder.with_adapters(adapters)

    # -- encoding ------------------------------------------------------------------------------

    def encode(
        self,
        source: Any,
        *,
        rate_index: float | None = None,
        gain_steps: float = 0.0,
        target_bpp: float | None = None,
        target_bytes: float | None = None,
        target_psnr: float | None = None,
        strict: bool = False,
        effort: int = 0,
        tile_size: int | None = None,
        task: str | None = None,
        max_pixels: int = MAX_PIXELS,
        allow_8bit: bool = False,
        strip: bool = False,
        progress: Progress | None = None,
    ) -> bytes:
        """Compress a picture.

        Args:
            source: path, file bytes, binary file, PIL picture, uint8 array (H, W, 3) or (H, W), or
                float tensor (3, H, W) in [0, 1].
            rate_index: one of `rates`, or any number between two of them; None is the base's own.
            gain_steps: finer (positive) or coarser quantisation around that rate, in steps of the
                scale tables: +6 is about twice as fine.
            target_bpp: instead of a rate: 8 * bytes of the file / pixels, met within 1 %.
            target_bytes: instead of a rate: size of the file, met within 1 %.
            target_psnr: instead of a rate: dB over RGB, met within 0.05 dB.
            strict: a target of size is never exceeded.
            effort: 0 to 9; above 0 the latents of this picture are searched for a lower
                rate-distortion cost, which takes seconds to minutes and about 1 GB for each
                megapixel; any decoder reads the result.
            tile_size: side of the tiles that the picture is cut into, px, a multiple of 64; 0 is
                one tile; None is one tile up to 4 megapixels and with an effort, else 512 px.
            task: name of a task, "classify" for instance, whose prompts move the encoder toward
                what the task needs; any decoder of the rate reads the result.
            max_pixels: refuse larger pictures.
            allow_8bit: of files with 9 to 16 bits a channel code the upper 8; otherwise they are
                refused.
            strip: leave out EXIF, XMP and ICC profile.
            progress: called with (steps done, steps) while latents are refined.
        Returns:
            The stream; FORMAT.md specifies it.
        Raises:
            PictureError: no picture, or one of a refused kind.
            RateError: that rate is not installed, or the target cannot be reached.
            UsageError: an effort outside 0 to 9, contradicting arguments, or a codec that writes
                no files.
        """
        settings = EncodeSettings(
            rate_index=rate_index,
            gain_steps=gain_steps,
            target_bpp=target_bpp,
            target_bytes=target_bytes,
            target_psnr=target_psnr,
            strict=strict,
            effort=effort,
            tile_size=tile_size,
            task=task,
            max_pixels=max_pixels,
            allow_8bit=allow_8bit,
            strip=strip,
        )
        return self._encode(source, settings, progress=progress).data

    def encode_detailed(
        self,
        source: Any,
        *,
        rate_index: float | None = None,
        gain_steps: float = 0.0,
        target_bpp: float | None = None,
        target_bytes: float | None = None,
        target_psnr: float | None = None,
        strict: bool = False,
        effort: int = 0,
        tile_size: int | None = None,
        task: str | None = None,
        max_pixels: int = MAX_PIXELS,
        allow_8bit: bool = False,
        strip: bool = False,
        progress: Progress | None = None,
    ) -> Encoded:
        """Like `encode`, with the estimated rate and the time of each part."""
        settings = EncodeSettings(
            rate_index=rate_index,
            gain_steps=gain_steps,
            target_bpp=target_bpp,
            target_bytes=target_bytes,
            target_psnr=target_psnr,
            strict=strict,
            effort=effort,
            tile_size=tile_size,
            task=task,
            max_pixels=max_pixels,
            allow_8bit=allow_8bit,
            strip=strip,
        )
        written = self._encode(source, settings, progress=progress)
        draft = written.draft
        header = bitstream.parse_header(written.data, max_pixels=max(max_pixels, STRIDE**2))
        bits = draft.estimate_bits()
        return Encoded(
            data=written.data,
            rate_index=bitstream.fixed_to_rate(draft.position.rate),
            gain_steps=draft.position.gain / bitstream.GAIN_STEPS,
            bpp_estimate=bits / (header.width * header.height),
            header_bytes=header.size,
            passes=written.passes,
            target_met=written.target_met,
            seconds=written.seconds,
        )

    def encode_batch(
        self,
        sources: Sequence[Any],
        *,
        rate_index: float | Sequence[float] | None = None,
        gain_steps: float = 0.0,
        max_pixels: int = MAX_PIXELS,
    ) -> list[bytes]:
        """Compress many pictures; those of one padded size and rate share the networks' passes.

        A stream equals that of `encode` but for the last bits of float arithmetic, which follow
        the batch: now and then a symbol differs. Any decoder reads it.

        Args:
            sources: pictures as `encode` takes them, of any sizes.
            rate_index: as `encode` takes it, one for all or one for each.
            gain_steps: as `encode` takes it.
            max_pixels: refuse larger pictures.
        Returns:
            Streams in the order of the pictures.
        Raises:
            UsageError: not as many rates as pictures; nothing is encoded by any error.
        """
        ladder, gain = self._ladder, gain_to_fixed(gain_steps)
        each = rate_index if isinstance(rate_index, Sequence) else [rate_index] * len(sources)
        if len(each) != len(sources):
            raise UsageError(f"{len(sources)} pictures and {len(each)} rates: give one each")
        rates = [ladder.position(rate) for rate in each]
        positions = [Position(ladder.at(rate), rate, gain) for rate in rates]
        pictures = [images.load(source, max_pixels=max_pixels) for source in sources]
        works = [
            begin(self._engine, picture, tile_size=None, effort=0, max_pixels=max_pixels)
            for picture in pictures
        ]
        return [draft.stream(draft.tiles()) for draft in draft_batch(works, positions)]

    def _encode(
        self, source: Any, settings: EncodeSettings, *, progress: Progress | None
    ) -> Written:
        target, effort, task = settings.target(), settings.effort, settings.task
        if self.config.codec.scale == "context":
            raise UsageError(
                "this codec's scales depend on float results that differ between machines, so its "
                "streams could not be decoded elsewhere; it serves research by bpp_estimate alone: "
                "write files with a codec of scale 'hyperprior'"
            )
        if task is not None and effort:
            raise UsageError("an effort would search latents away from the task: leave out one")
        if isinstance(effort, float) or effort not in range(MAX_EFFORT + 1):
            raise UsageError(f"effort is {effort}; need a whole number from 0 to {MAX_EFFORT}")
        gain = gain_to_fixed(settings.gain_steps)
        ladder = self._ladder  # this encoding's, whatever is installed meanwhile
        rate = ladder.position(settings.rate_index)

        def point_at(rate: int) -> RatePoint:
            point = ladder.at(rate)
            return point if task is None else with_task(point, self._shelf.task(task).prompts)

        clock = Clock()
        limit = settings.max_pixels
        picture = images.load(
            source,
            max_pixels=limit,
            allow_8bit=settings.allow_8bit,
            strip=settings.strip,
            in_place=True,
        )
        work = begin(
            self._engine, picture, tile_size=settings.tile_size, effort=effort, max_pixels=limit
        )
        clock.lap("load")
        passes, met = 1, True
        if target is not None:
            draft, passes, met = aim(
                work,
                target,
                point=point_at,
                indexes=ladder.indexes,
                start=self.config.rate_index,
            )
        else:
            draft = work.draft(point_at(rate), rate=rate, gain=gain)
            if effort and isinstance(draft, Draft):
                draft = draft.refined(effort, progress=progress)
        clock.lap("g_a")
        tiles = draft.tiles()
        clock.lap("coding")
        data = draft.stream(tiles)
        clock.lap("pack")
        return Written(data, draft, passes=passes, target_met=met, seconds=clock.laps)

    # -- decoding ------------------------------------------------------------------------------

    def decode(
        self,
        data: bytes | str | Path,
        *,
        region: Region | None = None,
        allow_partial: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> Image.Image:
        """Rebuild a picture.

        Args:
            data: a whole stream, or the path of its file.
            region: x, y, width, height of the part to rebuild, px; only the tiles that it needs
                are read and decoded.
            allow_partial: of a stream that was cut off, rebuild the tiles that are whole and leave
                the others grey; `decode_detailed` names them.
            max_pixels: refuse larger pictures, or regions, before allocating anything.
        Returns:
            A picture in the mode of the original: L, LA, RGB or RGBA.
        Raises:
            StreamError: no stream, damaged, truncated, or from a newer version.
            ModelMismatchError: written with another base or adapter.
            UsageError: a region outside the picture.
        """
        return self.decode_detailed(
            data, region=region, allow_partial=allow_partial, max_pixels=max_pixels
        ).picture

    def decode_detailed(
        self,
        data: bytes | str | Path,
        *,
        region: Region | None = None,
        allow_partial: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> Decoded:
        """Like `decode`, with the time of each part and what is missing of a partial stream."""
        clock = Clock()
        with open_source(data) as (read, file_bytes):
            limit = max_pixels if region is None else 1 << 64
            parts = bitstream.open_parts(
                read, file_bytes, allow_partial=allow_partial, max_pixels=limit
            )
            header = parts.header
            wanted = region_of(region, header, max_pixels=max_pixels)
            self._check_memory(header, wanted, max_pixels=max_pixels)
            rebuilder = self._rebuilder(parts, allow_partial=allow_partial, clock=clock)
            chunks = read_chunks(parts, allow_partial=allow_partial)
            strips = rebuilder.strips(wanted)
            pixels = images.join(strips, height=wanted.height, width=wanted.width, grey=header.grey)
            if rebuilder.missing.issuperset(rebuilder.tiling.touching(wanted)):
                what = "the stream" if region is None else "the region"
                raise StreamError(
                    f"no tile of {what} is whole: nothing can be rebuilt; copy the file again"
                )
            missing = missing_parts(parts, rebuilder.missing) if allow_partial else ()
        picture = images.to_pil(picture_of(pixels, header, chunks, wanted))
        clock.lap("picture")
        return Decoded(picture=picture, seconds=clock.laps, missing=missing)

    def decode_batch(
        self, streams: Sequence[bytes | str | Path], *, max_pixels: int = MAX_PIXELS
    ) -> list[Image.Image]:
        """Rebuild many pictures; those of one padded size and rate share the networks' passes.

        Args:
            streams: whole streams, or paths of their files, of any sizes and rates.
            max_pixels: refuse larger pictures.
        Returns:
            Pictures in the order of the streams, as `decode` gives them.
        Raises:
            StreamError: see `decode`; no picture is returned then.
            ModelMismatchError: see `decode`.
        """
        readings = [self._reading(stream, max_pixels=max_pixels) for stream in streams]
        pictures = []
        for reading, pixels in zip(readings, rebuild_batch(self._engine, readings), strict=True):
            whole = Box(0, 0, reading.header.height, reading.header.width)
            chunks = read_chunks(reading.parts, allow_partial=False)
            pictures.append(images.to_pil(picture_of(pixels, reading.header, chunks, whole)))
        return pictures

    def _reading(
        self, stream: bytes | str | Path, *, max_pixels: int, latents_alone: bool = False
    ) -> Reading:
        with open_source(stream) as (read, file_bytes):
            content = read(0, file_bytes)
        parts = bitstream.open_parts(
            lambda at, size: content[at : at + size], len(content), max_pixels=max_pixels
        )
        header = parts.header
        self._check_base(header)
        whole = Box(0, 0, header.height, header.width)
        self._check_memory(header, whole, max_pixels=max_pixels, latents_alone=latents_alone)
        return Reading(parts, self._ladder.of_stream(parts.header))

    def _whole(self, stream: bytes | str | Path, *, max_pixels: int) -> Reading:
        """A stream of which nothing is damaged, as `decode` would have it."""
        reading = self._reading(stream, max_pixels=max_pixels, latents_alone=True)
        read_chunks(reading.parts, allow_partial=False)
        return reading

    def decode_latents(self, data: bytes | str | Path, *, max_pixels: int = MAX_PIXELS) -> Latents:
        """Everything that was transmitted, without rebuilding pixels.

        Raises:
            StreamError: see `decode`.
            ModelMismatchError: see `decode`.
        """
        with open_source(data) as (read, file_bytes):
            parts = bitstream.open_parts(read, file_bytes, max_pixels=max_pixels)
            whole = Box(0, 0, parts.header.height, parts.header.width)
            self._check_memory(parts.header, whole, max_pixels=max_pixels, latents_alone=True)
            latents = self._rebuilder(parts, allow_partial=False, clock=Clock()).all_latents()
            read_chunks(parts, allow_partial=False)  # a damaged stream gives nothing
        # Copies outside inference mode: a head may be trained on them.
        return Latents(**{name: value.clone() for name, value in vars(latents).items()})

    # -- understanding -------------------------------------------------------------------------

    def latents(self, data: bytes | str | Path, *, max_pixels: int = MAX_PIXELS) -> Tensor:
        """y_hat of a stream, float32 (1, M, h, w), h and w multiples of 4; errors as `decode`."""
        return self.decode_latents(data, max_pixels=max_pixels).y_hat

    def classify(
        self, data: bytes | str | Path, *, top: int = 5, max_pixels: int = MAX_PIXELS
    ) -> list[Label]:
        """What a stream shows, from its latents: g_s does not run.

        Args:
            data: a whole stream, or the path of its file.
            top: how many classes.
            max_pixels: refuse larger pictures.
        Returns:
            Classes and probabilities, most probable first.
        Raises:
            CheckpointError: this codec has no classifier.
            StreamError: see `decode`.
            ModelMismatchError: see `decode`; or a head of another base.
            UsageError: `top` is below 1.
        """
        return self.classify_batch([data], top=top, max_pixels=max_pixels)[0]

    def classify_batch(
        self,
        streams: Sequence[bytes | str | Path],
        *,
        top: int = 5,
        max_pixels: int = MAX_PIXELS,
    ) -> list[list[Label]]:
        """What streams show; those of one padded size and rate share the networks' passes.

        Args:
            streams: whole streams, or paths of their files.
            top: how many classes of each.
            max_pixels: refuse larger pictures.
        Returns:
            As `classify`, in the order of the streams.
        Raises:
            CheckpointError: this codec has no classifier.
            StreamError: see `decode`.
            ModelMismatchError: see `decode`; or a head of another base.
            UsageError: `top` is below 1.
        """
        head = self.head(CLASSIFY)
        if not isinstance(top, Integral) or top < 1:
            raise UsageError(f"top is {top!r}; need a whole number from 1 on")
        readings = [self._whole(stream, max_pixels=max_pixels) for stream in streams]
        latents = latents_batch(self._engine, readings)
        lmbdas = [reading.lmbda for reading in readings]
        return predict.classify(head, latents, lmbdas=lmbdas, top=top)

    def segment(self, data: bytes | str | Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """The class of each pixel of a stream, from its latents: g_s does not run.

        Returns:
            uint8 (H, W), places in `labels("segment")`.
        Raises:
            CheckpointError: this codec has no segmentation head.
            StreamError: see `decode`.
            ModelMismatchError: see `decode`; or a head of another base.
        """
        head = self.head(SEGMENT)
        reading = self._whole(data, max_pixels=max_pixels)
        (y_hat,) = latents_batch(self._engine, [reading])
        header = reading.header
        return predict.segment(
            head, y_hat, lmbda=reading.lmbda, height=header.height, width=header.width
        )

    def labels(self, task: str = CLASSIFY) -> tuple[str, ...]:
        """Names of the classes of a task's head, "classify" or "segment".

        Raises:
            CheckpointError: this codec has no such head.
        """
        return self.head(task).config.labels

    def head(self, task: str) -> Head:
        """The head of a task, "classify" or "segment", read when it is first asked for.

        Raises:
            CheckpointError: this codec has no such head.
            ModelMismatchError: it belongs to another base.
        """
        return self._shelf.head(task)

    def _rebuilder(self, parts: Parts, *, allow_partial: bool, clock: Clock) -> Rebuilder:
        header = parts.header
        self._check_base(header)
        point = self._ladder.of_stream(header)
        return Rebuilder(
            engine=self._engine,
            point=point,
            gains=point.gains.moved(header.gain),
            tiling=Tiling.of(header, self.config.codec),
            tile=parts.tile,
            allow_partial=allow_partial,
            lap=clock.lap,
        )

    def _check_memory(
        self, header: Header, region: Box, *, max_pixels: int, latents_alone: bool = False
    ) -> None:
        tiling = Tiling.of(header, self.config.codec)
        more = memory_limit.excess(
            self.config.codec,
            tiling,
            region,
            max_pixels=max_pixels,
            latents_alone=latents_alone,
        )
        if more:
            raise StreamError(
                f"{more}: if you trust the stream, raise --max-pixels (in Python max_pixels)"
            )

    def _check_base(self, header: Header) -> None:
        own = self.base_hash[: bitstream.HASH_BYTES]
        if header.base_hash != own:
            raise ModelMismatchError(
                f"the stream was written with base {header.base_hash.hex()}, the loaded one is "
                f"{own.hex()}: load the checkpoint it was written with"
            )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"there is no device {name!r}: choose cpu, cuda or cuda:1") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported: choose cpu or cuda")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"device {name!r} cannot be used: {line}: choose cpu") from None
    return device


__all__ = ["Codec", "Decoded", "Encoded", "Precision", "Rate", "find_base"]

"""Public methods of the codec: pictures to streams and back, labels and masks of streams.

picture -> prepare -> engine (g_a, hyperprior, context) -> entropy coder -> container -> bytes
bytes -> stream file -> entropy decoder -> engine (context, g_s) -> picture
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptcodec import bitstream
from promptcodec.bitstream import HASH_BYTES, MAX_PIXELS, StreamFile, load_stream, open_stream
from promptcodec.coding import memory_limit
from promptcodec.coding.adapter import RatePoint
from promptcodec.coding.batch import OpenStream, decode_batch, encode_batch, scores_batch
from promptcodec.coding.decoder import assemble_picture, check_region, missing_parts
from promptcodec.coding.encoder import Candidate, CodingPoint, prepare
from promptcodec.coding.engine import Progress
from promptcodec.coding.ladder import gain_to_fixed
from promptcodec.coding.latents import Latents
from promptcodec.coding.loaded_base import LoadedBase
from promptcodec.coding.many import listed, rates_for
from promptcodec.coding.predict import Label, classes_of, most_probable
from promptcodec.coding.rate_search import encode_to_target
from promptcodec.coding.results import Decoded, Encoded, Stopwatch
from promptcodec.coding.settings import (
    DecodeOptions,
    DecodeSettings,
    EncodeOptions,
    EncodeSettings,
)
from promptcodec.coding.tiling import Box
from promptcodec.config import CLASSIFY, SEGMENT, TILE_STRIDE
from promptcodec.errors import ModelMismatchError, StreamError, UsageError
from promptcodec.io.load import load_picture
from promptcodec.io.pictures import Picture, join_rows, to_pil

Source = bytes | str | Path  # a stream, or the path of its file


class PictureCodec(LoadedBase):
    """Pictures to streams and back, labels and masks of streams."""

    # -- encoding ------------------------------------------------------------------------------

    def encode(
        self, source: Any, *, progress: Progress | None = None, **options: Unpack[EncodeOptions]
    ) -> bytes:
        """Compress a picture.

        Args:
            source: path, file bytes, binary file, PIL picture, uint8 array (H, W, 3) or (H, W), or
                float tensor (3, H, W) in [0, 1].
            progress: function of (steps done, steps) for the refinement of latents.
            options: fields of `EncodeSettings`.
        Returns:
            The stream; FORMAT.md specifies it.
        Warns:
            UserWarning: the source has what the stream has not, further frames for instance;
                `encode_detailed` gives these notes as values.
        Raises:
            PictureError: the source is no picture, or one of a refused kind.
            RateError: the rate is not installed, or the target cannot be reached.
            UsageError: options contradict each other, or the codec is for research alone.
        Examples:
            >>> import numpy as np
            >>> data = codec.encode(np.zeros((48, 72, 3), np.uint8), strip=True)
            >>> data[1:3]
            b'PC'
        """
        data, candidate, *_ = self._encode(source, EncodeSettings(**options), progress=progress)
        _warn(candidate.prepared.picture)
        return data

    def encode_detailed(
        self,
        source: Any,
        settings: EncodeSettings | None = None,
        *,
        progress: Progress | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Encoded:
        """Compress a picture; the result also has the estimated rate and the time of each part.

        Args:
            source: picture as in `encode`.
            settings: options as one value, instead of `options`.
            progress: function of (steps done, steps) for the refinement of latents.
            options: fields of `EncodeSettings`.
        """
        settings = settings or EncodeSettings(**options)
        data, candidate, passes, met, seconds = self._encode(source, settings, progress=progress)
        header = bitstream.parse_header(data, max_pixels=max(settings.max_pixels, TILE_STRIDE**2))
        return Encoded(
            data=data,
            rate_index=bitstream.fixed_to_rate(candidate.point.rate),
            gain_steps=candidate.point.gain / bitstream.GAIN_STEPS,
            bpp_estimate=candidate.bits() / (header.width * header.height),
            header_bytes=header.size,
            passes=passes,
            target_met=met,
            seconds=seconds,
            frames=candidate.prepared.picture.frames,
            notes=candidate.prepared.picture.notes,
        )

    def _encode(
        self, source: Any, settings: EncodeSettings, *, progress: Progress | None
    ) -> tuple[bytes, Candidate, int, bool, dict[str, float]]:
        self._check_writes()
        ladder = self._ladder  # the same for all of the encoding; others may be installed meanwhile
        rate, gain = ladder.position(settings.rate_index), gain_to_fixed(settings.gain_steps)

        def point_at(rate: int) -> RatePoint:
            point = ladder.at(rate)
            if settings.task is None:
                return point
            return replace(point, network=self.engine.with_task(point.network, settings.task))

        watch = Stopwatch()
        picture = load_picture(
            source,
            max_pixels=settings.max_pixels,
            allow_8bit=settings.allow_8bit,
            strip=settings.strip,
            in_place=True,
        )
        prepared = prepare(
            self.engine,
            picture,
            tile_size=settings.tile_size,
            effort=settings.effort,
            max_pixels=settings.max_pixels,
            on_stage=watch.lap,
        )
        watch.lap("load")
        passes, met = 1, True
        if settings.target is not None:
            candidate, passes, met = encode_to_target(
                prepared,
                settings.target,
                point_at=point_at,
                indexes=ladder.indexes,
                start=self.config.rate_index,
            )
        else:
            candidate = prepared.encode_at(CodingPoint(point_at(rate), rate, gain))
            candidate = candidate.refine(settings.effort, progress=progress)
        data = candidate.stream()
        watch.lap("pack")
        return data, candidate, passes, met, watch.laps

    def encode_batch(
        self,
        sources: Iterable[Any],
        *,
        rate_index: float | Iterable[float] | None = None,
        gain_steps: float = 0.0,
        max_pixels: int = MAX_PIXELS,
    ) -> list[bytes]:
        """Compress many pictures; those of one padded size and rate share the networks' passes.

        A stream may differ from that of `encode` in a few symbols, as float arithmetic depends on
        the batch in its last bits. Any decoder reads it.

        Args:
            sources: pictures as in `encode`, of any sizes.
            rate_index: position on the ladder for all, or positions for each: a list, array,
                tensor or generator.
            gain_steps: finer or coarser quantisation, as in `EncodeSettings`.
            max_pixels: largest allowed number of pixels of a picture.
        Returns:
            Streams in the order of the pictures.
        Raises:
            UsageError: the numbers of rates and pictures differ, or one picture is given.
            PictureError: see `encode`; no stream is returned then.
            RateError: see `encode`.
        """
        self._check_writes()
        settings = EncodeSettings(gain_steps=gain_steps, max_pixels=max_pixels)
        ladder, gain = self._ladder, gain_to_fixed(settings.gain_steps)
        sources = listed(sources, what="pictures")
        rates = [ladder.position(rate) for rate in rates_for(len(sources), rate_index)]
        points = [CodingPoint(ladder.at(rate), rate, gain) for rate in rates]
        pictures = [load_picture(source, max_pixels=max_pixels) for source in sources]
        prepared = [
            prepare(self.engine, picture, tile_size=None, effort=0, max_pixels=max_pixels)
            for picture in pictures
        ]
        for picture in pictures:
            _warn(picture)
        return [candidate.stream() for candidate in encode_batch(prepared, points)]

    # -- decoding ------------------------------------------------------------------------------

    def decode(self, data: Source, **options: Unpack[DecodeOptions]) -> Image.Image:
        """Rebuild a picture.

        Args:
            data: a whole stream, or the path of its file.
            options: fields of `DecodeSettings`.
        Returns:
            A picture in the mode of the original: L, LA, RGB or RGBA.
        Raises:
            StreamError: the data is no stream, damaged, truncated, or of a newer version.
            ModelMismatchError: the stream was written with another base or adapter.
            UsageError: the region is not inside the picture.
        Examples:
            >>> data = codec.encode("photo.png")
            >>> codec.decode(data).size, codec.decode(data, region=(10, 20, 64, 48)).size
            ((451, 300), (64, 48))
        """
        return self.decode_detailed(data, DecodeSettings(**options)).picture

    def decode_detailed(
        self, data: Source, settings: DecodeSettings | None = None, **options: Unpack[DecodeOptions]
    ) -> Decoded:
        """Rebuild a picture; the result also has the time and missing parts of a partial stream.

        Args:
            data: a whole stream, or the path of its file.
            settings: options as one value, instead of `options`.
            options: fields of `DecodeSettings`.
        """
        settings = settings or DecodeSettings(**options)
        watch, partial = Stopwatch(), settings.allow_partial
        limit = settings.max_pixels if settings.region is None else 1 << 64
        with open_stream(data, allow_partial=partial, max_pixels=limit) as file:
            header = file.header
            wanted = check_region(settings.region, header, max_pixels=settings.max_pixels)
            limit = settings.max_pixels
            memory_limit.check_stream(self.config.codec, header, wanted, max_pixels=limit)
            decoder = self._opened(file).decoder(
                self.engine, allow_partial=partial, on_stage=watch.lap
            )
            chunks = file.chunks(allow_partial=partial)
            rows = decoder.rows(wanted)
            pixels = join_rows(rows, height=wanted.height, width=wanted.width, grey=header.grey)
            if decoder.missing.issuperset(decoder.tiling.touching(wanted)):
                what = "the stream" if settings.region is None else "the region"
                raise StreamError(
                    f"no tile of {what} is whole: nothing can be rebuilt; copy the file again"
                )
            missing = missing_parts(file, decoder.missing) if partial else ()
        picture = to_pil(assemble_picture(pixels, header, chunks, wanted))
        if settings.strip:
            picture.info.clear()
        watch.lap("picture")
        return Decoded(picture=picture, seconds=watch.laps, missing=missing)

    def decode_batch(
        self, streams: Iterable[Source], *, max_pixels: int = MAX_PIXELS
    ) -> list[Image.Image]:
        """Rebuild many pictures; those of one padded size and rate share the networks' passes.

        Args:
            streams: whole streams, or paths of their files, of any sizes and rates.
            max_pixels: largest allowed number of pixels of a picture.
        Returns:
            Pictures in the order of the streams, in the modes of `decode`.
        Raises:
            StreamError: see `decode`; no picture is returned then.
            ModelMismatchError: see `decode`.
        """
        streams = listed(streams, what="streams")
        loaded = [self._load(stream, max_pixels=max_pixels) for stream in streams]
        pictures = []
        for stream, pixels in zip(loaded, decode_batch(self.engine, loaded), strict=True):
            whole = Box(0, 0, stream.header.height, stream.header.width)
            chunks = stream.file.chunks(allow_partial=False)
            pictures.append(to_pil(assemble_picture(pixels, stream.header, chunks, whole)))
        return pictures

    def decode_latents(self, data: Source, *, max_pixels: int = MAX_PIXELS) -> Latents[NDArray]:
        """Decode latents of a stream, without rebuilding pixels.

        Args:
            data: a whole stream, or the path of its file.
            max_pixels: largest allowed number of pixels of the picture.
        Raises:
            StreamError: see `decode`.
            ModelMismatchError: see `decode`.
        """
        return self._load_whole(data, max_pixels=max_pixels).decoder(self.engine).all_latents()

    # -- heads ---------------------------------------------------------------------------------

    def classify(self, data: Source, *, top: int = 5, max_pixels: int = MAX_PIXELS) -> list[Label]:
        """Classify a stream from its latents, without g_s.

        Args:
            data: a whole stream, or the path of its file.
            top: number of classes.
            max_pixels: largest allowed number of pixels of the picture.
        Returns:
            Classes and probabilities, most probable first.
        Raises:
            CheckpointError: this codec has no classifier.
            StreamError: see `decode`.
            ModelMismatchError: see `decode`; or the head belongs to another base.
            UsageError: `top` is below 1.
        """
        return self.classify_batch([data], top=top, max_pixels=max_pixels)[0]

    def classify_batch(
        self, streams: Iterable[Source], *, top: int = 5, max_pixels: int = MAX_PIXELS
    ) -> list[list[Label]]:
        """Classify many streams; those of one padded size and rate share the networks' passes.

        Arguments, results and errors are those of `classify`, in the order of the streams.
        """
        labels = self.labels(CLASSIFY)
        if not isinstance(top, Integral) or top < 1:
            raise UsageError(f"top is {top!r}; need a whole number from 1 on")
        streams = listed(streams, what="streams")
        loaded = [self._load_whole(stream, max_pixels=max_pixels) for stream in streams]
        logits = scores_batch(self.engine, CLASSIFY, loaded)
        return [most_probable(own[0], labels, top=top) for own in logits]

    def segment(self, data: Source, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
        """Segment a stream from its latents, without g_s.

        Args:
            data: a whole stream, or the path of its file.
            max_pixels: largest allowed number of pixels of the picture.
        Returns:
            Class of each pixel, uint8 (H, W), indexes in `labels("segment")`.
        Raises:
            CheckpointError: this codec has no segmentation head.
            StreamError: see `decode`.
            ModelMismatchError: see `decode`; or the head belongs to another base.
        """
        self.labels(SEGMENT)
        loaded = self._load_whole(data, max_pixels=max_pixels)
        (scores,) = scores_batch(self.engine, SEGMENT, [loaded])
        return classes_of(scores[0], height=loaded.header.height, width=loaded.header.width)

    def labels(self, task: str = CLASSIFY) -> tuple[str, ...]:
        """Names of the classes of a task's head, "classify" or "segment".

        Raises:
            CheckpointError: this codec has no such head.
            ModelMismatchError: the head belongs to another base.
        """
        return self.engine.labels(task)

    # -- checks --------------------------------------------------------------------------------

    def _opened(self, file: StreamFile) -> OpenStream:
        """A stream with the point it was coded at; ModelMismatchError if that is not installed."""
        own = self.base_hash[:HASH_BYTES]
        if file.header.base_hash != own:
            raise ModelMismatchError(
                f"the stream was written with base {file.header.base_hash.hex()}, the loaded one "
                f"is {own.hex()}: load the checkpoint it was written with"
            )
        return OpenStream(file, self._ladder.of_stream(file.header))

    def _load(self, source: Source, *, max_pixels: int, latents_alone: bool = False) -> OpenStream:
        """A stream in memory that can be decoded within the limits."""
        opened = self._opened(load_stream(source, max_pixels=max_pixels))
        whole = Box(0, 0, opened.header.height, opened.header.width)
        memory_limit.check_stream(
            self.config.codec,
            opened.header,
            whole,
            max_pixels=max_pixels,
            latents_alone=latents_alone,
        )
        return opened

    def _load_whole(self, source: Source, *, max_pixels: int) -> OpenStream:
        """An undamaged stream whose latents can be decoded."""
        opened = self._load(source, max_pixels=max_pixels, latents_alone=True)
        opened.file.chunks(allow_partial=False)
        return opened

    def _check_writes(self) -> None:
        if self.config.codec.scale == "context":
            raise UsageError(
                "this codec's scales depend on float results that differ between machines, so its "
                "streams could not be decoded elsewhere; it serves research by bpp_estimate alone: "
                "write files with a codec of scale 'hyperprior'"
            )


def _warn(picture: Picture) -> None:
    for note in picture.notes:
        warnings.warn(f"the picture is coded in part: {note}", stacklevel=3)

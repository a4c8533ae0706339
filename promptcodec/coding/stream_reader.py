"""Public methods of the codec for streams: pictures, latents, labels and masks of them.

bytes -> stream file -> entropy decoder -> engine (context, g_s) -> picture
                                        -> engine (context, head) -> labels or mask
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptcodec.bitstream import HASH_BYTES, MAX_PIXELS, StreamFile, load_stream, open_stream
from promptcodec.coding import memory_limit
from promptcodec.coding.batch import OpenStream, decode_batch, scores_batch
from promptcodec.coding.decoder import assemble_picture, check_region, missing_parts
from promptcodec.coding.latents import Latents
from promptcodec.coding.loaded_base import LoadedBase
from promptcodec.coding.many import listed
from promptcodec.coding.predict import Label, classes_of, most_probable
from promptcodec.coding.results import Decoded, Stopwatch
from promptcodec.coding.retired import find_retired
from promptcodec.coding.settings import DecodeOptions, DecodeSettings
from promptcodec.coding.stream_latents import latents_of_stream
from promptcodec.coding.tiling import Box
from promptcodec.config import CLASSIFY, SEGMENT
from promptcodec.errors import ModelMismatchError, StreamError, UsageError
from promptcodec.io.pictures import join_rows, to_pil

Source = bytes | str | Path  # a stream, or the path of its file


class StreamReader(LoadedBase):
    """Streams to pictures, latents, labels and masks."""

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
        return Decoded(
            picture=picture, seconds=watch.laps, engine=self.engine.name, missing=missing
        )

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

        An exact tile has none: those of its pixels are made, as `encode` would have. Made on
        another machine, they may differ in a few symbols.

        Args:
            data: a whole stream, or the path of its file.
            max_pixels: largest allowed number of pixels of the picture.
        Raises:
            StreamError: see `decode`.
            ModelMismatchError: see `decode`.
        """
        opened = self._load_whole(data, max_pixels=max_pixels)
        return latents_of_stream(opened.decoder(self.engine))

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

    def _opened(self, file: StreamFile) -> OpenStream:
        """A stream with the point it was coded at; ModelMismatchError if that is not installed."""
        own = self.base_hash[:HASH_BYTES]
        written = file.header.base_hash
        if written != own and (base := find_retired(written)):
            raise ModelMismatchError(
                f"the stream was written with base {base.name} ({written.hex()}), which this "
                f"version does not have: decode it with the repository at commit {base.commit}"
            )
        if written != own:
            raise ModelMismatchError(
                f"the stream was written with base {written.hex()}, the loaded one "
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

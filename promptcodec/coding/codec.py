"""Public methods of the codec: pictures to streams, and what is read from streams.

picture -> prepare -> engine (g_a, hyperprior, context) -> entropy coder -> container -> bytes
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, Unpack

from promptcodec import bitstream
from promptcodec.bitstream import MAX_PIXELS
from promptcodec.coding.adapter import RatePoint
from promptcodec.coding.batch import encode_batch
from promptcodec.coding.encoder import Candidate, CodingPoint, PreparedPicture, prepare
from promptcodec.coding.engine import Progress
from promptcodec.coding.graphics import ExactSearch, exact_everywhere, exact_tile_size
from promptcodec.coding.ladder import Ladder, gain_to_fixed
from promptcodec.coding.many import listed, rates_for
from promptcodec.coding.pack_choice import likely, tried
from promptcodec.coding.packs import Attempt, cheapest
from promptcodec.coding.results import Encoded, Stopwatch
from promptcodec.coding.settings import EncodeOptions, EncodeSettings, Graphics
from promptcodec.coding.stream_reader import StreamReader
from promptcodec.coding.targets import encode_to_target
from promptcodec.config import TILE_STRIDE
from promptcodec.errors import RateError, UsageError
from promptcodec.io.load import load_picture
from promptcodec.io.packs import AUTO
from promptcodec.io.pictures import Picture


class PictureCodec(StreamReader):
    """Pictures to streams and back, labels and masks of streams."""

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
            engine=candidate.prepared.engine.name,
            exact_tiles=len(header.exact_tiles),
            frames=candidate.prepared.picture.frames,
            notes=candidate.prepared.picture.notes,
            pack=candidate.point.rate_point.pack,
        )

    def _encode(
        self, source: Any, settings: EncodeSettings, *, progress: Progress | None
    ) -> tuple[bytes, Candidate, int, bool, dict[str, float]]:
        self._check_writes()
        gain_to_fixed(settings.gain_steps)  # checks it before any work
        # The same for all of the encoding; others may be installed meanwhile.
        ladders = self.ladders_for(settings)
        watch = Stopwatch()
        picture = load_picture(
            source,
            max_pixels=settings.max_pixels,
            allow_8bit=settings.allow_8bit,
            strip=settings.strip,
            in_place=True,
        )
        exact, size = settings.graphics == "always", settings.tile_size
        prepared = prepare(
            self.engine,
            picture,
            tile_size=exact_tile_size(size, picture) if exact else size,
            effort=settings.effort,
            max_pixels=settings.max_pixels,
            exact=exact,
            on_stage=watch.lap,
        )
        watch.lap("load")
        search = None
        if settings.graphics == "auto" and settings.task is None:
            search = ExactSearch.of(prepared, tile_size=size, effort=settings.effort)
            prepared = search.prepared
            watch.lap("exact")
        prepared = exact_everywhere(prepared) if exact else prepared
        attempt = partial(
            self._attempt, prepared=prepared, search=search, settings=settings, watch=watch
        )
        if settings.pack == AUTO and len(ladders) > 1:
            attempts = self._chosen(ladders, attempt, prepared, search, settings, progress)
        else:
            attempts = tried(ladders, attempt, progress)
        best = cheapest(attempts)
        data = best.candidate.stream()
        watch.lap("pack")
        passes = sum(attempt.passes for attempt in attempts)
        return data, best.candidate, passes, best.met, watch.laps

    def _chosen(
        self,
        ladders: list[Ladder],
        attempt: Callable[..., Attempt],
        prepared: PreparedPicture,
        search: ExactSearch | None,
        settings: EncodeSettings,
        progress: Progress | None,
    ) -> list[Attempt]:
        """Encodings with the ladders that a sample speaks for; arguments as `_attempt`."""
        if settings.target is None:
            number = likely(prepared, _points(ladders, settings), search=search)
            found = attempt(ladders[number], progress)
            if found.candidate.is_exact and number:  # it needs no network
                found = attempt(ladders[0], progress)
            return [found]
        try:
            first = attempt(ladders[0])
        except RateError:
            return tried(ladders, attempt)
        if not first.met:
            return [first, *tried(ladders[1:], attempt, among=[first])]
        place = first.candidate.point  # where others will be, too, or near it
        there = [ladder for ladder in ladders if ladder.has(place.rate)]
        points = [replace(place, rate_point=ladder.at(place.rate)) for ladder in there]
        number = likely(prepared, points, search=search)
        others = [there[number]] if number else []
        return [first, *tried(others, attempt, among=[first])]

    def _attempt(
        self,
        ladder: Ladder,
        progress: Progress | None = None,
        *,
        prepared: PreparedPicture,
        search: ExactSearch | None,
        settings: EncodeSettings,
        watch: Stopwatch,
    ) -> Attempt:
        """The encoding with one ladder; RateError if a target is out of its reach."""

        def point_at(rate: int) -> RatePoint:
            point = ladder.at(rate)
            if settings.task is None:
                return point
            return replace(point, network=self.engine.with_task(point.network, settings.task))

        if settings.target is not None:
            found = encode_to_target(
                prepared,
                settings.target,
                search=search,
                point_at=point_at,
                indexes=ladder.indexes,
                start=self.config.rate_index,
            )
            return Attempt(*found)
        rate, gain = ladder.position(settings.rate_index), gain_to_fixed(settings.gain_steps)
        candidate = prepared.encode_at(CodingPoint(point_at(rate), rate, gain))
        candidate = candidate.refine(settings.effort, progress=progress)
        if search is not None:
            watch.lap("g_a")
            candidate = search.best(candidate)
            watch.lap("exact")
        return Attempt(candidate)

    def encode_batch(
        self,
        sources: Iterable[Any],
        *,
        rate_index: float | Iterable[float] | None = None,
        gain_steps: float = 0.0,
        graphics: Graphics = "auto",
        pack: str | None = None,
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
            graphics: tiles that are coded exactly, as in `EncodeSettings`.
            pack: name of a loaded pack, "auto" or "best", as in `EncodeSettings`.
            max_pixels: largest allowed number of pixels of a picture.
        Returns:
            Streams in the order of the pictures.
        Raises:
            UsageError: the numbers of rates and pictures differ, or one picture is given.
            PictureError: see `encode`; no stream is returned then.
            RateError: see `encode`.
        """
        self._check_writes()
        settings = EncodeSettings(
            gain_steps=gain_steps, graphics=graphics, pack=pack, max_pixels=max_pixels
        )
        exact = settings.graphics == "always"
        sources = listed(sources, what="pictures")
        each = [replace(settings, rate_index=r) for r in rates_for(len(sources), rate_index)]
        points = [_points(self.ladders_for(own), own) for own in each]
        pictures = [load_picture(source, max_pixels=max_pixels) for source in sources]
        prepared = [
            prepare(
                self.engine,
                picture,
                tile_size=exact_tile_size(None, picture) if exact else None,
                effort=0,
                max_pixels=max_pixels,
                exact=exact,
            )
            for picture in pictures
        ]
        for picture in pictures:
            _warn(picture)
        if exact:
            prepared = [exact_everywhere(each) for each in prepared]
        searches: list[ExactSearch | None] = [None] * len(prepared)
        if settings.graphics == "auto":
            searches = [ExactSearch.of(each, tile_size=None, effort=0) for each in prepared]
            prepared = [search.prepared for search in searches if search is not None]
        first = [own[0] for own in points]
        if pack == AUTO:
            parts = zip(prepared, points, searches, strict=True)
            points = [[own[likely(p, own, search=search)]] for p, own, search in parts]
        numbers = [number for number, own in enumerate(points) for _ in own]
        found = encode_batch([prepared[n] for n in numbers], list(chain(*points)))
        attempts: list[list[Attempt]] = [[] for _ in pictures]
        for number, candidate in zip(numbers, found, strict=True):
            search = searches[number]
            best = candidate if search is None else search.best(candidate)
            bound = best.point.rate_point.hashes != first[number].rate_point.hashes
            if search is not None and pack == AUTO and best.is_exact and bound:  # for nothing
                best = search.best(prepared[number].encode_at(first[number]))
            attempts[number].append(Attempt(best))
        return [cheapest(own).candidate.stream() for own in attempts]

    def _check_writes(self) -> None:
        if self.config.codec.scale == "context":
            raise UsageError(
                "this codec's scales depend on float results that differ between machines, so its "
                "streams could not be decoded elsewhere; it serves research by bpp_estimate alone: "
                "write files with a codec of scale 'hyperprior'"
            )


def _points(ladders: Iterable[Ladder], settings: EncodeSettings) -> list[CodingPoint]:
    """Position of a rate on each ladder."""
    gain, points = gain_to_fixed(settings.gain_steps), []
    for ladder in ladders:
        rate = ladder.position(settings.rate_index)
        points.append(CodingPoint(ladder.at(rate), rate, gain))
    return points


def _warn(picture: Picture) -> None:
    for note in picture.notes:
        warnings.warn(f"the picture is coded in part: {note}", stacklevel=3)

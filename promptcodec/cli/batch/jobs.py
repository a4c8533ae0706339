"""Jobs on one file: encode a picture, decode a stream."""

import contextlib
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptcodec.bitstream import parse, parse_header
from promptcodec.cli import console
from promptcodec.cli.codec_options import CodecOptions
from promptcodec.cli.inputs import FilePair
from promptcodec.coding.settings import DecodeSettings, EncodeSettings
from promptcodec.errors import StreamError
from promptcodec.io.atomic import Content
from promptcodec.io.named import named_bytes

if TYPE_CHECKING:
    from promptcodec.api import Codec
    from promptcodec.coding.engine import Progress


@dataclass(frozen=True)
class JobResult:
    """A payload and facts about it.

    Args:
        content: payload, or function that writes it.
        facts: values for JSON.
        summary: text of the message after the names of the files.
    """

    content: Content
    facts: dict[str, Any]
    summary: str


@dataclass(frozen=True)
class EncodeJob:
    """Encode pictures.

    Args:
        codec_options: arguments of `Codec.load`.
        settings: options of every picture.
    """

    codec_options: CodecOptions
    settings: EncodeSettings = field(default_factory=EncodeSettings)
    command = "encode"

    def check(self, codec: "Codec") -> None:
        """Raise RateError if the rate is not installed, UsageError if the pack is not loaded."""
        codec.ladders_for(self.settings)

    def is_finished(self, pair: FilePair, codec: "Codec") -> bool:
        """Whether the target is finished; errors as `finished.is_encoded`."""
        from promptcodec.cli.batch.finished import is_encoded

        return is_encoded(pair, codec, self.settings)

    def make(self, pair: FilePair, codec: "Codec") -> JobResult:
        """The stream of a file."""
        name = str(pair.source)
        return self.encode(console.picture_source(name), name, codec)

    def encode(
        self, source: bytes | Path, name: str, codec: "Codec", *, progress: "Progress | None" = None
    ) -> JobResult:
        """The stream of a picture file; errors as `Codec.encode`.

        Args:
            source: path of the file, or its content.
            name: name of the picture in messages.
            codec: codec of the stream.
            progress: function as in `Codec.encode`.
        """
        input_bytes = _size(source)
        given = source if isinstance(source, Path) else named_bytes(source, name)
        encoded = codec.encode_detailed(given, self.settings, progress=progress)
        header = parse_header(encoded.data, max_pixels=sys.maxsize)
        size, bpp = len(encoded.data), 8 * len(encoded.data) / (header.width * header.height)
        facts = {
            "width": header.width,
            "height": header.height,
            "rate_index": encoded.rate_index,
            "gain_steps": encoded.gain_steps,
            "pack": encoded.pack,
            "effort": self.settings.effort,
            "tiles": len(header.tiles),
            "exact_tiles": encoded.exact_tiles,
            "passes": encoded.passes,
            "target_met": encoded.target_met,
            "bytes": size,
            "bpp": bpp,
            "bpp_estimate": encoded.bpp_estimate,
            "header_bytes": encoded.header_bytes,
            "input_bytes": input_bytes,
            "frames": encoded.frames,
            "notes": encoded.notes,
            "engine": encoded.engine,
            "seconds": dict(encoded.seconds),
        }
        summary = f"{size:,} bytes, {bpp:.3f} bpp"
        if encoded.pack is not None:
            summary += f", pack {encoded.pack}"
        if encoded.exact_tiles == len(header.tiles):
            summary += ", exact"
        elif encoded.exact_tiles:
            summary += f", {encoded.exact_tiles} of {len(header.tiles)} tiles exact"
        if not encoded.target_met:
            summary += (
                "; target missed: in a file this small one byte is more than the 1 % tolerance"
            )
        return JobResult(encoded.data, facts, summary)


@dataclass(frozen=True)
class DecodeJob:
    """Decode streams.

    Args:
        codec_options: arguments of `Codec.load`.
        settings: options of every stream.
    """

    codec_options: CodecOptions
    settings: DecodeSettings = field(default_factory=DecodeSettings)
    command = "decode"

    def check(self, codec: "Codec") -> None:
        """No check: the stream has its settings."""

    def is_finished(self, pair: FilePair, codec: "Codec") -> bool:
        """Whether the target is finished; errors as `finished.is_decoded`."""
        from promptcodec.cli.batch.finished import is_decoded

        return is_decoded(pair, allow_partial=self.settings.allow_partial)

    def make(self, pair: FilePair, codec: "Codec") -> JobResult:
        """The picture file of a stream."""
        data = console.read_input(str(pair.source), error=StreamError)
        if not self.settings.allow_partial:
            parse(data, max_pixels=self.settings.max_pixels)
        return self.decode(data, codec, suffix=pair.target.suffix)

    def decode(self, data: bytes | Path, codec: "Codec", *, suffix: str) -> JobResult:
        """The picture file of a stream; errors as `Codec.decode`.

        Args:
            data: stream, or path of its file.
            codec: codec of the stream.
            suffix: one of `OUTPUT_SUFFIXES`.
        """
        from promptcodec.io.save import left_out, write_file

        size = _size(data)
        decoded = codec.decode_detailed(data, self.settings)
        picture = decoded.picture
        facts = {
            "width": picture.width,
            "height": picture.height,
            "mode": picture.mode,
            "bytes": size,
            "input_bytes": size,
            "missing": decoded.missing,
            "notes": left_out(picture, suffix),
            "engine": decoded.engine,
            "seconds": dict(decoded.seconds),
        }
        summary = f"{picture.width}x{picture.height} {picture.mode}"
        if decoded.missing:
            summary += f"; missing: {', '.join(decoded.missing)}"
        return JobResult(partial(write_file, picture, suffix), facts, summary)


FileJob = EncodeJob | DecodeJob


def _size(source: bytes | Path) -> int:
    """Bytes of an input before it is coded; 0 for a missing file, which its reader reports."""
    if isinstance(source, bytes):
        return len(source)
    with contextlib.suppress(OSError):
        return source.stat().st_size
    return 0

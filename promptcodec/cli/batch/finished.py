"""Test whether a job is finished, from its files alone.

An output is finished if it is complete, of the right size and not older than its input; a stream
also needs the right rate, gain, tiles, exact ones included, base and adapters. Settings that a
stream does not contain (effort, task, a target of PSNR) are not compared. Any other file in the
output's place is an error.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from promptcodec.bitstream import (
    GAIN_STEPS,
    HASH_BYTES,
    Container,
    open_stream,
    parse,
    rate_to_fixed,
)
from promptcodec.cli.inputs import FilePair
from promptcodec.coding.ladder import Ladder
from promptcodec.coding.settings import EncodeSettings
from promptcodec.errors import OutputError, StreamError

if TYPE_CHECKING:
    from promptcodec.api import Codec

ANY_SIZE = 1 << 64  # px; nothing is decoded here
METADATA = (b"EXIF", b"ICCP", b"XMP ", b"reso")
TOLERANCE = 0.01  # of a target of size
COARSEST = 16.0  # bytes between two gains, for pictures so small that 1 % is less


def is_encoded(pair: FilePair, codec: "Codec", wanted: EncodeSettings) -> bool:
    """Whether the target is the stream of the source at these settings; False if one is missing.

    Raises:
        OutputError: the target is another file.
    """
    if not (os.path.exists(pair.target) and os.path.exists(pair.source)):  # False on any error
        return False
    try:
        data = pair.target.read_bytes()
        container = parse(data, max_pixels=ANY_SIZE)
    except OSError as error:
        raise OutputError(f"{pair.target} exists and cannot be read: {error.strerror}") from None
    except StreamError:
        raise _in_the_way(pair.target, "no whole stream") from None
    _check_age(pair)
    if _picture_size(pair.source) != (container.width, container.height):
        raise _in_the_way(pair.target, "a stream of another picture")
    if not _fits(container, codec, wanted, file_bytes=len(data)):
        raise _in_the_way(pair.target, "a stream of other settings")
    return True


def is_decoded(pair: FilePair, *, allow_partial: bool) -> bool:
    """Whether the target is the picture of a stream; False if either is missing or broken.

    Args:
        pair: stream and picture.
        allow_partial: whether the stream may be truncated.
    Raises:
        OutputError: the target is another file.
    """
    if not (os.path.exists(pair.target) and os.path.exists(pair.source)):  # False on any error
        return False
    try:
        with open_stream(pair.source, max_pixels=ANY_SIZE, allow_partial=allow_partial) as stream:
            header = stream.header
    except StreamError:
        return False  # decoding gives the better error
    _check_age(pair)
    if _picture_size(pair.target) != (header.width, header.height):
        raise _in_the_way(pair.target, "another picture")
    if not _is_whole(pair.target):
        raise _in_the_way(pair.target, "no whole picture")
    return True


def _is_whole(path: Path) -> bool:
    """Whether a picture file of our writer is complete, by its end."""
    with path.open("rb") as file:
        start = file.read(12)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 12, 0))
        end = file.read()
    if start.startswith(b"\x89PNG"):
        return end[4:8] == b"IEND"
    if start.startswith(b"\xff\xd8"):
        return end.endswith(b"\xff\xd9")
    if start.startswith(b"RIFF"):
        return int.from_bytes(start[4:8], "little") + 8 == size
    return True  # TIFF: its directory is last, and was read


def _fits(container: Container, codec: "Codec", wanted: EncodeSettings, *, file_bytes: int) -> bool:
    if container.base_hash != codec.base_hash[:HASH_BYTES]:
        return False
    size = wanted.target_bytes
    if wanted.target_bpp is not None:
        size = wanted.target_bpp * container.width * container.height / 8
    exact = len(container.exact_tiles)
    whole = exact == len(container.tiles)  # which may take fewer bytes than a target
    if {"never": exact > 0, "auto": False, "always": not whole}[wanted.graphics]:
        return False
    if size is not None:
        off = file_bytes - size if whole else abs(file_bytes - size)
        if off > max(COARSEST, TOLERANCE * size):
            return False
    ladders = codec.ladders_for(wanted)
    if wanted.target is not None:
        if not any(_is_of(container, ladder) for ladder in ladders):
            return False
    else:
        index = codec.config.rate_index if wanted.rate_index is None else wanted.rate_index
        place = rate_to_fixed(index), round(wanted.gain_steps * GAIN_STEPS)
        if place != (container.rate, container.gain):
            return False
        points = [ladder.at(place[0]) for ladder in ladders]
        hashes = [tuple(digest[:HASH_BYTES] for digest in point.hashes) for point in points]
        if container.adapter_hashes not in hashes:
            return False
    if wanted.strip and any(chunk.kind in METADATA for chunk in container.chunks):
        return False
    return wanted.tile_size in (None, container.tile_size) or len(container.tiles) == 1


def _is_of(container: Container, ladder: Ladder) -> bool:
    """Whether all adapters of a stream are those of a ladder; the base alone has none."""
    own = {adapter.sha256[:HASH_BYTES] for adapter in ladder.adapters.values()}
    return own.issuperset(container.adapter_hashes)


def _picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height; None if the file is no picture."""
    from promptcodec.io.formats import upright_size

    try:
        with path.open("rb") as file:
            return upright_size(file)
    except Exception:  # Pillow raises many types; the job reports the reason
        return None


def _check_age(pair: FilePair) -> None:
    if pair.source.stat().st_mtime_ns > pair.target.stat().st_mtime_ns:
        raise _in_the_way(pair.target, "older than its input")


def _in_the_way(target: Path, what: str) -> OutputError:
    return OutputError(f"{target} exists and is {what}: pass --force to replace it")

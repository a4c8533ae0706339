"""Decoded pictures: in memory, or in one file that is mapped and shared by processes.

The file: the pixels of all pictures, one after the other, uint8 (H, W, 3); JSON of their shapes and
sources; length of the JSON in 8 bytes, little-endian; 8 bytes of magic. The file is made anew if a
path, size or time of a source has changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from promptcodec.errors import PictureError, UsageError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.notes import note_lines
from promptcodec.training.data.sources import PictureFile

logger = logging.getLogger(__name__)

MAGIC = b"PCPIXEL1"
CHUNK = 64  # pictures decoded ahead


@dataclass
class Decoded:
    """Decoded sources.

    Attributes:
        pictures: pixels of each decoded source, uint8 (H, W, 3).
        faults: message for each source that cannot be decoded.
        notes: what a source has beside these pixels, each in a few words.
    """

    pictures: dict[PictureFile, Tensor] = field(default_factory=dict)
    faults: dict[PictureFile, str] = field(default_factory=dict)
    notes: list[tuple[PictureFile, str]] = field(default_factory=list)


def decode(sources: Sequence[PictureFile], *, cache: Path | None = None) -> Decoded:
    """Decode pictures on all threads of torch, or take them from a file.

    The log has a line on files of several frames, of which the first is used.

    Args:
        sources: picture files to decode.
        cache: file to keep and map the pixels in; None keeps them in memory.
    Raises:
        UsageError: the cache is a file of another kind.
    """
    found = _read(sources) if cache is None else _cached(sources, cache)
    for line in note_lines((str(source), note) for source, note in found.notes):
        logger.warning("note: %s", line)
    return found


def _read(sources: Sequence[PictureFile]) -> Decoded:
    found = Decoded()
    for source, pixels, notes in _decoded(sources):
        if isinstance(pixels, str):
            found.faults[source] = pixels
        else:
            found.pictures[source] = torch.from_numpy(pixels)
        found.notes += [(source, note) for note in notes]
    return found


def _cached(sources: Sequence[PictureFile], cache: Path) -> Decoded:
    key = _key(sources)
    facts = _read_facts(cache)
    if cache.exists() and not facts:
        raise UsageError(f"{cache} is no cache of pictures: name another file, or remove it")
    if facts.get("key") != key:
        write_atomically(cache, lambda file: _write(file, sources, key=key), force=True)
        facts = _read_facts(cache)
    return _mapped(cache, sources, facts)


def decode_usable(sources: Sequence[PictureFile]) -> dict[PictureFile, Tensor]:
    """Decode pictures, uint8 (H, W, 3) each; the log names those that cannot be decoded."""
    found = decode(sources)
    for source, reason in found.faults.items():
        logger.warning("skipped %s: %s", source, reason)
    return found.pictures


Pixels = tuple[np.ndarray | str, tuple[str, ...]]  # or the reason why there are none; notes


def _decoded(
    sources: Sequence[PictureFile],
) -> Iterator[tuple[PictureFile, np.ndarray | str, tuple[str, ...]]]:
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(sources), CHUNK):
            part = sources[start : start + CHUNK]
            for source, pixels in zip(part, pool.map(decode_one, part), strict=True):
                yield source, *pixels


def decode_one(source: PictureFile) -> Pixels:
    """Pixels of a picture, uint8 (H, W, 3), or why there are none; notes on the file."""
    try:
        picture = source.load()
    except PictureError as error:
        return str(error), ()
    return np.ascontiguousarray(picture.coded_rgb), picture.notes_on_frames


def _key(sources: Sequence[PictureFile]) -> str:
    files = {}
    for path in {source.path for source in sources}:
        status = path.stat()
        files[path] = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    facts = [(*files[source.path], source.member) for source in sources]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _write(file: BinaryIO, sources: Sequence[PictureFile], *, key: str) -> None:
    results: list[Any] = []  # for each source: height and width, or the message
    noted: list[tuple[int, str]] = []  # numbers of sources, with notes
    for number, (_, pixels, notes) in enumerate(_decoded(sources)):
        noted += [(number, note) for note in notes]
        if isinstance(pixels, str):
            results.append(pixels)
        else:
            results.append(pixels.shape[:2])
            file.write(pixels.tobytes())
    text = json.dumps({"key": key, "results": results, "notes": noted}).encode()
    file.write(text + len(text).to_bytes(8, "little") + MAGIC)


def _read_facts(cache: Path) -> dict[str, Any]:
    """JSON at the end of the file; {} if it is no such file."""
    try:
        with cache.open("rb") as file:
            end = file.seek(-16, 2)
            length, magic = int.from_bytes(file.read(8), "little"), file.read(8)
            if magic != MAGIC or length > end:
                return {}
            file.seek(end - length)
            return json.loads(file.read(length))
    except (OSError, ValueError):
        return {}


def _mapped(cache: Path, sources: Sequence[PictureFile], facts: dict[str, Any]) -> Decoded:
    shapes = [r for r in facts["results"] if not isinstance(r, str)]
    size = sum(3 * height * width for height, width in shapes)
    # A private mapping: processes share its pages, which are never written to.
    pixels = torch.from_file(str(cache), shared=False, size=max(size, 1), dtype=torch.uint8)
    notes = [(sources[number], note) for number, note in facts.get("notes", ())]
    found, offset = Decoded(notes=notes), 0
    for source, result in zip(sources, facts["results"], strict=True):
        if isinstance(result, str):
            found.faults[source] = result
            continue
        height, width = result
        end = offset + 3 * height * width
        found.pictures[source] = pixels[offset:end].view(height, width, 3)
        offset = end
    return found

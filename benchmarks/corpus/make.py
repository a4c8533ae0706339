"""Small pictures in tar shards: crops of photographs in five formats, some broken."""

import io
import json
import random
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

FORMATS = {
    "jpg": {"format": "JPEG", "quality": 92},
    "png": {"format": "PNG"},
    "webp": {"format": "WEBP", "quality": 90},
    "bmp": {"format": "BMP"},
    "tif": {"format": "TIFF"},
}
BROKEN_EVERY = 101  # no multiple of the number of formats
SIDES = (48, 128)  # px


def make(folder: Path, photographs: Path, *, count: int, shards: int, seed: int = 1) -> list[str]:
    """Write tar shards; the same arguments give the same bytes.

    Args:
        folder: new folder for the shards.
        photographs: folder of zip files with photographs.
        count: number of pictures; every 101st is broken in one of five ways.
        shards: number of shards.
        seed: seed of crops and formats.
    Returns:
        Names of the broken pictures.
    """
    rng, broken = random.Random(seed), []
    sources = list(_photographs(photographs))
    folder.mkdir(parents=True)
    for shard in range(shards):
        with tarfile.open(folder / f"pictures-{shard:05d}.tar", "w") as archive:
            for number in range(shard, count, shards):
                kind = list(FORMATS)[number % len(FORMATS)]
                data = _crop(rng, Image.open(io.BytesIO(rng.choice(sources))), kind, number)
                name = f"{number % 97:02d}/{number:06d}.{kind}"
                if number % BROKEN_EVERY == BROKEN_EVERY - 1:
                    data = _broken(data, number)
                    broken.append(name)
                _add(archive, name, data)
                _add(archive, f"{name.rpartition('.')[0]}.cls", str(number % 97).encode())
    return broken


def _photographs(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in sorted(archive.namelist()))


def _crop(rng: random.Random, photograph: Image.Image, kind: str, number: int) -> bytes:
    width, height = (rng.randint(*SIDES) for _ in range(2))
    left, top = rng.randint(0, photograph.width - width), rng.randint(0, photograph.height - height)
    crop = photograph.convert("RGB").crop((left, top, left + width, top + height))
    if number % 10 == 3:
        crop = crop.convert("L")
    if number % 10 == 6 and kind in ("png", "webp"):
        crop.putalpha(Image.linear_gradient("L").resize(crop.size))
    file = io.BytesIO()
    crop.save(file, **FORMATS[kind])
    return file.getvalue()


def _broken(data: bytes, number: int) -> bytes:
    """A picture that no reader takes: cut off, empty, text, zeros, or a wrong header."""
    half = data[: len(data) // 3]
    ways = (half, b"", json.dumps({"no": "picture"}).encode(), bytes(len(data)), b"\0" + data[1:])
    return ways[number // BROKEN_EVERY % len(ways)]


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))

"""Tar shards of small pictures, each of one colour that is its number."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def picture(number: int, *, edge: int = 64) -> bytes:
    """A PNG whose every pixel is (number, 0, 255 - number)."""
    file = io.BytesIO()
    Image.new("RGB", (edge, edge), (number, 0, 255 - number)).save(file, "PNG")
    return file.getvalue()


def noise(number: int, *, edge: int = 80) -> bytes:
    """A PNG of smooth noise."""
    small = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((edge, edge), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def write_shard(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A tar archive of members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_shards(folder: Path, *sizes: int, edge: int = 64) -> Path:
    """Shards of so many pictures each, numbered through all of them."""
    number = 0
    for shard, size in enumerate(sizes):
        numbers = range(number, number + size)
        members = [(f"{n:04d}.png", picture(n, edge=edge)) for n in numbers]
        write_shard(folder / f"shard-{shard:03d}.tar", members)
        number += size
    return folder

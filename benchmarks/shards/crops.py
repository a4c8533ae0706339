"""Tar shards of JPEG crops, cut from zip files of photographs."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from promptcodec.io.find import PICTURE_SUFFIXES
from promptcodec.io.load import load_picture

SHARD = 1000  # crops of a shard
QUALITY = 90


def write_crops(data: Path, folder: Path, *, count: int, edge: int, pictures: int) -> None:
    """Write `count` crops at random places of the first pictures of the zip files of a folder.

    Args:
        data: folder with zip files of pictures.
        folder: folder for the shards.
        count: number of crops.
        edge: height and width of a crop in px.
        pictures: number of pictures that are decoded.
    """
    sources = read_pictures(data, pictures, edge=edge)
    rng = np.random.default_rng(0)
    for first in range(0, count, SHARD):
        with tarfile.open(folder / f"crops-{first // SHARD:03d}.tar", "w") as archive:
            for number in range(first, min(first + SHARD, count)):
                source = sources[rng.integers(len(sources))]
                top, left = (rng.integers(size - edge + 1) for size in source.shape[:2])
                file = io.BytesIO()
                crop = source[top : top + edge, left : left + edge]
                Image.fromarray(crop).save(file, "JPEG", quality=QUALITY)
                member = tarfile.TarInfo(f"{number:06d}.jpg")
                member.size = file.tell()
                file.seek(0)
                archive.addfile(member, file)


def read_pictures(data: Path, count: int, *, edge: int) -> list[np.ndarray]:
    """The first pictures that have room for a crop, uint8 (H, W, 3)."""
    found: list[np.ndarray] = []
    for path in sorted(data.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if len(found) == count:
                    return found
                if name.lower().endswith(PICTURE_SUFFIXES):
                    rgb = load_picture(archive.read(name)).rgb
                    found += [rgb] if min(rgb.shape[:2]) >= edge else []
    return found

"""A tree of mixed pictures from real photographs: formats, modes, sizes, metadata, broken ones."""

import io
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".bmp", ".gif", ".ppm")
WITH_ALPHA = (".png", ".webp", ".tif")
BREAK_EVERY = 50  # 2 % of the pictures


@dataclass(frozen=True)
class Tree:
    """What was written.

    Args:
        good: name of each whole picture and the size of it when upright, px.
        broken: names of files that are no whole picture.
    """

    good: dict[str, tuple[int, int]]
    broken: tuple[str, ...]


def photographs(folder: Path) -> Iterator[bytes]:
    """Files of pictures in a folder and in the zip archives in it, over and over."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    archives = sorted(folder.glob("*.zip"))
    if not files and not archives:
        raise SystemExit(f"{folder} holds no picture")
    while True:
        yield from (path.read_bytes() for path in files)
        for archive in archives:
            with zipfile.ZipFile(archive) as opened:
                names = [n for n in opened.namelist() if Path(n).suffix.lower() in SUFFIXES]
                yield from map(opened.read, names)


def write_tree(source: Path, target: Path, *, count: int) -> Tree:
    """Write `count` pictures, the same ones for the same source, in folders of 100.

    Args:
        source: folder of photographs.
        target: folder to make.
        count: files, the broken ones among them.
    """
    good: dict[str, tuple[int, int]] = {}
    broken: list[str] = []
    for number, content in zip(range(count), photographs(source), strict=False):
        rng = random.Random(number)
        suffix = SUFFIXES[number % len(SUFFIXES)]
        name = f"{number // 100:02}/{number:04}{suffix}"
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data, size = _picture(content, suffix, rng)
        if number % BREAK_EVERY == BREAK_EVERY // 2:
            data = (data[: len(data) // 2], b"", b"no picture\n", bytes(999))[len(broken) % 4]
            broken.append(name)
        else:
            good[name] = size
        path.write_bytes(data)
    return Tree(good, tuple(broken))


def _picture(content: bytes, suffix: str, rng: random.Random) -> tuple[bytes, tuple[int, int]]:
    """A photograph, smaller and in another format; its bytes and its upright size."""
    with Image.open(io.BytesIO(content)) as opened:
        image = opened.convert("RGB")
    side = rng.choice((1, 17, 64, 100, 200, 256))
    image.thumbnail((side, side))
    image = image.convert(rng.choice(("RGB", "RGB", "RGB", "L")))
    if suffix in WITH_ALPHA and rng.random() < 0.2:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    size, options = image.size, {}
    if suffix in (".jpg", ".webp", ".png") and rng.random() < 0.3:
        exif = Image.Exif()
        exif[0x0112] = rng.choice((1, 3, 6, 8))
        options["exif"] = exif
        size = (size[1], size[0]) if exif[0x0112] in (6, 8) else size
    output = io.BytesIO()
    image.save(output, Image.registered_extensions()[suffix], **options)
    return output.getvalue(), size

"""Small pictures in folders, for tests of many files."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, *, size: tuple[int, int] = (40, 24)) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def tree(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file()
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in tree(folder)}

"""CIFAR-10 as a zip file of pictures by class, as recipes of classifiers read them.

    python -m benchmarks.analysis.cifar_set DATA/cifar10 OUT.zip

DATA/cifar10 has sprites of 40 tiles a row, 1,000 a file, and the labels in an index. Pictures keep
their pixels, as PNG: train/CLASS/NUMBER.png and val/CLASS/NUMBER.png, the latter those of the test.
"""

import argparse
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from promptcodec.io.atomic import write_atomically

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
EDGE, COLUMNS, TILES = 32, 40, 1000  # px of a tile; tiles of a row, and of a file
SPLITS = {"train": "train", "test": "val"}  # names there and here


def main() -> None:
    """Write the zip file."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("data", type=Path)
    options.add_argument("out", type=Path)
    arguments = options.parse_args()

    def write(file) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for split, folder in SPLITS.items():
                for number, (picture, label) in enumerate(pictures_of(arguments.data, split)):
                    png = io.BytesIO()
                    Image.fromarray(picture).save(png, "PNG")
                    archive.writestr(f"{folder}/{CLASSES[label]}/{number:04d}.png", png.getvalue())

    write_atomically(arguments.out, write, force=True)


def pictures_of(folder: Path, split: str) -> Iterator[tuple[np.ndarray, int]]:
    """Pictures, uint8 (32, 32, 3), and the numbers of their classes."""
    with np.load(folder / "cifar10_lossless_index.npz") as index:
        labels = index[f"{split}_labels"]
    for first in range(0, len(labels), TILES):
        place = folder / f"cifar10_lossless_{split}_{first // TILES:02d}.webp"
        with Image.open(place) as sprites:
            grid = np.asarray(sprites.convert("RGB"))
        tiles = grid.reshape(-1, EDGE, COLUMNS, EDGE, 3).swapaxes(1, 2).reshape(-1, EDGE, EDGE, 3)
        yield from zip(tiles, labels[first : first + TILES].tolist(), strict=False)


if __name__ == "__main__":
    main()

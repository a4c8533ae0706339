"""Pictures of the bundled packs, from packages that anybody can get.

    apt-get download kicad-doc-en debian-handbook ...   (the names in sources.yaml)
    pip download --no-deps deepforest==2.1.0 ...        (those with a version there)
    pip install tifffile imagecodecs                    (for `satellite`)
    python -m benchmarks.packs.pictures PACKAGES --out SET [--only screens]

SET gets PACK/train and PACK/held with PNG files, and PACK/sources.json with the path, the licence
and the hash of the pixels of each. Which pictures are taken depends on the packages alone: pictures
that are too small, flat or nearly another one are left out, and the others drawn with a fixed
seed. Transparent parts become white. Larger pictures are cut around the middle; rasters of
satellites and aeroplanes are cut in tiles (`rasters.py`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from benchmarks.packs.rasters import drawn_tiles
from benchmarks.second_set import unpack_one

SOURCES = Path(__file__).with_name("sources.yaml")
SEED = 20261130
MOST = 1280  # px of an edge
THUMBNAIL = 24  # px of an edge; for the comparison of pictures
FLAT = 8.0  # deviation of a thumbnail, levels, below which a picture has no content
ALIKE = 6.0  # mean absolute difference of thumbnails, levels, below which pictures are the same


def main() -> None:
    """Unpack, choose and write the pictures of every pack."""
    options = argparse.ArgumentParser(description="Make the pictures of the bundled packs.")
    options.add_argument("packages", type=Path, help="folder of .deb files, wheels and sdists")
    options.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    options.add_argument("--only", help="name of one pack")
    arguments = options.parse_args()
    for name, pack in yaml.safe_load(SOURCES.read_text("utf-8")).items():
        if arguments.only in (None, name):
            write_pack(arguments.packages, arguments.out / name, pack)


def write_pack(packages: Path, out: Path, pack: dict[str, Any]) -> None:
    """Write the pictures of one pack.

    Args:
        packages: folder of packages.
        out: folder of the pack.
        pack: its entry in sources.yaml.
    """
    rows, known = [], np.zeros((0, THUMBNAIL, THUMBNAIL, 3))
    for part in ("held", "train"):  # what is held out is in no training set
        (out / part).mkdir(parents=True, exist_ok=True)
        for package, facts in pack[part].items():
            with tempfile.TemporaryDirectory() as folder:
                unpack(packages, package, Path(folder))
                chosen = drawn(Path(folder), facts, least=pack["least"])
                count = 0
                for path, pixels in chosen:
                    small = thumbnail(pixels)
                    if small.std() < FLAT:
                        continue
                    if len(known) and np.abs(known - small).mean(axis=(1, 2, 3)).min() < ALIKE:
                        continue
                    known = np.concatenate([known, small[None]])
                    name = f"{part}/{package}-{count:03}.png"
                    Image.fromarray(pixels).save(out / name)
                    rows.append(
                        {
                            "name": name,
                            "path": path,
                            "licence": facts["licence"],
                            "by": facts["by"],
                            "pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
                        }
                    )
                    count += 1
                    if count == facts["limit"]:
                        break
            print(f"{out.name}/{part}: {count} pictures of {package}", flush=True)
    text = json.dumps({"about": pack["about"], "pictures": rows}, indent=1)
    (out / "sources.json").write_text(text + "\n", encoding="utf-8")


def unpack(packages: Path, name: str, folder: Path) -> None:
    """Unpack one Debian package, wheel or source distribution."""
    kinds = f"{name}_*.deb", f"{name}-*.whl", f"{name}-*.tar.gz"
    found = sorted(path for kind in kinds for path in packages.glob(kind))
    if not found:
        sys.exit(f"{packages} has no {name}: download it first")
    unpack_one(found[0], folder)


def drawn(
    folder: Path, facts: dict[str, Any], *, least: int
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Path and pixels of pictures in a random order that is always the same.

    Args:
        folder: unpacked package.
        facts: entry of the source.
        least: smallest edge in px.
    """
    if "rasters" in facts:
        tiles = drawn_tiles(folder, facts["rasters"], seed=SEED)
        yield from ((path, pixels) for path, pixels in tiles if min(pixels.shape[:2]) >= least)
        return
    paths = {
        path.relative_to(folder).as_posix()
        for pattern in facts["paths"]
        for path in folder.glob(pattern)
        if path.is_file()
    }
    kept = [p for p in sorted(paths) if not any(fnmatch(p, s) for s in facts.get("skip", []))]
    for number in np.random.default_rng(SEED).permutation(len(kept)):
        with Image.open(folder / kept[number]) as picture:
            if min(picture.size) >= least:
                yield kept[number], pixels_of(picture)


def pixels_of(picture: Image.Image) -> NDArray[np.uint8]:
    """Pixels on white, (H, W, 3), of the middle of a picture."""
    picture = picture.convert("RGBA")
    width, height = (min(edge, MOST) for edge in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    picture = picture.crop((left, top, left + width, top + height))
    paper = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(paper, picture).convert("RGB"))


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A small picture of the whole, levels."""
    small = Image.fromarray(pixels).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small, np.float64)


if __name__ == "__main__":
    main()

"""A second set of lossless photographs beside Kodak, from packages that anybody can get.

    apt-get download psychtoolbox-3-common libjxl-testdata libhalide14-doc lxqt-themes
    pip download --no-deps scikit-image==0.26.0
    pip install OpenEXR
    python -m benchmarks.second_set PACKAGES --out SET

PACKAGES is the folder of these files, of any version; SET gets twelve PNG files. Sources and
licences are in `second_set.yaml`. Pixels are checked by hash: packages of other versions may
compress the same pictures otherwise.
"""

import argparse
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

SOURCES = Path(__file__).with_suffix(".yaml")
KNEE = 0.5  # of scene light, from where on highlights are compressed


def main() -> None:
    """Unpack, develop, check and write every picture."""
    options = argparse.ArgumentParser(description="Make the second set of test pictures.")
    options.add_argument("packages", type=Path, help="folder of .deb files and wheels")
    options.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    arguments = options.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        unpack(arguments.packages, Path(folder))
        for name, facts in yaml.safe_load(SOURCES.read_text("utf-8"))["pictures"].items():
            pixels = develop(find(Path(folder), facts["path"]), facts)
            if hashlib.sha256(pixels.tobytes()).hexdigest() != facts["pixels_sha256"]:
                wrong.append(name)
            Image.fromarray(pixels).save(arguments.out / f"{name}.png")
    if wrong:
        sys.exit(f"other pixels than those on record: {', '.join(wrong)}")


def unpack(packages: Path, folder: Path) -> None:
    """Unpack every Debian package and wheel of a folder."""
    found = sorted(packages.glob("*.deb")), sorted(packages.glob("*.whl"))
    if not any(found):
        sys.exit(f"{packages} has no .deb file and no wheel: download the packages first")
    for package in (*found[0], *found[1]):
        unpack_one(package, folder)


def unpack_one(package: Path, folder: Path) -> None:
    """Unpack a Debian package, a wheel or a source distribution."""
    if package.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        return
    if package.suffix == ".gz":
        with tarfile.open(package) as archive:
            archive.extractall(folder, filter="data")
        return
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)


def find(folder: Path, path: str) -> Path:
    """A file by its path, of which a part may have another version number."""
    matches = sorted(folder.glob(path))
    if not matches:
        sys.exit(f"{path} is in none of the packages: download all of them")
    return matches[0]


def develop(path: Path, facts: dict[str, Any]) -> NDArray[np.uint8]:
    """Pixels of a picture, uint8 (H, W, 3).

    Args:
        path: PNG or OpenEXR file.
        facts: its entry; "exposure" is that of scene light, in powers of two.
    """
    if path.suffix == ".exr":
        return tone(scene_light(path) * 2.0 ** facts["exposure"])
    with Image.open(path) as picture:  # of 16 bits Pillow keeps the upper 8
        return np.asarray(picture.convert("RGB"))


def scene_light(path: Path) -> NDArray[np.float64]:
    """Linear light of an OpenEXR file, (H, W, 3), at least 0."""
    import OpenEXR  # type: ignore[import-not-found]

    channels = OpenEXR.File(str(path)).channels()
    for name in ("RGB", "RGBA"):
        if name in channels:
            pixels = channels[name].pixels[..., :3]
            break
    else:
        pixels = np.stack([channels[name].pixels for name in "RGB"], axis=2)
    return np.maximum(np.nan_to_num(pixels.astype(np.float64)), 0.0)


def tone(light: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Light to 8-bit sRGB; above `KNEE` it approaches 1."""
    over = light > KNEE
    light = np.where(over, 1.0 - (1.0 - KNEE) * np.exp(-(light - KNEE) / (1.0 - KNEE)), light)
    curved = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-12) ** (1 / 2.4) - 0.055
    )
    return np.rint(255.0 * curved).astype(np.uint8)


if __name__ == "__main__":
    main()

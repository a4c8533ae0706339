"""Photographs that ship with the package, as they are and at any size."""

import logging
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from promptcodec.errors import DataError
from promptcodec.io.find import PICTURE_SUFFIXES, find_files
from promptcodec.io.load import load_picture
from promptcodec.io.notes import note_line

logger = logging.getLogger(__name__)


def bundled() -> Path:
    """The largest photograph in `promptcodec/io/assets`."""
    folder = Path(str(resources.files("promptcodec"))) / "io" / "assets"
    found = list(find_files(folder, PICTURE_SUFFIXES))
    if not found:
        raise DataError(f"no picture in {folder}: pass --picture FILE")
    return max(found, key=lambda path: path.stat().st_size)


def photographs() -> list[np.ndarray]:
    """The photographs in `promptcodec/io/assets`, uint8 (H, W, 3)."""
    paths = find_files(bundled().parent, PICTURE_SUFFIXES)
    return [load_picture(path).rgb for path in sorted(paths)]


def photograph(path: Path, *, width: int, height: int) -> np.ndarray:
    """Scale a photograph to a size; noise replaces the missing detail of an enlarged one.

    Args:
        path: file of the photograph.
        width: width of the result in px.
        height: height of the result in px.

    Returns:
        Pixels, uint8 (H, W, 3); a function of the arguments.

    Raises:
        PictureError: the file is no picture.
    """
    picture = load_picture(path)
    for note in picture.notes_on_frames:
        logger.warning("note: %s", note_line(str(path), note))
    rgb = Image.fromarray(picture.rgb)
    grows = width > rgb.width or height > rgb.height
    scaled = np.asarray(rgb.resize((width, height), Image.Resampling.BICUBIC))
    if not grows:
        return scaled
    noise = np.random.default_rng(0).normal(0.0, 3.0, scaled.shape).astype(np.float32)
    return np.clip(scaled + noise, 0, 255).round().astype(np.uint8)

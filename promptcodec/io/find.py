"""Files of a folder, and suffixes of pictures and streams.

Standard library only.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

STREAM_SUFFIXES = (".pc",)
PICTURE_SUFFIXES = (
    ".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc",
    ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".qoi", ".tif", ".tiff", ".webp",
)  # fmt: skip


def find_files(
    folder: Path, suffixes: tuple[str, ...] = (), *, hidden: bool = False, dangling: bool = False
) -> Iterator[Path]:
    """Files below a folder by name, those of each folder before those of its subfolders.

    Links to folders are not followed; pipes and devices are left out.

    Args:
        folder: folder to search.
        suffixes: endings of names, lower case with their dots; empty is any.
        hidden: inclusion of files and folders whose names begin with a dot.
        dangling: inclusion of links without a target.
    """
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if hidden or not name.startswith("."))
        for path in (Path(root, name) for name in sorted(names)):
            if path.name.startswith(".") and not hidden:
                continue
            if suffixes and path.suffix.lower() not in suffixes:
                continue
            if not is_special(path) if dangling else path.is_file():
                yield path


def is_special(path: Path) -> bool:
    """True for a pipe, a device or a folder.

    False for what cannot be examined: opening it gives the better error.
    """
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False

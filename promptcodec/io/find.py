"""Files of a folder, and suffixes of pictures and streams.

Standard library only.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import TypeVar

from promptcodec.errors import DataError

AnyPath = TypeVar("AnyPath", bound=PurePath)

STREAM_SUFFIXES = (".pc",)
PICTURE_SUFFIXES = (
    ".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc",
    ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".qoi", ".tif", ".tiff", ".webp",
)  # fmt: skip


def find_files(
    folder: Path,
    suffixes: tuple[str, ...] = (),
    *,
    hidden: bool = False,
    dangling: bool = False,
    on_error: Callable[[DataError], object] | None = None,
) -> Iterator[Path]:
    """Files below a folder by name, those of each folder before those of its subfolders.

    Links to folders are followed after the folders themselves. Each folder is searched once, and
    none that contains `folder`. Pipes and devices are left out.

    Args:
        folder: folder to search.
        suffixes: endings of names, lower case with their dots; empty is any.
        hidden: inclusion of files and folders whose names begin with a dot.
        dangling: inclusion of links without a target.
        on_error: callback for each folder or file that cannot be read; None raises the first one.
    Raises:
        DataError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        problem = DataError(
            f"{error.filename} cannot be read: {error.strerror}: change its permissions, or move it"
        )
        if on_error is None:
            raise problem from error
        on_error(problem)

    seen = {str(above) for above in Path(os.path.realpath(folder)).parents}
    starts = [str(folder)]
    for start in starts:  # links are appended on the way
        for root, folders, names in os.walk(start, onerror=refuse):
            if (real := os.path.realpath(root)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if hidden or not name.startswith("."))
            below = (os.path.join(root, name) for name in folders)
            starts += [path for path in below if os.path.islink(path)]
            for path in (Path(root, name) for name in sorted(names)):
                if path.name.startswith(".") and not hidden:
                    continue
                if suffixes and path.suffix.lower() not in suffixes:
                    continue
                try:
                    if not is_special(path) if dangling else path.is_file():
                        yield path
                except OSError as error:  # a folder that may be listed and not entered
                    refuse(error)


def with_ending(path: AnyPath, suffix: str) -> AnyPath:
    """A path with another suffix instead of that of a picture or stream.

    Other names get it behind: ". Peter" is no suffix of "St. Peter".

    Args:
        path: path of the input.
        suffix: suffix with its dot.
    """
    return path.with_name(named_with_ending(path.name, suffix))


def named_with_ending(name: str, suffix: str) -> str:
    """A name, of a file or of a row, with another suffix; as `with_ending`, for any text."""
    base = name.rpartition("/")[2]
    stem, dot, ending = base.rpartition(".")
    known = stem and (dot + ending).lower() in (*PICTURE_SUFFIXES, *STREAM_SUFFIXES)
    return (name.removesuffix(dot + ending) if known else name) + suffix


def is_special(path: Path) -> bool:
    """True for a pipe, a device or a folder.

    False for what cannot be examined: opening it gives the better error.
    """
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False

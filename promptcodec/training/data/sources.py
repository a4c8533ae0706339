"""Files of training pictures, with their pack and the source that they are parts of.

An optional `manifest.json` beside the files has the `blob` that each was cut from: {"items":
[{"file": name, "blob": hash}, ...]}. Pictures of one blob are never on both sides of a split.
"""

from __future__ import annotations

import functools
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from promptcodec.errors import DataError, PictureError, not_found
from promptcodec.io.find import PICTURE_SUFFIXES, find_files
from promptcodec.io.load import load_picture
from promptcodec.io.pictures import Picture
from promptcodec.training.config import DataConfig

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class PictureFile:
    """A picture in a file or in an archive.

    Args:
        path: picture file, or archive that holds it.
        member: name inside the archive; None is a file of its own.
        span: first byte and number of bytes in a tar archive; None in others.
    """

    path: Path
    member: str | None = None
    span: tuple[int, int] | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    @property
    def name(self) -> str:
        """File name without folders."""
        return Path(self.member or self.path).name

    def matches(self, patterns: Sequence[str]) -> bool:
        """Whether one of the patterns fits: `syn_*` the file name, `val/*` the folders too."""
        whole = f"/{self.member or self.path.as_posix()}"
        return matches(self.name, [p for p in patterns if "/" not in p]) or matches(
            whole, [f"*/{p}" for p in patterns if "/" in p]
        )

    def read(self) -> bytes:
        """The bytes of the file.

        Raises:
            PictureError: the file cannot be read.
        """
        try:
            if self.member is None:
                return self.path.read_bytes()
            if self.span is not None:
                return self._read_span(*self.span)
            changed = self.path.stat().st_mtime_ns
            return _archive(self.path, changed, os.getpid()).read(self.member)
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
            raise PictureError(f"{self} cannot be read: {error}") from None

    def _read_span(self, first: int, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(first)
            data = file.read(size)
        if len(data) < size:
            raise EOFError("the archive is cut off")
        return data

    def load(self) -> Picture:
        """The picture.

        Raises:
            PictureError: the file cannot be read.
        """
        return load_picture(self.read())


@dataclass(frozen=True)
class TrainingPicture:
    """A picture to train on.

    Args:
        source: file of the picture.
        pack: position of its pack in the recipe; 0 without packs.
        group: name of the group; pictures of a group are parts of one picture.
    """

    source: PictureFile
    pack: int
    group: str


@functools.lru_cache(maxsize=8)
def _archive(path: Path, changed: int, process: int) -> zipfile.ZipFile:
    """An archive, kept open because reading its list of members is slow; one a process."""
    return zipfile.ZipFile(path)


def find_pictures(source: Path) -> Iterator[PictureFile]:
    """Every picture of a folder, nested folders and zip files, in sorted order.

    Raises:
        DataError: the folder does not exist, or a zip file cannot be read.
    """
    source = Path(source)
    _check_source(source)
    suffixes = (".zip", *PICTURE_SUFFIXES)
    paths = [source] if source.is_file() else sorted(find_files(source, suffixes, hidden=True))
    for path in paths:
        if path.suffix.lower() == ".zip":
            try:
                with zipfile.ZipFile(path) as archive:
                    names = sorted(archive.namelist())
            except (zipfile.BadZipFile, OSError) as error:
                raise DataError(f"archive {path} cannot be read: {error}") from None
            yield from (
                PictureFile(path, name) for name in names if name.lower().endswith(PICTURE_SUFFIXES)
            )
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            yield PictureFile(path)


def find_training_pictures(data: Path, config: DataConfig) -> list[TrainingPicture]:
    """The pictures of a recipe's packs, or of all of `data` if it has no packs.

    Raises:
        DataError: a pack is no folder or zip file in `data`, or has no picture.
    """
    _check_source(Path(data))
    names = [pack.name for pack in config.packs]
    found: list[TrainingPicture] = []
    blobs = functools.cache(_blobs)  # a manifest is read once
    for pack, place in enumerate([Path(data) / name for name in names] or [Path(data)]):
        if names and not place.exists():
            raise DataError(
                f"data {data} has no {place.name}: give the folder that holds the packs "
                f"{', '.join(names)}, or drop data.packs from the recipe"
            )
        sources = [s for s in find_pictures(place) if not s.matches(config.exclude)]
        if names and not sources:
            raise DataError(f"pack {place} has no picture; see data.packs and data.exclude")
        for source in sources:
            group = blobs(source.path.parent).get(source.name, str(source))
            found.append(TrainingPicture(source, pack, group))
    return found


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file name matches one of the patterns, such as `syn_*`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_source(source: Path) -> None:
    if not source.exists():
        message = f"data {source} does not exist; give a folder of pictures or a zip file"
        raise DataError(not_found(source, message))


def _blobs(folder: Path) -> dict[str, str]:
    """Blob of each file of a folder, or member of its archives; {} without a manifest."""
    try:
        items = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["items"]
        return {Path(i["file"]).name: str(i["blob"]) for i in items if i.get("blob")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}

"""Tar shards: which ones there are, and the pictures in them in the order of the file.

Members without a key (their name begins with a dot) and those that are no pictures are left out.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from promptcodec.errors import DataError
from promptcodec.io.find import PICTURE_SUFFIXES, find_files
from promptcodec.io.tar import key_of, open_tar, read_members
from promptcodec.training.data.sources import PictureFile, find_pictures, matches

logger = logging.getLogger(__name__)

TAR = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
WILDCARDS = "*?["
OTHERS = (".zip", *PICTURE_SUFFIXES)  # files that are read into memory as a whole


@dataclass(frozen=True)
class Shard:
    """A tar archive of pictures.

    Args:
        path: path of the archive.
        exclude: patterns of file names that are left out.
        held: keys of samples that are held out of training.
        pictures: number of pictures that are neither left out nor held out.
        digest: digest of name, place, size and time of all files in it, by their headers.
    """

    path: Path
    exclude: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    pictures: int = 0
    digest: str = ""

    def walk(self) -> Iterator[PictureFile]:
        """The pictures, in the order of the archive, up to where it is damaged."""
        try:
            for member in self._members():
                if self._is_picture(member):
                    yield PictureFile(self.path, member.name, (member.offset_data, member.size))
        except DataError:
            return  # the log has it since the shard was opened

    def _members(self) -> Iterator[tarfile.TarInfo]:
        with open_tar(self.path) as archive:
            yield from read_members(archive, size=self.path.stat().st_size)

    def _is_picture(self, member: tarfile.TarInfo) -> bool:
        base = member.name.rpartition("/")[2]
        return (
            not base.startswith(".")
            and base.lower().endswith(PICTURE_SUFFIXES)
            and not matches(base, self.exclude)
            and key_of(member.name) not in self.held
        )

    def counted(self) -> tuple[Shard, str | None]:
        """The shard with its number of pictures and digest, and its fault; reads all headers."""
        pictures, fault, digest = 0, None, hashlib.sha256()
        try:
            for member in self._members():
                pictures += self._is_picture(member)
                facts = (member.name, member.offset_data, member.size, member.mtime)
                digest.update(json.dumps(facts).encode())
        except DataError as error:
            fault = str(error)
        return replace(self, pictures=pictures, digest=digest.hexdigest()), fault

    def without(self, keys: frozenset[str]) -> Shard:
        """The shard with further samples held out."""
        shard = replace(self, held=self.held | keys)
        return replace(shard, pictures=sum(1 for _ in shard.walk()))


def find_shards(data: Path) -> list[Path]:
    """Tar shards that a path names; empty if it names pictures or zip files.

    Args:
        data: a shard, a folder, or a pattern such as `shards/train-*.tar`.
    Raises:
        DataError: the pattern fits no shard, shards are compressed, or a folder has shards and
            pictures.
    """
    data = Path(data)
    if data.is_dir():
        return _shards_in(data)
    if data.exists():
        found = [data]
    elif set(WILDCARDS) & set(str(data)):
        found = sorted(Path(name) for name in glob.glob(str(data), recursive=True))
        if not any(path.name.lower().endswith((TAR, *COMPRESSED)) for path in found):
            raise DataError(f"no tar shard fits {data}: check the pattern, or name a folder")
    else:
        return []
    _check_compressed(data, found)
    return [path for path in found if path.suffix.lower() == TAR and path.is_file()]


def _shards_in(folder: Path) -> list[Path]:
    suffixes = (TAR, *("." + name.rpartition(".")[2] for name in COMPRESSED))
    archives = list(find_files(folder, suffixes, hidden=True))
    shards = sorted(path for path in archives if path.suffix.lower() == TAR)
    if not archives:
        return []
    if next(find_files(folder, OTHERS, hidden=True), None) is None:
        _check_compressed(folder, archives)
        return shards
    if shards:
        raise DataError(
            f"{folder} has {len(shards)} tar shards, and pictures or zip files: name the shards by "
            f"a pattern, such as '{folder / '**' / '*.tar'}', or move them to another folder"
        )
    return []


def _check_compressed(data: Path, archives: Sequence[Path]) -> None:
    packed = [path for path in archives if path.name.lower().endswith(COMPRESSED)]
    if packed:
        raise DataError(
            f"{data} has compressed tar shards, as {packed[0].name}, and training reads from the "
            "middle of a shard: unpack them to .tar; pictures are compressed themselves"
        )


def open_shards(paths: Sequence[Path], exclude: Sequence[str]) -> list[Shard]:
    """Shards with pictures and how many they have; the log names those that are damaged or empty.

    Args:
        paths: paths of tar archives.
        exclude: patterns of file names that are left out.
    """
    shards = [Shard(path, tuple(exclude)) for path in paths]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        found = list(pool.map(Shard.counted, shards))
    for shard, fault in found:
        if not shard.pictures:
            logger.warning("skipped %s: %s", shard.path, fault or "has no picture")
        elif fault:
            logger.warning("%s: %s; pictures before that: %d", shard.path, fault, shard.pictures)
    return [shard for shard, _ in found if shard.pictures]


def first_pictures(source: Path, count: int) -> list[PictureFile]:
    """The first pictures of a folder, a zip file or tar shards.

    Raises:
        DataError: the folder does not exist, or an archive cannot be read.
    """
    shards = open_shards(find_shards(source), ())
    tarred = chain.from_iterable(shard.walk() for shard in shards)
    return list(islice(tarred if shards else find_pictures(source), count))


def spread(
    shards: Sequence[Shard], count: int, *, read: Callable[[PictureFile], Tensor | None]
) -> Iterator[tuple[PictureFile, Tensor]]:
    """Up to `count` pictures at equal distances in the shards, one after the other.

    In place of a picture that `read` refuses comes the next one that it takes, after the last
    shard from the first on.

    Args:
        shards: shards, in their order.
        count: largest number of pictures.
        read: pixels of a picture; None refuses it.
    """
    total = sum(shard.pictures for shard in shards)
    due = np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()
    taken: set[int] = set()
    for _ in range(2):
        first = 0
        for shard in shards:
            end = first + shard.pictures
            if due and due[0] < end:
                for index, source in enumerate(shard.walk(), first):
                    if not due or due[0] >= end:
                        break
                    if due[0] <= index and index not in taken:
                        pixels = read(source)
                        if pixels is not None:
                            taken.add(index)
                            due.pop(0)
                            yield source, pixels
            first = end
        due = [0] * len(due)

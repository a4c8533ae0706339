"""Sources of rows: a folder or pattern of files, tar shards, Parquet files.

A source is a list of shards. A shard is read in blocks of rows; each block becomes one file of the
result, so that neither the number of workers nor a restart changes what a file holds.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import pyarrow as pa

from promptcodec.corpus.file_shard import FileShard
from promptcodec.corpus.parquet_shard import ParquetShard
from promptcodec.corpus.places import FoundFile, Place
from promptcodec.corpus.rows import Block, as_text
from promptcodec.corpus.tar_shard import TarShard
from promptcodec.errors import DataError, not_found
from promptcodec.io.find import PICTURE_SUFFIXES, STREAM_SUFFIXES

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
PARQUET_SUFFIXES = (".parquet", ".pq")
SHARD_SUFFIXES = (*TAR_SUFFIXES, *PARQUET_SUFFIXES)
PATTERN = "*?["


class Shard(Protocol):
    """Rows that are read one after the other."""

    @property
    def name(self) -> str:
        """Name in messages, and in the names of its files of the result."""
        ...

    @property
    def others(self) -> Sequence[pa.Field]:
        """Columns of its rows beside name, bytes, label and error."""
        ...

    def blocks(self, size: int) -> Iterator[Block]:
        """Blocks of `size` rows, the last one of fewer.

        Raises:
            DataError: the shard cannot be read, or not to its end.
        """
        ...


@dataclass(frozen=True)
class Source:
    """What a job reads.

    Args:
        place: folder, file or pattern.
        column: column of the bytes in Parquet files; None is found by name and type.
    """

    place: Place
    column: str | None = None

    def shards(self, *, group: int) -> list[Shard]:
        """The shards, sorted by name.

        Args:
            group: number of single files in a shard.
        Raises:
            DataError: there is nothing, or files of several kinds.
        """
        root, found = self._found()
        tars = [f for f in found if f.name.lower().endswith(TAR_SUFFIXES)]
        tables = [f for f in found if f.name.lower().endswith(PARQUET_SUFFIXES)]
        tables = [f for f in tables if not _is_private(f.name)]
        suffixes = (*PICTURE_SUFFIXES, *STREAM_SUFFIXES)
        files = [f for f in found if f.name.lower().endswith(suffixes)]
        kinds = {"tar": tars, "Parquet": tables, "picture or stream": files}
        present = [name for name, members in kinds.items() if members]
        if len(present) > 1:
            raise DataError(
                f"{self.place} has {' and '.join(present)} files: name one kind by a pattern, "
                f"such as {self.place}/*.tar"
            )
        if not present:
            raise DataError(
                f"{self.place} has no picture, stream, tar or Parquet file: name a folder or "
                "pattern that has"
            )
        if tars:
            return [TarShard(root / f.name, as_text(f.name), f.size, f.changed) for f in tars]
        if tables:
            return [
                ParquetShard(root / f.name, as_text(f.name), f.size, self.column, f.changed)
                for f in tables
            ]
        parts = [files[start : start + group] for start in range(0, len(files), group)]
        return [FileShard(root, f"files-{n:06d}", tuple(part)) for n, part in enumerate(parts)]

    def _found(self) -> tuple[Place, list[FoundFile]]:
        """A folder and files below it."""
        parts = (self.place.address.rstrip("/") or "/").split("/")
        cut = next((n for n, part in enumerate(parts) if set(PATTERN) & set(part)), None)
        if cut is None or self.place.is_local:
            found = self.place.files()
            if found is not None:
                return self.place, found
        if cut is not None:
            root = self._above(parts, cut)
            below = sorted(_fitting(root, parts[cut:]), key=lambda file: file.name)
            if not below:
                raise DataError(f"no file matches {self.place}: check the pattern")
            return root, below
        file = self.place.file()
        if file is None:
            message = f"{self.place} does not exist: name a folder, a file or a pattern"
            raise DataError(not_found(self.place, message) if self.place.is_local else message)
        return self._above(parts, -1), [file]

    def _above(self, parts: list[str], cut: int) -> Place:
        """The place of the first parts of its address."""
        return self.place.moved("/".join(parts[:cut]) or ("/" if parts[0] == "" else "."))


def _fitting(folder: Place, wanted: list[str], above: str = "") -> Iterator[FoundFile]:
    """Files below a folder that a pattern fits; no other folder is looked into.

    A file or folder whose name is a part of the pattern, such as `[1].png`, is meant by it.

    Args:
        folder: folder to search.
        wanted: parts of the pattern.
        above: path of the folder below the first one, with a slash.
    """
    part, rest = wanted[0], wanted[1:]
    if part == "**":
        pattern = "/".join(wanted)
        found = [file for file in folder.files() or () if _matches(file.name, pattern)]
        yield from (replace(file, name=above + file.name) for file in found)
    elif rest and not set(PATTERN) & set(part):
        yield from _fitting(folder / part, rest, f"{above}{part}/")
    else:
        folders, files = folder.level()
        names = folders if rest else [file.name for file in files]
        chosen = {part} if part in names else set(fnmatch.filter(names, part))
        for name in (name for name in folders if rest and name in chosen):
            yield from _fitting(folder / name, rest, f"{above}{name}/")
        for file in (file for file in files if not rest and file.name in chosen):
            yield replace(file, name=above + file.name)


def _matches(name: str, pattern: str) -> bool:
    """Whether a path matches a pattern, part by part; `**` is any number of folders."""
    parts, wanted = name.split("/"), pattern.split("/")

    def fits(i: int, j: int) -> bool:
        if j == len(wanted):
            return i == len(parts)
        if wanted[j] == "**":
            return any(fits(n, j + 1) for n in range(i, len(parts) + 1))
        return i < len(parts) and fnmatch.fnmatchcase(parts[i], wanted[j]) and fits(i + 1, j + 1)

    return fits(0, 0)


def _is_private(name: str) -> bool:
    """Whether readers of Parquet pass over a file."""
    return any(part.startswith("_") for part in name.split("/"))

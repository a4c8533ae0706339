"""Single picture or stream files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from promptcodec.corpus.fingerprint import of_values
from promptcodec.corpus.places import FoundFile, Place
from promptcodec.corpus.rows import Entry


@dataclass(frozen=True)
class FileShard:
    """Some of the files below a folder.

    Args:
        root: folder.
        name: name of the shard.
        files: files below the folder.
    """

    root: Place
    name: str
    files: tuple[FoundFile, ...]
    others = ()

    def blocks(self, size: int) -> Iterator[FileBlock]:
        """Blocks of `size` files."""
        for number, start in enumerate(range(0, len(self.files), size)):
            yield FileBlock(number, self.root, self.files[start : start + size])


@dataclass(frozen=True)
class FileBlock:
    """Consecutive files."""

    number: int
    root: Place
    files: tuple[FoundFile, ...]

    def fingerprint(self) -> str:
        """Digest of names, sizes and times of the last change."""
        return of_values([[file.name, file.size, file.changed] for file in self.files])

    def entries(self) -> Iterator[Entry]:
        """The files; reading one raises a DataError if it is gone."""
        for file in self.files:
            yield Entry(file.name, file.size, partial((self.root / file.name).read))

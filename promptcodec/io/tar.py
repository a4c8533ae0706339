"""Members of tar archives, read one after the other; a damaged archive is told from a whole one.

By the convention of WebDataset the members of a sample have a key in common.
"""

from __future__ import annotations

import contextlib
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from promptcodec.errors import DataError

FAULTS = (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, zlib.error)


def key_of(name: str) -> str:
    """Key of the sample of a member: its path up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


@contextlib.contextmanager
def open_tar(source: Path | BinaryIO, *, compressed: bool = False) -> Iterator[tarfile.TarFile]:
    """Open an archive for reading.

    Args:
        source: path, or seekable file.
        compressed: whether it may be compressed.
    Raises:
        DataError: it cannot be read; the message goes on from a name.
    """
    mode: Any = "r:*" if compressed else "r:"
    try:
        if isinstance(source, Path):
            archive = tarfile.open(source, mode)
        else:
            archive = tarfile.open(fileobj=source, mode=mode)
    except FAULTS as error:
        raise _unreadable(error) from error
    with archive:
        yield archive


def read_members(archive: tarfile.TarFile, *, size: int | None = None) -> Iterator[tarfile.TarInfo]:
    """Headers of the files of an archive, in their order; none is kept.

    Args:
        archive: archive at its start.
        size: bytes of the archive; None is not known. A header is given only if the bytes of its
            file are there.
    Raises:
        DataError: the archive cannot be read, or not from here on, or its end mark is missing; the
            message goes on from a name.
    """
    try:
        while (member := archive.next()) is not None:
            vars(archive)["members"].clear()  # or the headers of all members stay in memory
            if member.size < 0:  # or the archive has no end
                raise DataError(f"is damaged in {member.name}")
            if size is not None and member.offset_data + member.size > size:
                raise DataError(f"is cut off in {member.name}")
            if member.isreg() and not member.issparse():
                yield member
        _check_end(archive)
    except DataError:
        raise
    except FAULTS as error:
        raise _unreadable(error) from error


def _check_end(archive: tarfile.TarFile) -> None:
    """Check for the mark at the end; without one, `tarfile` ends where it finds no header."""
    file: Any = archive.fileobj
    file.seek(archive.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise DataError("is cut off: it has no end mark")
    if any(block):
        raise DataError(f"is damaged at byte {archive.offset}")


def _unreadable(error: BaseException) -> DataError:
    return DataError(f"is no tar archive that can be read ({error})")

"""Members of tar archives, read one after the other; a damaged archive is told from a whole one.

By the convention of WebDataset the members of a sample have a key in common.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from promptcodec.errors import DataError

FAULTS = (
    tarfile.TarError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    zlib.error,
    lzma.LZMAError,
)
COMPRESSED = {  # first bytes of a file, by the kind of its compression
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
}
UNPACKED: dict[str, Callable[[Any], Any]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}

Span = tuple[int, int]  # first byte and number of bytes


def key_of(name: str) -> str:
    """Key of the sample of a member: its path up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def compression_of(file: BinaryIO) -> str | None:
    """Kind of compression of a file at its start, by its first bytes; None is a plain one."""
    start = file.read(max(map(len, COMPRESSED.values())))
    file.seek(0)
    return next((kind for kind, mark in COMPRESSED.items() if start.startswith(mark)), None)


@contextlib.contextmanager
def open_tar(source: Path | BinaryIO, *, compressed: bool = False) -> Iterator[tarfile.TarFile]:
    """Open an archive for reading.

    Args:
        source: path, or seekable file at its start.
        compressed: whether it may be compressed, by gzip, bzip2 or xz.
    Raises:
        DataError: it cannot be read; the message goes on from a name.
    """
    with contextlib.ExitStack() as stack:
        try:
            file: Any = source
            if isinstance(source, Path):
                file = stack.enter_context(source.open("rb"))
            if (kind := compression_of(file)) is not None:
                if not compressed or kind not in UNPACKED:
                    raise DataError(f"is compressed by {kind}, which is not read here: unpack it")
                file = stack.enter_context(UNPACKED[kind](file))
            archive = stack.enter_context(tarfile.open(fileobj=file, mode="r:"))
        except DataError:
            raise
        except FAULTS as error:
            raise _unreadable(error) from error
        yield archive


def read_members(archive: tarfile.TarFile, *, size: int | None = None) -> Iterator[tarfile.TarInfo]:
    """Headers of the files of an archive, in their order; none is kept.

    A hard link is given as a file with the bytes of its target.

    Args:
        archive: archive at its start.
        size: bytes of the archive; None is not known. A header is given only if the bytes of its
            file are there.
    Raises:
        DataError: the archive cannot be read, or not from here on, or its end mark is missing; the
            message goes on from a name.
    """
    targets: dict[str, Span | None] | None = None  # of links, from the first one on
    try:
        while (member := archive.next()) is not None:
            vars(archive)["members"].clear()  # or the headers of all members stay in memory
            if member.size < 0:  # or the archive has no end
                raise DataError(f"is damaged in {member.name}")
            if size is not None and member.offset_data + member.size > size:
                raise DataError(f"is cut off in {member.name}")
            if member.islnk():
                targets = _targets_before(archive, member) if targets is None else targets
                _follow(member, targets)
            if targets is not None:
                targets[member.name] = _span(member)
            if _span(member) is not None:
                yield member
        _check_end(archive)
    except DataError:
        raise
    except FAULTS as error:
        raise _unreadable(error) from error


def _span(member: tarfile.TarInfo) -> Span | None:
    """Place of the bytes of a file; None for folders, devices and the like."""
    is_file = member.isreg() and not member.issparse()
    return (member.offset_data, member.size) if is_file else None


def _targets_before(archive: tarfile.TarFile, link: tarfile.TarInfo) -> dict[str, Span | None]:
    """Places of what a link may be to: what comes before it, by another pass over the headers."""
    file: Any = archive.fileobj
    file.seek(0)
    found: dict[str, Span | None] = {}
    with tarfile.open(fileobj=file, mode="r:") as again:  # `archive` keeps its own position
        while (member := again.next()) is not None and member.offset < link.offset:
            vars(again)["members"].clear()
            found[member.name] = _span(member)
    return found


def _follow(link: tarfile.TarInfo, targets: dict[str, Span | None]) -> None:
    """Make a link a file with the bytes of its target, unless that is no file."""
    if link.linkname not in targets:
        raise DataError(f"has no {link.linkname}, which {link.name} is a link to")
    if (span := targets[link.linkname]) is not None:
        link.type, (link.offset_data, link.size) = tarfile.REGTYPE, span


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

"""Files and folders, local or on any filesystem that pyarrow or fsspec knows.

A place is a path or an address: `photos`, `s3://bucket/photos`, `gs://...`, `memory://...`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from pyarrow import ArrowException, fs

from promptcodec.errors import DataError, OutputError, PromptCodecError, UsageError, is_address
from promptcodec.io.atomic import write_atomically
from promptcodec.io.find import find_files

BUFFER = 1 << 20  # bytes that are read or copied at a time
IN_ADDRESSES = "/:@"  # and letters, digits and _.-~; all else of a name is escaped


@dataclass(frozen=True)
class FoundFile:
    """A file below a folder.

    Args:
        name: path below the folder, with slashes.
        size: bytes.
        changed: time of its last change, ns since 1970; None where the filesystem keeps none.
    """

    name: str
    size: int
    changed: int | None = None

    @classmethod
    def here(cls, name: str, facts: os.stat_result) -> FoundFile:
        """A file of this machine."""
        return cls(name, facts.st_size, facts.st_mtime_ns)

    @classmethod
    def at(cls, name: str, info: fs.FileInfo) -> FoundFile:
        """A file of a filesystem of pyarrow."""
        return cls(name, info.size or 0, info.mtime_ns)


@dataclass(frozen=True)
class Place:
    """A file or folder.

    Args:
        address: path, or address with its scheme.
        query: options of its filesystem, such as "endpoint_override=127.0.0.1:9000&scheme=http".
    """

    address: str
    query: str = ""

    @classmethod
    def of(cls, text: str) -> Place:
        """A place from a path, or an address with or without `?` and a query."""
        address, _, query = text.partition("?")
        return cls(address, query) if is_address(text) and "=" in query else cls(text)

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> Place:
        return self.moved(f"{self.address.rstrip('/')}/{name}")

    def moved(self, address: str) -> Place:
        """Another place of the same filesystem."""
        return replace(self, address=address)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return not is_address(self.address) or self.address.startswith("file:")

    @property
    def absolute(self) -> str:
        """The address, from the root of its filesystem."""
        return os.path.abspath(self.path) if self.is_local else self.address.rstrip("/")

    def is_in(self, folder: Place) -> bool:
        """Whether it is that folder or below it."""
        if self.is_local and folder.is_local:
            return self.path.resolve().is_relative_to(folder.path.resolve())
        return f"{self.absolute}/".startswith(f"{folder.absolute}/")

    @property
    def path(self) -> Path:
        """Path of a local place."""
        return Path(self.address.removeprefix("file://"))

    def files(self) -> list[FoundFile] | None:
        """All files below a folder, sorted by name; None if there is no such folder.

        Names that begin with a dot are left out.

        Raises:
            DataError: the folder cannot be read.
        """
        if self.is_local:
            return self._local_files()
        with _reading(self):
            system, path = self._locate()
            if system.get_file_info(path).type != fs.FileType.Directory:
                return None
            found = system.get_file_info(fs.FileSelector(path, recursive=True))
            start = len(path.rstrip("/")) + 1
            files = [
                FoundFile.at(info.path[start:], info)
                for info in found
                if info.type == fs.FileType.File
            ]
        return sorted((f for f in files if not _is_hidden(f.name)), key=lambda file: file.name)

    def _local_files(self) -> list[FoundFile] | None:
        if not self.path.is_dir():
            return None
        paths = find_files(self.path)
        names = ((path.relative_to(self.path).as_posix(), path.stat()) for path in paths)
        return sorted((FoundFile.here(*each) for each in names), key=lambda file: file.name)

    def level(self) -> tuple[list[str], list[FoundFile]]:
        """Folders and files right below a folder; none if there is no such folder.

        Names that begin with a dot are left out.

        Raises:
            DataError: the folder cannot be read.
        """
        if self.is_local:
            return self._local_level()
        with _reading(self):
            system, path = self._locate()
            chosen = fs.FileSelector(path, allow_not_found=True)
            found = [each for each in system.get_file_info(chosen) if each.base_name[:1] != "."]
        kind = fs.FileType
        folders = [each.base_name for each in found if each.type == kind.Directory]
        files = [each for each in found if each.type == kind.File]
        return folders, [FoundFile.at(each.base_name, each) for each in files]

    def _local_level(self) -> tuple[list[str], list[FoundFile]]:
        folders, files = [], []
        with _reading(self), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for entry in os.scandir(self.path):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(FoundFile.here(entry.name, entry.stat()))
        return folders, files

    def file(self) -> FoundFile | None:
        """The file of this name; None if there is none."""
        with _reading(self):
            if self.is_local:  # its name need not be UTF-8, as for pyarrow
                if not self.path.is_file():
                    return None
                return FoundFile.here(self.path.name, self.path.stat())
            system, path = self._locate()
            info = system.get_file_info(path)
            return FoundFile.at(info.base_name, info) if info.type == fs.FileType.File else None

    def size(self) -> int | None:
        """Bytes of a file; None if there is no such file."""
        found = self.file()
        return None if found is None else found.size

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open a file for reading, seekable.

        Raises:
            DataError: the file cannot be opened or read.
        """
        with _reading(self):
            if self.is_local:
                with self.path.open("rb", BUFFER) as file:
                    yield file
                return
            system, path = self._locate()
            with system.open_input_file(path) as file:
                yield io.BufferedReader(file, BUFFER)  # type: ignore[arg-type]

    def read(self) -> bytes:
        """Bytes of a file; DataError if it cannot be read."""
        with self.open() as file:
            return file.read()

    def write(self, content: Callable[[BinaryIO], object]) -> tuple[int, str]:
        """Write a file; what was there before is replaced.

        On this machine the file appears whole or not at all. Elsewhere it is made here first.

        Args:
            content: function that writes to an open file.
        Returns:
            Bytes and their SHA-256 in hexadecimal digits.
        Raises:
            OutputError: the file cannot be written.
        """
        size, digest = 0, ""

        def fill(file: BinaryIO) -> None:
            nonlocal size, digest
            content(file)
            file.flush()
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

        with _writing(self):
            if self.is_local:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self.path, fill, force=True)
            else:
                system, path = self._locate()
                system.create_dir(path.rpartition("/")[0], recursive=True)
                with tempfile.TemporaryFile() as file:
                    fill(file)
                    file.seek(0)
                    with system.open_output_stream(path) as target:
                        shutil.copyfileobj(file, target, BUFFER)
        return size, digest

    def remove(self) -> None:
        """Remove a file; OutputError if it cannot be removed."""
        with _writing(self):
            system, path = self._locate()
            system.delete_file(path)

    def _locate(self) -> tuple[fs.FileSystem, str]:
        """The filesystem and the path on it."""
        if self.is_local:
            return fs.LocalFileSystem(), os.path.abspath(self.path)
        scheme, _, rest = self.address.partition("://")
        query = f"?{self.query}" if self.query else ""
        try:
            return fs.FileSystem.from_uri(f"{scheme}://{quote(rest, safe=IN_ADDRESSES)}{query}")
        except ArrowException as error:
            if "Unrecognized filesystem" not in str(error):
                raise
            return _by_fsspec(self.address, error)


def _by_fsspec(address: str, first: Exception) -> tuple[fs.FileSystem, str]:
    scheme = address.partition(":")[0]
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(address)
    except (ImportError, ValueError) as error:
        reason = first if isinstance(error, ValueError) and "Protocol" not in str(error) else error
        raise UsageError(
            f"{address}: no filesystem {scheme}:// is installed ({_first_line(reason)}): install "
            "its package for fsspec, or copy the files to this machine"
        ) from None
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path


@contextlib.contextmanager
def _reading(place: Place) -> Iterator[None]:
    try:
        yield
    except PromptCodecError:
        raise
    except (OSError, ArrowException) as error:
        if isinstance(error, FileNotFoundError):
            reason = "not there: check the name"
        else:
            reason = f"{_first_line(error)}: check the address, permissions and the network"
        raise DataError(f"{place} cannot be read: {reason}") from error


@contextlib.contextmanager
def _writing(place: Place) -> Iterator[None]:
    try:
        yield
    except PromptCodecError:
        raise
    except (OSError, ArrowException) as error:
        raise OutputError(
            f"{place} cannot be written: {_first_line(error)}: free some space, check address and "
            "permissions, or name another destination"
        ) from error


def _first_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.splitlines()[0].rstrip(". ")
    lines = str(error).splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))

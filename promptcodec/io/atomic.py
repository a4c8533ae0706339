"""Atomic writes of files (standard library only).

The bytes are written to a temporary file in the folder of the output and synced; then the file is
renamed to the output. After a crash the output has the old content or the new one, never a part.
"""

import contextlib
import errno
import io
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from promptcodec.errors import OutputError, as_given, is_address

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EFBIG: "the file would exceed the size limit: raise the limit or choose another folder",
    errno.EACCES: "no permission to write there: choose another folder",
    errno.EPERM: "no permission to write there: choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}

# Errors of `link` on file systems without hard links (FAT, some network shares).
_NO_HARD_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}

Content = bytes | Callable[[BinaryIO], object]  # bytes of a file, or a function that writes them

_temporaries: set[Path] = set()  # files that this process is writing


def check_output(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Refuse an output that cannot be written, before any work is spent on its content.

    Args:
        path: file to be written.
        force: whether an existing regular file may be replaced.

    Raises:
        OutputError: the folder is missing, or `path` exists and may not be replaced.
    """
    target = Path(path)
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        if is_address(str(path)):
            raise OutputError(
                f"{as_given(str(path))}: this is an address, and only files are written: name one"
            ) from None
        if not target.parent.is_dir():
            raise OutputError(
                f"{target}: the folder {target.parent} does not exist: create it first"
            ) from None
        return
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL byte
        raise _output_error(target, error) from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"{target} is a folder: name a file inside it")
    if not stat.S_ISREG(mode):
        raise OutputError(f"{target} is no regular file: write to standard output and redirect it")
    if not force:
        raise _exists(target)


def refuse_input(path: str | os.PathLike[str], source: str | os.PathLike[str]) -> None:
    """Refuse an output that is the input, also with --force.

    Raises:
        OutputError: both are one file.
    """
    same = False
    with contextlib.suppress(OSError, ValueError):  # one of them does not exist
        same = os.path.samefile(path, source)
    if same:
        raise OutputError(f"{path} is the input: choose another name")


def content_bytes(content: Content) -> bytes:
    """The bytes of a content."""
    if isinstance(content, bytes):
        return content
    file = io.BytesIO()
    content(file)
    return file.getvalue()


def write_atomically(path: str | os.PathLike[str], content: Content, *, force: bool = False) -> int:
    """Write `content` to `path` atomically.

    A symbolic link is followed, and a replaced file keeps its permissions.

    Args:
        path: file to write; its folder must exist.
        content: bytes, or function that writes them to an open file.
        force: whether to replace an existing regular file. Without it check and creation are one
            step, so that a file created meanwhile is not overwritten either.

    Returns:
        Number of bytes written.

    Raises:
        OutputError: `path` exists and `force` is off, the folder is missing, or the system refuses
            the write; no part of the output is left.
    """
    check_output(path, force=force)
    target = Path(os.path.realpath(path))
    # Not derived from the target's name, which may already be as long as names can be.
    temporary = target.parent / f".promptcodec-{secrets.token_hex(8)}.part"
    _temporaries.add(temporary)
    try:
        try:
            size = _write_synced(temporary, content)
            if force:
                _replace(temporary, target)
            else:
                _create(temporary, target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            _temporaries.discard(temporary)
    except OutputError:  # from the function of the content
        raise
    except OSError as error:
        raise _output_error(Path(path), error) from error
    _sync_folder(target.parent)
    return size


def remove_temporaries() -> None:
    """Remove the files being written, before the process ends at once."""
    for temporary in list(_temporaries):
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_synced(path: Path, content: Content) -> int:
    """Create `path` with the permissions of the umask and sync its content."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(descriptor, "w+b") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            content(file)
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def _replace(temporary: Path, target: Path) -> None:
    """Give the temporary file the target's name and, where it exists, its permissions."""
    with contextlib.suppress(FileNotFoundError):
        temporary.chmod(stat.S_IMODE(target.stat().st_mode))
    os.replace(temporary, target)


def _create(temporary: Path, target: Path) -> None:
    """Give the temporary file the target's name unless that is taken, in one step."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # Create an empty file exclusively, then replace it.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            os.replace(temporary, target)
        except OSError:
            target.unlink(missing_ok=True)
            raise


def _sync_folder(folder: Path) -> None:
    """Make the new name durable; best effort, as some file systems cannot sync a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exists(path: Path) -> OutputError:
    return OutputError(f"{path} exists: pass --force to replace it, or choose another name")


def _output_error(path: Path, error: OSError | ValueError) -> OutputError:
    if isinstance(error, FileExistsError):
        return _exists(path)
    number = error.errno if isinstance(error, OSError) else None
    reason = _REASONS.get(number or 0) or f"{error}: choose another name or folder"
    return OutputError(f"{path} cannot be written: {reason}")

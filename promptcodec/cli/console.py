"""Standard streams: input, output and messages.

No typer, no torch, so that the import takes milliseconds.
"""

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from promptcodec.errors import (
    OutputError,
    PictureError,
    StreamError,
    UsageError,
    not_found,
)

FULL_DISK = "the disk is full: free some space"
MAX_INPUT_BYTES = 2**30  # limit for endless input (a device, a runaway pipe)

_closed: set[str] = set()  # standard streams that were closed at the start of this process


def escape_unknown_characters() -> None:
    """Have standard output and error escape characters that their encoding lacks.

    File names may hold any; a message must not end the run.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def reopen_closed_streams() -> None:
    """Reopen closed standard streams on os.devnull.

    Otherwise messages would be written to the next file that is opened, or into the payload.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        _closed.add(name)
        nowhere = os.open(os.devnull, os.O_RDWR)  # mostly `number`, the lowest free one
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)
        os.set_inheritable(number, True)  # like the other standard streams
        setattr(sys, name, open(number, "w" if number else "r", closefd=False))


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM: temporary files are removed and summaries printed."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = None
    with contextlib.suppress(ValueError):  # not in the main thread
        before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def print_message(line: str) -> None:
    """Print a message on standard error; errors of writing are ignored."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        abandon(sys.stderr)


def print_line(text: str) -> None:
    """Print a message on one line of standard error."""
    print_message(one_line(text))


def one_line(message: str) -> str:
    """Escape unprintable characters: file names may contain line ends and terminal codes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in message
    )


def read_input(name: str, *, error: type[PictureError] | type[StreamError]) -> bytes:
    """Read a whole file, or standard input when `name` is "-".

    Args:
        name: path or "-".
        error: class of the exception for an input that cannot be read.

    Raises:
        UsageError: standard input is a terminal.
        PictureError: the input is missing, unreadable or over 1 GiB; StreamError if `error` is.
    """
    if name == "-" and ("stdin" in _closed or sys.stdin.isatty()):
        raise UsageError("no input: name a file, or send one with < or a pipe")
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(MAX_INPUT_BYTES + 1)
    except FileNotFoundError:
        raise error(not_found(name)) from None
    except IsADirectoryError:
        raise error(
            f"{name} cannot be read: it is a folder: name a file; encode and decode take folders "
            "by --recursive"
        ) from None
    except (OSError, ValueError) as problem:  # ValueError: a name with a NUL byte
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{name} cannot be read: {reason}: name a readable file") from problem
    if len(data) > MAX_INPUT_BYTES:
        raise error(f"{name} is over {MAX_INPUT_BYTES} bytes: name a smaller file")
    return data


def picture_source(name: str) -> bytes | Path:
    """Source of a picture by its name: the path of a file, else the content of a pipe or of "-".

    A file is read by the decoder, so that it is not in memory beside its pixels.

    Raises:
        UsageError: standard input is a terminal.
        PictureError: the picture is missing, unreadable or over 1 GiB.
    """
    path = Path(name)
    try:
        if name == "-" or not path.is_file():
            return read_input(name, error=PictureError)
        with path.open("rb"):
            size = path.stat().st_size
    except (OSError, ValueError):  # `read_input` reports the reason
        return read_input(name, error=PictureError)
    if size > MAX_INPUT_BYTES:
        raise PictureError(f"{name} is over {MAX_INPUT_BYTES} bytes: name a smaller file")
    return path


def write_stdout(content: bytes | str) -> None:
    """Write a payload, or a text and a line end, and flush it.

    Raises:
        OutputError: standard output cannot be written, on a full disk for instance.
        BrokenPipeError: the reader of standard output has ended.
    """
    check_stdout()
    try:
        if isinstance(content, bytes):
            sys.stdout.buffer.write(content)
        else:
            print(content)
        sys.stdout.flush()  # now, while a failure can still be reported
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon(sys.stdout)
        full = error.errno == errno.ENOSPC
        reason = FULL_DISK if full else f"{error.strerror}: write to a file with -o"
        raise OutputError(f"standard output cannot be written: {reason}") from error


def check_stdout() -> None:
    """Raise OutputError if standard output is closed."""
    if "stdout" in _closed:
        raise OutputError("standard output is closed: redirect it to a file or a pipe")


def abandon(stream: TextIO) -> None:
    """Redirect a stream to os.devnull, so that the interpreter's last flush cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)

"""How the command line meets the outside: standard streams, outputs, errors on one line.

No typer, no torch: everything here starts in milliseconds.
"""

import contextlib
import errno
import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from promptcodec.errors import OutputError, PictureError, PromptCodecError, StreamError, UsageError
from promptcodec.io.atomic import (
    Content,
    check_output,
    content_bytes,
    refuse_input,
    write_atomically,
)

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
OUT_OF_MEMORY = 71  # EX_OSERR
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE

# Exit codes without an error of ours: code, Python's exception, cause, remedy.
OTHER_EXITS = (
    (INTERNAL_ERROR, "", "a bug", "please report it with the output under `-v`"),
    (OUT_OF_MEMORY, "`MemoryError`", "not enough memory", "a smaller picture, a larger machine"),
    (
        INTERRUPTED,
        "`KeyboardInterrupt`",
        "interrupted (Ctrl-C; SIGTERM while files are written)",
        "the same command goes on",
    ),
    (BROKEN_PIPE, "`BrokenPipeError`", "the reader of standard output went away", "none needed"),
)

MAX_INPUT_BYTES = 2**30  # endless input (a device, a runaway pipe) ends here

_closed: set[str] = set()  # standard streams that this process was started without


def stand_in() -> None:
    """Give standard streams that are closed a place to lead to.

    Otherwise messages would go to whatever file is opened next, or into the payload.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        _closed.add(name)
        nowhere = os.open(os.devnull, os.O_RDWR)  # mostly that number, the lowest that is free
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)
        os.set_inheritable(number, True)  # as the others are
        setattr(sys, name, open(number, "w" if number else "r", closefd=False))


@contextlib.contextmanager
def ended_politely() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: what is being written is removed, what was done is told."""

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


def say(line: str) -> None:
    """Print a message on standard error; where nobody reads it, work goes on."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _abandon(sys.stderr)


def read_input(name: str, *, error: type[PictureError] | type[StreamError]) -> bytes:
    """Read a whole file, or standard input when `name` is "-".

    Args:
        name: path or "-".
        error: what an input that cannot be read is reported as.

    Raises:
        UsageError: standard input is a terminal.
        PictureError: or StreamError, as asked: missing, unreadable or over 1 GiB.
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
        raise error(f"{name}: no such file: check the name") from None
    except IsADirectoryError:
        raise error(
            f"{name} cannot be read: it is a folder: name a file; encode and decode take folders "
            "by --recursive"
        ) from None
    except (OSError, ValueError) as problem:  # ValueError: a name with a NUL byte
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{name} cannot be read: {reason}: name a readable file") from problem
    if len(data) > MAX_INPUT_BYTES:
        raise error(f"{name} is over {MAX_INPUT_BYTES} bytes: no file this large is read")
    return data


def picture_source(name: str) -> bytes | Path:
    """A picture that is named: its path where it is a file, else what a pipe or "-" gives.

    A file is read by the decoder, so that it is not held beside its pixels.

    Raises:
        UsageError: standard input is a terminal.
        PictureError: missing, unreadable or over 1 GiB.
    """
    path = Path(name)
    try:
        if name == "-" or not path.is_file():
            return read_input(name, error=PictureError)
        with path.open("rb"):
            size = path.stat().st_size
    except (OSError, ValueError):  # which of them `read_input` says
        return read_input(name, error=PictureError)
    if size > MAX_INPUT_BYTES:
        raise PictureError(f"{name} is over {MAX_INPUT_BYTES} bytes: no file this large is read")
    return path


def choose_output(
    source: str, output: str | None, *, suffix: str, as_json: bool, force: bool
) -> Path | None:
    """Decide where the payload goes and refuse early what could not be written later.

    Where the input came from decides, not where standard output happens to lead: a file gives a
    file beside it, standard input gives standard output.

    Args:
        source: path of the input or "-".
        output: what the user asked for, path or "-"; None is the default.
        suffix: of the default output, with its dot.
        as_json: standard output is needed for JSON.
        force: an existing file may be replaced.

    Returns:
        The file to write; None is standard output.

    Raises:
        UsageError: a payload would go to a terminal, or together with JSON to one pipe.
        OutputError: the file exists or is the input, or its folder is missing.
    """
    if as_json:
        _check_stdout()
    if output == "-" or (output is None and source == "-"):
        if as_json:
            raise UsageError("--json and the payload both need standard output: name a file by -o")
        if sys.stdout.isatty():
            raise UsageError("a terminal cannot show binary data: name a file by -o, or redirect")
        return None
    given = source if output is None else output
    if not Path(given).name:
        folder = given and "is a folder; encode and decode take folders by --recursive"
        raise UsageError(f"{given!r} {folder or 'names no file'}: name a file")
    path = Path(source).with_name(Path(source).stem + suffix) if output is None else Path(output)
    if source != "-":
        refuse_input(path, source)
    check_output(path, force=force)
    return path


def deliver(content: Content, target: Path | None, *, force: bool) -> int:
    """Write the payload to a file, whole or not at all, or to standard output.

    Returns:
        How many bytes that were.

    Raises:
        OutputError: the system refuses the write.
        BrokenPipeError: the reader of standard output is gone.
    """
    if target is not None:
        with ended_politely():
            return write_atomically(target, content, force=force)
    data = content_bytes(content)
    write_stdout(data)
    return len(data)


def report(
    command: str, values: dict[str, Any], summary: str, *, as_json: bool, verbose: bool
) -> None:
    """Print what was done: JSON to standard output or one line to standard error."""
    if as_json:
        write_json(command, values)
        return
    names = {"-": ("standard input", "standard output")}
    source = names.get(values["input"], (values["input"],))[0]
    target = names.get(values["output"], (values["output"],))[-1]
    say(one_line(f"{source} -> {target}: {summary}"))
    if verbose:
        seconds = ", ".join(f"{name} {value:.3f} s" for name, value in values["seconds"].items())
        say(seconds)


def answer(kind: str, values: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print what was asked for: JSON with its schema, or a text for people."""
    if as_json:
        write_json(kind, values)
    else:
        write_stdout(text)


def write_json(kind: str, values: dict[str, Any]) -> None:
    """Print one object with its schema; keys are only ever added under one schema.

    Args:
        kind: what it is about, mostly the command.
        values: JSON-ready.
    """
    write_stdout(json.dumps({"schema": f"promptcodec.{kind}/1"} | values))


def trained(command: str, folder: Path, line: str, *, as_json: bool) -> None:
    """Say where training wrote: JSON to standard output or one line to standard error."""
    if as_json:
        write_json(command, {"output": str(folder)})
    else:
        say(one_line(line))


def named(content: bytes, name: str) -> io.BytesIO:
    """Bytes as a file that knows its name, so that an error about them can say it."""
    file = io.BytesIO(content)
    file.name = name  # type: ignore[attr-defined]
    return file


def write_stdout(content: bytes | str) -> None:
    """Write a payload, or a text and a line end, and see it reach the reader.

    Raises:
        OutputError: standard output leads to a full disk, for instance.
        BrokenPipeError: its reader is gone.
    """
    _check_stdout()
    try:
        if isinstance(content, bytes):
            sys.stdout.buffer.write(content)
        else:
            print(content)
        sys.stdout.flush()  # now, while a failure can still be reported
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon_stdout()
        raise OutputError(f"standard output cannot be written: {_reason(error)}") from error


def _check_stdout() -> None:
    if "stdout" in _closed:
        raise OutputError("standard output is closed: redirect it to a file or a pipe")


def abandon_stdout() -> None:
    """Point standard output to nowhere, so that the interpreter's own last flush cannot fail."""
    _abandon(sys.stdout)


def _abandon(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def describe(error: Exception) -> tuple[str, int]:
    """Message and exit code for any exception."""
    if isinstance(error, PromptCodecError):
        return str(error), error.exit_code
    if _is_out_of_memory(error):
        return "not enough memory: take a smaller picture or a larger machine", OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # a log, a cache, a help text
        abandon_stdout()
        return "the disk is full: free some space", OutputError.exit_code
    message = f"{type(error).__name__}: {error}"
    return f"unexpected, please report it with the output under -v: {message}", INTERNAL_ERROR


def one_line(message: str) -> str:
    """Escape what is not printable: a file name may hold line ends and terminal codes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in message
    )


def _is_out_of_memory(error: Exception) -> bool:
    """On CPU torch reports it as a RuntimeError, and it is not imported here to ask."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full: free some space"
    return f"{error.strerror}: write to a file with -o"


def as_text(facts: Mapping[str, Any]) -> str:
    """Lay out what `bitstream.describe` says of a stream, a line for each fact."""
    colour = "grey" if facts["grey"] else "colour"
    tiles, sizes = facts["tiles"], facts["bytes"]
    chunks = [f"{each['kind'].strip()} {each['bytes']:,} bytes" for each in facts["chunks"]]
    lines = {
        "picture": f"{facts['width']}x{facts['height']} {colour}",
        "size": f"{sizes['file']:,} bytes, {facts['bpp']:.3f} bpp",
        "rate index": f"{facts['rate_index']:g}, gain {facts['gain_steps']:+g} steps",
        "base": facts["base_hash"],
        "adapters": ", ".join(facts["adapter_hashes"]) or "none",
        "tiles": f"{tiles['rows']} x {tiles['columns']}",
        "latents": f"{sizes['y']:,} bytes",
        "side": f"{sizes['z']:,} bytes",
        "chunks": ", ".join(chunks) or "none",
        "header": f"{sizes['header']:,} bytes",
        "format": f"version {facts['version']}, numerics profile {facts['profile']}",
    }
    return "\n".join(f"{name + ':':<12}{value}" for name, value in lines.items())

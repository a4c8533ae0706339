"""Results of a command: where they go, how they are written and printed."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from promptcodec.cli import console
from promptcodec.errors import UsageError
from promptcodec.io.atomic import (
    Content,
    check_output,
    content_bytes,
    refuse_input,
    write_atomically,
)


@dataclass
class Session:
    """What the error handler needs of the command that failed.

    Args:
        verbose: the traceback is shown as well.
    """

    verbose: bool = False


def _set_verbose(context: typer.Context, value: bool) -> bool:
    session = context.find_object(Session)
    if value and session is not None:
        session.verbose = True
    return value


@dataclass(frozen=True)
class Printer:
    """How the results of a command are printed."""

    as_json: Annotated[bool, Option("--json", help="Print JSON to standard output.")] = False
    verbose: Annotated[
        bool, Option("--verbose", "-v", callback=_set_verbose, help="Show timings and tracebacks.")
    ] = False

    def print_json(self, kind: str, values: dict[str, Any]) -> None:
        """Print one object with its schema; keys are only ever added under one schema.

        Args:
            kind: subject of the object, mostly the command.
            values: JSON-ready.
        """
        console.write_stdout(json.dumps({"schema": f"promptcodec.{kind}/1"} | values))

    def print_result(self, kind: str, values: dict[str, Any], text: str) -> None:
        """Print a result: JSON with its schema, or a text for people."""
        if self.as_json:
            self.print_json(kind, values)
        else:
            console.write_stdout(text)

    def report_file(self, command: str, values: dict[str, Any], summary: str) -> None:
        """Print what was done: JSON to standard output or one line to standard error."""
        if self.as_json:
            self.print_json(command, values)
            return
        names = {"-": ("standard input", "standard output")}
        source = names.get(values["input"], (values["input"],))[0]
        target = names.get(values["output"], (values["output"],))[-1]
        console.print_line(f"{source} -> {target}: {summary}")
        if self.verbose:
            laps = values["seconds"].items()
            console.print_message(", ".join(f"{name} {value:.3f} s" for name, value in laps))

    def report_run(self, command: str, output: Path, line: str) -> None:
        """Print where training wrote: JSON to standard output or one line to standard error."""
        if self.as_json:
            self.print_json(command, {"output": str(output)})
        else:
            console.print_line(line)


def choose_output(
    source: str, output: str | None, *, suffix: str, printer: Printer, force: bool
) -> Path | None:
    """Decide where the payload goes and refuse early what could not be written later.

    Where the input came from decides, not where standard output happens to lead: a file gives a
    file beside it, standard input gives standard output.

    Args:
        source: path of the input or "-".
        output: path or "-" as the user named it; None is the default.
        suffix: ending of the default output, with its dot.
        printer: whether standard output is needed for JSON.
        force: permission to replace an existing file.

    Returns:
        The file to write; None is standard output.

    Raises:
        UsageError: a payload would go to a terminal, or together with JSON to one pipe.
        OutputError: the file exists or is the input, or its folder is missing.
    """
    if printer.as_json:
        console.check_stdout()
    if output == "-" or (output is None and source == "-"):
        if printer.as_json:
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


def write_output(content: Content, target: Path | None, *, force: bool) -> int:
    """Write the payload to a file, whole or not at all, or to standard output.

    Returns:
        Number of bytes.

    Raises:
        OutputError: the system refuses the write.
        BrokenPipeError: the reader of standard output is gone.
    """
    if target is not None:
        with console.sigterm_as_interrupt():
            return write_atomically(target, content, force=force)
    data = content_bytes(content)
    console.write_stdout(data)
    return len(data)

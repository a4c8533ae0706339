"""Results of a command: choice of the output, writing and printing."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from promptcodec.cli import console
from promptcodec.cli.inputs import refuse_address
from promptcodec.errors import UsageError
from promptcodec.io.atomic import (
    Content,
    check_output,
    content_bytes,
    refuse_input,
    write_atomically,
)
from promptcodec.io.find import with_ending
from promptcodec.io.notes import note_line


@dataclass
class Session:
    """Settings of a command for the error handler.

    Args:
        verbose: whether the traceback is printed as well.
    """

    verbose: bool = False


def _set_verbose(context: typer.Context, value: bool) -> bool:
    session = context.find_object(Session)
    if value and session is not None:
        session.verbose = True
    return value


@dataclass(frozen=True)
class Printer:
    """Printing of the results of a command."""

    as_json: Annotated[bool, Option("--json", help="Print JSON to standard output.")] = False
    verbose: Annotated[
        bool, Option("--verbose", "-v", callback=_set_verbose, help="Show timings and tracebacks.")
    ] = False

    def print_json(self, kind: str, values: dict[str, Any]) -> None:
        """Print one object with its schema; keys of a schema are never removed.

        Args:
            kind: subject of the object, mostly the command.
            values: JSON-ready values.
        """
        console.write_stdout(json.dumps({"schema": f"promptcodec.{kind}/1"} | values))

    def print_result(self, kind: str, values: dict[str, Any], text: str) -> None:
        """Print a result: JSON with its schema, or text."""
        if self.as_json:
            self.print_json(kind, values)
        else:
            console.write_stdout(text)

    def report_file(self, command: str, values: dict[str, Any], summary: str) -> None:
        """Report a coded file: JSON to standard output or one line to standard error."""
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

    def report_notes(self, source: str, notes: Sequence[str], *, others: int = 0) -> None:
        """Print what a result has not of its source; with JSON it is in the facts of the file.

        Args:
            source: name of the source.
            notes: a few words each.
            others: number of further sources of which the same is true.
        """
        name = "standard input" if source == "-" else source
        for note in [] if self.as_json else notes:
            console.print_line(f"promptcodec: note: {note_line(name, note, others=others)}")

    def report_run(self, command: str, output: Path, line: str) -> None:
        """Report the output of training: JSON to standard output or one line to standard error."""
        if self.as_json:
            self.print_json(command, {"output": str(output)})
        else:
            console.print_line(line)


def choose_output(
    source: str, output: str | None, *, suffix: str, printer: Printer, force: bool
) -> Path | None:
    """Choose the output of the payload and check it before any work.

    The default depends on the input alone: a file beside an input file, standard output for
    standard input.

    Args:
        source: path of the input or "-".
        output: path or "-" from the command line; None is the default.
        suffix: ending of the default output, with its dot.
        printer: choice of JSON, which uses standard output.
        force: permission to replace an existing file.

    Returns:
        The file to write; None is standard output.

    Raises:
        UsageError: the input is an address, or a payload would go to a terminal, or to standard
            output together with JSON.
        OutputError: the file exists or is the input, or its folder is missing.
    """
    if printer.as_json:
        console.check_stdout()
    refuse_address(source)
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
    path = with_ending(Path(source), suffix) if output is None else Path(output)
    if source != "-":
        refuse_input(path, source)
    check_output(path, force=force)
    return path


def write_output(content: Content, target: Path | None, *, force: bool) -> int:
    """Write the payload to a file, atomically, or to standard output.

    Returns:
        Number of bytes.

    Raises:
        OutputError: the system refuses the write.
        BrokenPipeError: the reader of standard output has ended.
    """
    if target is not None:
        with console.sigterm_as_interrupt():
            return write_atomically(target, content, force=force)
    data = content_bytes(content)
    console.write_stdout(data)
    return len(data)

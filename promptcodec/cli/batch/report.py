"""Messages of a run over many files: a line a file with --verbose, failures, a summary.

With --json every line of standard output is an object with its `schema`: one a file, the summary
last; failures go to standard error in the same form.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptcodec.cli import console
from promptcodec.cli.batch.runner import FileOutcome
from promptcodec.cli.output import Printer
from promptcodec.errors import OutputError
from promptcodec.io.atomic import check_output, write_atomically

_FAILURE = b'{"schema": "promptcodec.failure/1"'  # first bytes of a file of failures


@dataclass
class Report:
    """Outcomes of a run.

    Args:
        command: "encode" or "decode".
        printer: choice of JSON or text, and of a line for each file.
        ignored: number of files in folders with another suffix.
        failures: JSONL file for failures; None is standard error.
        dry_run: whether planned files are printed to standard output.
    """

    command: str
    printer: Printer
    ignored: int = 0
    failures: Path | None = None
    dry_run: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[FileOutcome] = field(default_factory=list)
    partial: list[FileOutcome] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)  # names of files by what they lack
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.failures is not None:
            check_output(self.failures, force=True)
            _check_failures(self.failures)

    def collect(
        self, outcomes: Iterable[FileOutcome], *, total: int, progress: Callable[[int, int], None]
    ) -> None:
        """Count and print all outcomes in order.

        Args:
            outcomes: outcomes of the run.
            total: number of files.
            progress: function of (files done, files).
        """
        for done, outcome in enumerate(outcomes, 1):
            self._add(outcome)
            progress(done, total)

    def conclude(self) -> int:
        """Print the failures and the summary.

        Returns:
            Exit code: 0, that of all failures, or 1 if they differ.
        Raises:
            OutputError: the file of failures cannot be written.
        """
        failures = [json.dumps(_failure(outcome)) for outcome in self.failed]
        if self.failures is not None:
            content = "".join(f"{line}\n" for line in failures)
            write_atomically(self.failures, content.encode(), force=True)
        elif self.printer.as_json:
            for line in failures:
                console.print_message(line)
        else:
            for outcome in self.failed:
                name = "" if outcome.source in outcome.summary else f"{outcome.source}: "
                console.print_line(f"promptcodec: failed: {name}{outcome.summary}")
        for outcome in [] if self.printer.as_json else self.partial:
            missing = ", ".join(outcome.facts["missing"])
            console.print_line(f"promptcodec: partial: {outcome.source}: missing: {missing}")
        for note, sources in self.notes.items():
            self.printer.report_notes(sources[0], [note], others=len(sources) - 1)
        if self.printer.as_json:
            self.printer.print_json("summary", self._facts())
        else:
            console.print_message(self._sentence())
        codes = {outcome.exit_code for outcome in self.failed}
        return codes.pop() if len(codes) == 1 else int(bool(codes))

    def _add(self, outcome: FileOutcome) -> None:
        self.counts[outcome.status] += 1
        self.counts["input_bytes"] += outcome.facts.get("input_bytes", 0)
        self.counts["output_bytes"] += outcome.facts.get("output_bytes", 0)
        if outcome.facts.get("missing"):
            self.partial.append(outcome)
        for note in outcome.facts.get("notes", ()):
            self.notes.setdefault(note, []).append(outcome.source)
        if outcome.status == "failed":
            self.failed.append(outcome)
        elif self.printer.as_json:
            names = {"input": outcome.source, "output": outcome.target}
            facts = {"status": outcome.status} | names | outcome.facts
            self.printer.print_json(self.command, facts)
        elif self.dry_run or self.printer.verbose:
            line = f"{outcome.source} -> {outcome.target}: {outcome.summary or outcome.status}"
            if self.dry_run:
                console.write_stdout(console.one_line(line))
            else:
                console.print_line(line)

    def _facts(self) -> dict[str, Any]:
        names = ("done", "finished", "planned", "failed", "input_bytes", "output_bytes")
        return {
            "command": self.command,
            **{name: self.counts[name] for name in names},
            "partial": len(self.partial),
            "ignored": self.ignored,
            "seconds": round(time.monotonic() - self.started, 3),
        }

    def _sentence(self) -> str:
        counts = self.counts
        parts = [f"{counts['done']:,} {self.command}d"]
        if self.dry_run:
            parts = [f"{counts['planned']:,} to {self.command}"]
        if counts["finished"]:
            parts.append(f"{counts['finished']:,} finished before")
        if self.partial:
            parts.append(f"{len(self.partial):,} of them in part")
        parts.append(f"{counts['failed']:,} failed")
        if self.ignored:
            parts.append(f"{self.ignored:,} other files ignored")
        sizes = ""
        if counts["done"]:
            sizes = f"; {counts['input_bytes']:,} -> {counts['output_bytes']:,} bytes"
        where = f"; see {self.failures}" if self.failures and self.failed else ""
        return ", ".join(parts) + sizes + where


def _check_failures(path: Path) -> None:
    """Refuse to replace a file that is no list of failures, a picture for instance."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_FAILURE))
    except OSError:
        return
    if start not in (b"", _FAILURE):
        raise OutputError(f"{path} exists and lists no failures: choose another name")


def _failure(outcome: FileOutcome) -> dict[str, Any]:
    return {
        "schema": "promptcodec.failure/1",
        "input": outcome.source,
        "output": outcome.target,
        "error": outcome.error,
        "exit_code": outcome.exit_code,
        "message": outcome.summary,
    }

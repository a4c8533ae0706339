"""What a run over many files says: a line a file where asked for, failures, a summary.

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
from promptcodec.cli.batch.runner import Row
from promptcodec.errors import OutputError
from promptcodec.io.atomic import check_output, write_atomically

_FAILURE = b'{"schema": "promptcodec.failure/1"'  # what a file of failures begins with


@dataclass
class Report:
    """Collects the rows of a run.

    Args:
        command: "encode" or "decode".
        ignored: files in folders that were not looked at.
        failures: JSONL file for what failed; None says it on standard error.
        as_json: for programs rather than people.
        verbose: a line a file for people too.
        dry_run: that line is what was asked for.
    """

    command: str
    ignored: int = 0
    failures: Path | None = None
    as_json: bool = False
    verbose: bool = False
    dry_run: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[Row] = field(default_factory=list)
    partial: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.failures is not None:
            check_output(self.failures, force=True)
            _check_failures(self.failures)

    def collect(
        self, rows: Iterable[Row], *, total: int, progress: Callable[[int, int], None]
    ) -> None:
        """Take in all rows as they come.

        Args:
            rows: of the run.
            total: how many there will be.
            progress: called with (files done, files).
        """
        for done, row in enumerate(rows, 1):
            self._add(row)
            progress(done, total)

    def conclude(self) -> int:
        """Say what failed and the summary.

        Returns:
            Exit code: 0, that of all failures, or 1 where they differ.
        Raises:
            OutputError: the file of failures cannot be written.
        """
        lines = [json.dumps(_failure(row)) + "\n" for row in self.failed]
        if self.failures is not None:
            write_atomically(self.failures, "".join(lines).encode(), force=True)
        elif self.as_json:
            for line in lines:
                console.say(line.rstrip())
        else:
            for row in self.failed:
                name = "" if row.source in row.summary else f"{row.source}: "
                line = f"promptcodec: failed: {name}{row.summary}"
                console.say(console.one_line(line))
        for row in [] if self.as_json else self.partial:
            line = f"promptcodec: partial: {row.source}: missing: {', '.join(row.facts['missing'])}"
            console.say(console.one_line(line))
        if self.as_json:
            console.write_stdout(json.dumps(self._facts()))
        else:
            console.say(self._sentence())
        codes = {row.exit_code for row in self.failed}
        return codes.pop() if len(codes) == 1 else int(bool(codes))

    def _add(self, row: Row) -> None:
        self.counts[row.status] += 1
        self.counts["input_bytes"] += row.facts.get("input_bytes", 0)
        self.counts["output_bytes"] += row.facts.get("output_bytes", 0)
        if row.facts.get("missing"):
            self.partial.append(row)
        if row.status == "failed":
            self.failed.append(row)
        elif self.as_json:
            names = {"input": row.source, "output": row.target}
            facts = {"schema": f"promptcodec.{self.command}/1", "status": row.status}
            console.write_stdout(json.dumps(facts | names | row.facts))
        elif self.dry_run or self.verbose:
            line = console.one_line(f"{row.source} -> {row.target}: {row.summary or row.status}")
            if self.dry_run:
                console.write_stdout(line)
            else:
                console.say(line)

    def _facts(self) -> dict[str, Any]:
        names = ("done", "finished", "planned", "failed", "input_bytes", "output_bytes")
        return {
            "schema": "promptcodec.summary/1",
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
    """Refuse to replace a file that no earlier run has written, a picture for instance."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_FAILURE))
    except OSError:
        return
    if start not in (b"", _FAILURE):
        raise OutputError(f"{path} exists and lists no failures: choose another name")


def _failure(row: Row) -> dict[str, Any]:
    return {
        "schema": "promptcodec.failure/1",
        "input": row.source,
        "output": row.target,
        "error": row.error,
        "exit_code": row.exit_code,
        "message": row.summary,
    }

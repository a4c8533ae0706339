"""A fault: a piece of a source file with another in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Fault:
    """One change of one file.

    Args:
        name: description, one line.
        path: path of the file in the tree.
        old: text that is replaced.
        new: text in its place.
        line: whole line that it begins in; empty where `old` stands once in the file.
        column: place of its first character in that line.
        same: number of equal lines before that one.
        test: file of tests that is run first; empty leaves that to the runner.
    """

    name: str
    path: str
    old: str
    new: str
    line: str = ""
    column: int = 0
    same: int = 0
    test: str = ""

    def applied(self, source: str) -> str:
        """The source with the fault.

        Raises:
            ValueError: the source is another one.
        """
        starts = [match.start() for match in re.finditer(re.escape(self.old), source)]
        if self.line:
            lines = re.finditer(f"^{re.escape(self.line)}$", source, re.M)
            places = [match.start() + self.column for match in lines]
            starts = [at for at in places[self.same : self.same + 1] if at in starts]
        if len(starts) != 1:
            raise ValueError(f"{self.path} has no place for {self.name!r}: draw the faults again")
        return source[: starts[0]] + self.new + source[starts[0] + len(self.old) :]

    @contextmanager
    def in_tree(self, tree: Path) -> Iterator[None]:
        """A tree with the fault, as long as the context lasts."""
        path = tree / self.path
        source = path.read_text("utf-8")
        path.write_text(self.applied(source), "utf-8")
        try:
            yield
        finally:
            path.write_text(source, "utf-8")


def read_faults(path: Path) -> list[Fault]:
    """Faults of a YAML file."""
    return [Fault(**values) for values in yaml.safe_load(path.read_text("utf-8"))]


def write_faults(path: Path, faults: Sequence[Fault]) -> None:
    """Write faults as YAML."""
    rows = [
        {k: v for k, v in vars(fault).items() if v not in ("", 0) or k == "new"} for fault in faults
    ]
    path.write_text(yaml.safe_dump(rows, sort_keys=False, width=100, allow_unicode=True), "utf-8")

"""Draw faults for the tests to notice: operators, constants, dropped statements, by a seed.

    python -m benchmarks.mutations.draw --seed 1 --count 30

Every place of training/, coding/ and io/ that a rule fits is a candidate; the draw is uniform. The
list is written to benchmarks/mutations/drawn.yaml and committed before the tests run.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import ROOT, parser
from benchmarks.mutations.faults import Fault, write_faults

FOLDERS = ("training", "coding", "io")
DRAWN = Path(__file__).with_name("drawn.yaml")
OPERATORS = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}


class Source:
    """A file and places in it.

    Args:
        path: path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.relative_to(ROOT).as_posix()
        self.text = path.read_text("utf-8")
        lines = self.text.splitlines(keepends=True)
        self._starts = [sum(map(len, lines[:n])) for n in range(len(lines))]
        self._lines = lines
        self.tree = ast.parse(self.text)

    def place(self, line: int, column: int) -> int:
        """Number of the character at a line and a column in bytes, as `ast` counts them."""
        text = self._lines[line - 1].encode()[:column].decode()
        return self._starts[line - 1] + len(text)

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """First character of a node, and the one behind it."""
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self.place(node.lineno, node.col_offset), self.place(end_line, end_column)

    def fault(self, kind: str, start: int, old: str, new: str) -> Fault:
        """A fault at a place."""
        before = self.text.count("\n", 0, start)
        line = self._lines[before].rstrip("\n")
        same = sum(other.rstrip("\n") == line for other in self._lines[:before])
        name = f"{kind} in line {before + 1} of {self.path}"
        column = start - self._starts[before]
        return Fault(name, self.path, old, new, line, column, same)

    def between(self, left: ast.expr, right: ast.expr, kind: type) -> Fault | None:
        """The operator between two operands replaced."""
        old, new = OPERATORS[kind]
        start, end = self.span(left)[1], self.span(right)[0]
        found = self.text.find(old, start, end)
        if found < 0 or "#" in self.text[start:end]:
            return None
        return self.fault("operator", found, old, new)


def candidates(source: Source) -> Iterator[Fault]:
    """Every fault of a file that a rule fits; annotations and docstrings are left out."""
    pending: list[ast.AST] = [source.tree]
    while pending:
        node = pending.pop()
        yield from _faults_of(node, source)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            found = value if isinstance(value, list) else [value]
            pending += [child for child in found if isinstance(child, ast.AST)]


def _faults_of(node: ast.AST, source: Source) -> Iterator[Fault]:
    pairs: list[tuple[ast.expr, ast.expr, type]] = []
    if isinstance(node, ast.BinOp):
        pairs = [(node.left, node.right, type(node.op))]
    elif isinstance(node, ast.BoolOp):
        pairs = [(node.values[0], node.values[1], type(node.op))]
    elif isinstance(node, ast.Compare):
        pairs = [(node.left, node.comparators[0], type(node.ops[0]))]
    for left, right, kind in pairs:
        if kind in OPERATORS and (fault := source.between(left, right, kind)):
            yield fault
    if isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        start, end = source.span(node)
        new = str(not node.value) if isinstance(node.value, bool) else f"({node.value} + 1)"
        yield source.fault("constant", start, source.text[start:end], new)
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if isinstance(node, ast.AugAssign | ast.Raise) or called:
        assert isinstance(node, ast.stmt)
        start, end = source.span(node)
        yield source.fault("dropped statement", start, source.text[start:end], "pass")


def draw(*, seed: int, count: int) -> list[Fault]:
    """A draw without repetition, in random order."""
    every = [
        fault
        for folder in FOLDERS
        for path in sorted((ROOT / "promptcodec" / folder).rglob("*.py"))
        for fault in candidates(Source(path))
    ]
    return random.Random(seed).sample(every, count)


def main() -> None:
    """Command line."""
    found = parser(__doc__, threads=False)
    found.add_argument("--seed", type=int, default=1)
    found.add_argument("--count", type=int, default=30)
    options = found.parse_args()
    write_faults(options.out or DRAWN, draw(seed=options.seed, count=options.count))


if __name__ == "__main__":
    main()

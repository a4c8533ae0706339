"""Record of a running evaluation, from which a stopped one is continued.

A file of lines beside the results: the settings, then one line for each finished picture. A line
that was cut off by a crash is dropped; the file is removed once the results are written.
"""

import json
from dataclasses import asdict
from pathlib import Path

from promptcodec.errors import OutputError, UsageError
from promptcodec.evaluation.results import Measured


class Journal:
    """The record of one run.

    Args:
        path: file of the record; None keeps no record.
        settings: JSON-ready settings; a record with other settings is not continued, and one
            without pictures is replaced.
        force: whether to begin anew if the settings differ.

    Raises:
        UsageError: the file has other settings, and `force` is off.
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path | None, settings: dict, *, force: bool = False) -> None:
        self._path = path
        self.done: dict[str, Measured] = {}
        if path is None:
            return
        header = json.dumps({"settings": settings}, sort_keys=True)
        lines = _lines(path)
        if lines and lines[0] == header:
            self.done = {each.picture: each for each in map(_measured, lines[1:]) if each}
        elif len(lines) > 1 and not force:
            raise UsageError(
                f"{path} is of a run with other settings, weights, code or machine: finish that "
                "run, remove the file, or pass --force to begin anew"
            )
        kept = [json.dumps(asdict(each), allow_nan=False) for each in self.done.values()]
        self._write("w", "\n".join([header, *kept]) + "\n")

    def add(self, measured: Measured) -> None:
        """Record a finished picture."""
        self.done[measured.picture] = measured
        if self._path is not None:
            self._write("a", json.dumps(asdict(measured), allow_nan=False) + "\n")

    def close(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self, mode: str, text: str) -> None:
        assert self._path is not None
        try:
            with self._path.open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}") from error


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}: remove it") from error


def _measured(line: str) -> Measured | None:
    """The picture of a line; None if the line was cut off."""
    try:
        return Measured.from_json(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return None

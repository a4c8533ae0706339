"""Notes on files: what a file has and its result has not, on one line for all files alike."""

from __future__ import annotations

from collections.abc import Iterable


def note_line(name: str, note: str, *, others: int = 0) -> str:
    """One line.

    Args:
        name: name of the file.
        note: a few words.
        others: number of further files of which the same is true.
    """
    return f"{name}{f' and {others:,} more' if others else ''}: {note}"


def note_lines(notes: Iterable[tuple[str, str]]) -> list[str]:
    """One line for each distinct note.

    Args:
        notes: names of files, each with a note on it.
    """
    names: dict[str, list[str]] = {}
    for name, note in notes:
        names.setdefault(note, []).append(name)
    return [note_line(own[0], note, others=len(own) - 1) for note, own in names.items()]

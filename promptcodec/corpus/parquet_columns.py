"""Columns of a Parquet file: which has the bytes, a name, a label; what the others are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from promptcodec.corpus.tasks import FIELDS, OWN
from promptcodec.errors import DataError

NAMES = ("name", "path", "file_name", "filename", "__key__", "key")  # columns that name a row
LABELS = ("label", "cls", "class")
MARK = b"promptcodec"  # key in the metadata of files that a corpus wrote


@dataclass(frozen=True)
class Columns:
    """Positions of the columns of a file, as names may occur twice or have dots.

    Args:
        data: column of the bytes, or of structures with a field of them.
        part: that field; None if the column has the bytes.
        name: column of the rows' names.
        label: column of labels.
        error: column of reasons of earlier failures.
        kept: columns that stay as they are, with their names in the result.
    """

    data: int
    part: str | None
    name: int | None
    label: int | None
    error: int | None
    kept: dict[int, str]

    @classmethod
    def of(cls, known: pa.Schema, wanted: str | None) -> Columns:
        """The columns of a file.

        Args:
            known: its schema.
            wanted: column of the bytes, or `column.field` of a structure; None is found.
        Raises:
            DataError: there is no such column, or several; the message goes on from a name.
        """
        data, part = _bytes_column(known, wanted)
        name = _first(NAMES, known, but=data)
        label = _first(LABELS, known, but=data)
        is_ours = MARK in (known.metadata or {})
        error = _first(("error",), known, but=data) if is_ours else None
        used = {data, name, label, error}
        others = {at: text for at, text in enumerate(known.names) if at not in used}
        if is_ours:
            others = {at: text for at, text in others.items() if text not in OWN - {FIELDS}}
        return cls(data, part, name, label, error, _unique(others, but=OWN, ours=is_ours))


def _unique(names: dict[int, str], *, but: frozenset[str], ours: bool) -> dict[int, str]:
    """Names that differ from each other and from those in `but`."""
    taken = set(but) | set(names.values())
    found: dict[int, str] = {}
    for at, name in names.items():
        is_free = (name not in but or (ours and name == FIELDS)) and name not in found.values()
        new = name
        if not is_free:
            first = new = f"source_{name}" if name in but else name
            count = 1
            while new in taken:
                count += 1
                new = f"{first}_{count}"
        taken.add(new)
        found[at] = new
    return found


def _bytes_column(known: pa.Schema, wanted: str | None) -> tuple[int, str | None]:
    """Position of the column of bytes, and the field of a structure."""
    found = list(_binary(known))
    names = [shown for shown, _, _ in found]
    if wanted is None and "bytes" in names:
        wanted = "bytes"
    if wanted is not None:
        places = [(at, part) for shown, at, part in found if shown == wanted]
        if not places:
            raise DataError(
                f"has no column {wanted} of bytes: choose from "
                f"{', '.join(names) or 'another file; this one has none'}"
            )
        return places[0]
    if len(found) != 1:
        what = f"columns {', '.join(names)}" if names else "no column"
        raise DataError(f"has {what} of bytes: name one by --column")
    return found[0][1:]


def _binary(known: pa.Schema) -> Iterator[tuple[str, int, str | None]]:
    """Columns and fields of bytes: name with that of the field, position, field."""
    for at, column in enumerate(known):
        if _is_binary(column.type):
            yield column.name, at, None
        elif pa.types.is_struct(column.type):  # pictures of Hugging Face: bytes and path
            for part in column.type.fields:
                if _is_binary(part.type):
                    yield f"{column.name}.{part.name}", at, part.name


def _first(names: Sequence[str], known: pa.Schema, *, but: int) -> int | None:
    """Position of the first of some names that a file has."""
    places = ((at, text) for name in names for at, text in enumerate(known.names) if text == name)
    return next((at for at, _ in places if at != but), None)


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)

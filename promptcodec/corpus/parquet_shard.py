"""Parquet files with a column of picture files or streams."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from promptcodec.corpus.fingerprint import of_values
from promptcodec.corpus.places import Place
from promptcodec.corpus.rows import Entry, Row
from promptcodec.corpus.tasks import OWN
from promptcodec.errors import DataError, PromptCodecError

ROWS_AT_ONCE = 16  # rows in memory
NAMES = ("name", "path", "file_name", "filename", "__key__", "key")  # columns that name a row
LABELS = ("label", "cls", "class")
MARK = b"promptcodec"  # key in the metadata of files that a corpus wrote


@dataclass(frozen=True)
class ParquetShard:
    """A Parquet file.

    Args:
        place: the file.
        name: its path below the source.
        size: its bytes.
        column: column of the bytes, or `column.field` of a structure; None is found.
    """

    place: Place
    name: str
    size: int
    column: str | None = None

    @property
    def others(self) -> list[pa.Field]:
        """Columns that stay as they are; one with a name of ours becomes `source_NAME`."""
        with self._file() as file:
            known = file.schema_arrow
            return [known.field(name).with_name(new) for name, new in self._kept(known).items()]

    def _kept(self, known: pa.Schema) -> dict[str, str]:
        """New name of each column that stays as it is."""
        top = self._bytes_column(known).partition(".")[0]
        used = {top, _first(NAMES, known, but=top), _first(LABELS, known), "error"}
        is_ours = MARK in (known.metadata or {})
        names = [name for name in known.names if name not in used]
        return {
            name: f"source_{name}" if name in OWN else name
            for name in names
            if not (is_ours and name in OWN)
        }

    def blocks(self, size: int) -> Iterator[ParquetBlock]:
        """Blocks of `size` rows; a DataError if the file or its column cannot be used."""
        with self._file() as file:
            column = self._bytes_column(file.schema_arrow)
            digest = of_values(
                [[group.num_rows, group.total_byte_size] for group in _groups(file.metadata)]
                + [self.size, column]
            )
            rows = file.metadata.num_rows
            for number, start in enumerate(range(0, rows, size)):
                yield ParquetBlock(self, number, start, min(start + size, rows), column, digest)

    @contextlib.contextmanager
    def _file(self) -> Iterator[pq.ParquetFile]:
        with self.place.open() as file, self._errors():
            yield pq.ParquetFile(file)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except PromptCodecError:
            raise
        except (pa.ArrowException, OSError) as error:
            line = str(error).splitlines()[0]
            raise DataError(
                f"{self.place} is no whole Parquet file ({line}): fetch or make it again"
            ) from error

    def _bytes_column(self, schema: pa.Schema) -> str:
        """Name of the column of bytes, with the field of a structure behind a dot."""
        found = []
        for column in schema:
            if _is_binary(column.type):
                found.append(column.name)
            elif pa.types.is_struct(column.type):  # pictures of Hugging Face: bytes and path
                parts = (column.type.field(i) for i in range(column.type.num_fields))
                found += [f"{column.name}.{p.name}" for p in parts if _is_binary(p.type)]
        if self.column in found:
            return str(self.column)
        if self.column is not None:
            raise DataError(
                f"{self.place} has no column {self.column} of bytes: choose from "
                f"{', '.join(found) or 'another file; this one has none'}"
            )
        if "bytes" in found:
            return "bytes"
        if len(found) != 1:
            what = f"columns {', '.join(found)}" if found else "no column"
            raise DataError(f"{self.place} has {what} of bytes: name one by --column")
        return found[0]


@dataclass(frozen=True)
class ParquetBlock:
    """Consecutive rows of a file.

    Args:
        shard: the file.
        number: position in the file.
        start: first row.
        stop: row after the last one.
        column: column of the bytes.
        digest: digest of the file's row groups.
    """

    shard: ParquetShard
    number: int
    start: int
    stop: int
    column: str
    digest: str = field(repr=False)

    def fingerprint(self) -> str:
        """Digest of the rows' place and of the sizes of the file; nothing is read."""
        return of_values([self.digest, self.start, self.stop])

    def entries(self) -> Iterator[Entry]:
        """The rows, a few in memory at a time."""
        top = self.column.partition(".")[0]
        with self.shard._file() as file:
            known = file.schema_arrow
            kept = self.shard._kept(known)
            name, label = _first(NAMES, known, but=top), _first(LABELS, known)
            wanted = [n for n in known.names if n in {top, name, label, "error", *kept}]
            row = 0
            for group, facts in enumerate(_groups(file.metadata)):
                first, row = row, row + facts.num_rows
                if row <= self.start or first >= self.stop:
                    continue
                number = first
                batches = file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=wanted)
                for batch in batches:
                    for values in batch.to_pylist():
                        if self.start <= number < self.stop:
                            others = {new: values[old] for old, new in kept.items()}
                            yield self._entry(values, number, name, label, others)
                        number += 1

    def _entry(
        self, values: Row, number: int, name: str | None, label: str | None, others: Row
    ) -> Entry:
        top, _, part = self.column.partition(".")
        data, path = values[top], None
        if part:
            path = (data or {}).get("path")
            data = (data or {}).get(part)
        shown = values.get(name or "") or path or f"{self.shard.name}#{number}"
        text = values.get(label or "")
        error = values.get("error")
        return Entry(
            str(shown),
            -1 if data is None else len(data),
            None if data is None else lambda: data,
            None if text is None else str(text),
            None if error is None else str(error),
            others,
        )


def _first(names: Sequence[str], known: pa.Schema, *, but: str | None = None) -> str | None:
    """The first of some names that a file has."""
    return next((name for name in names if name in known.names and name != but), None)


def _groups(metadata: pq.FileMetaData) -> Iterator[pq.RowGroupMetaData]:
    return (metadata.row_group(number) for number in range(metadata.num_row_groups))


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

"""Parquet files with a column of picture files or streams."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from promptcodec.corpus.fingerprint import of_values
from promptcodec.corpus.places import Place
from promptcodec.corpus.rows import Entry
from promptcodec.errors import DataError, PromptCodecError

ROWS_AT_ONCE = 16  # rows in memory
NAMES = ("name", "path", "file_name", "filename", "__key__", "key")  # columns that name a row
LABELS = ("label", "cls", "class")


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
        top, _, part = self.column.partition(".")
        with self.shard._file() as file:
            names = set(file.schema_arrow.names)
            label = next((name for name in LABELS if name in names), None)
            name = next((each for each in NAMES if each in names - {top}), None)
            wanted = [n for n in dict.fromkeys((top, name, label, "error")) if n in names]
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
                            yield self._entry(values, number, top, part, name, label)
                        number += 1

    def _entry(
        self,
        values: dict[str, Any],
        number: int,
        top: str,
        part: str,
        name: str | None,
        label: str | None,
    ) -> Entry:
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
        )


def _groups(metadata: pq.FileMetaData) -> Iterator[pq.RowGroupMetaData]:
    return (metadata.row_group(number) for number in range(metadata.num_row_groups))


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

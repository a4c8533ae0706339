"""Parquet files with a column of picture files or streams."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from promptcodec.corpus.fingerprint import of_values
from promptcodec.corpus.parquet_columns import Columns
from promptcodec.corpus.places import BUFFER, Place
from promptcodec.corpus.rows import Entry, Row
from promptcodec.corpus.tasks import FIELDS
from promptcodec.corpus.values import plain
from promptcodec.errors import DataError, PromptCodecError

ROWS_AT_ONCE = 16  # rows in memory


@dataclass(frozen=True)
class ParquetShard:
    """A Parquet file.

    Args:
        place: the file.
        name: its path below the source.
        size: its bytes.
        column: column of the bytes, or `column.field` of a structure; None is found.
        changed: time of its last change in ns; None is unknown.
    """

    place: Place
    name: str
    size: int
    column: str | None = None
    changed: int | None = None

    @property
    def others(self) -> list[pa.Field]:
        """Columns that stay as they are; one with a name of ours becomes `source_NAME`."""
        with self._file() as file:
            known = file.schema_arrow
            return [known.field(at).with_name(new) for at, new in self._columns(known).kept.items()]

    def blocks(self, size: int) -> Iterator[ParquetBlock]:
        """Blocks of `size` rows; a DataError if the file or its column cannot be used."""
        with self._file() as file:
            columns = self._columns(file.schema_arrow)
            groups = [[group.num_rows, group.total_byte_size] for group in _groups(file)]
            digest = of_values([self.size, self.changed, groups, columns.data, columns.part])
            rows, reader = file.metadata.num_rows, _Rows(file)
            for number, start in enumerate(range(0, rows, size)):
                stop = min(start + size, rows)
                yield ParquetBlock(self, number, start, stop, columns, reader, digest)

    def _columns(self, known: pa.Schema) -> Columns:
        try:
            return Columns.of(known, self.column)
        except DataError as error:
            raise DataError(f"{self.place} {error}") from None

    @contextlib.contextmanager
    def _file(self) -> Iterator[pq.ParquetFile]:
        with self.place.open() as file:
            with self.errors():  # with a buffer instead of whole column chunks in memory
                opened = pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER)
            yield opened

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of pyarrow into a DataError with the name of the file."""
        try:
            yield
        except PromptCodecError:
            raise
        except (pa.ArrowException, OSError) as error:
            line = str(error).splitlines()[0]
            raise DataError(
                f"{self.place} is no whole Parquet file ({line}): fetch or make it again"
            ) from error


@dataclass(frozen=True)
class ParquetBlock:
    """Consecutive rows of a file.

    Args:
        shard: the file.
        number: position in the file.
        start: first row.
        stop: row after the last one.
        columns: positions of its columns.
        reader: reader of the file, which all its blocks share.
        digest: digest of the file's facts.
    """

    shard: ParquetShard
    number: int
    start: int
    stop: int
    columns: Columns
    reader: _Rows = field(repr=False)
    digest: str = field(repr=False)

    def fingerprint(self) -> str:
        """Digest of the rows' place, and of time and sizes of the file; nothing is read."""
        return of_values([self.digest, self.start, self.stop])

    def entries(self) -> Iterator[Entry]:
        """The rows, a few in memory at a time."""
        number = self.start
        while number < self.stop:
            with self.shard.errors():
                batch = self.reader.at(number)
            for row in range(min(batch.num_rows, self.stop - number)):
                yield self._entry(batch, row, number + row)
            number += batch.num_rows

    def _entry(self, batch: pa.RecordBatch, row: int, number: int) -> Entry:
        columns = self.columns
        value = batch.column(columns.data)[row]
        data, path = value.as_py() if columns.part is None else None, None
        if columns.part is not None and value.is_valid:
            names = [each.name for each in value.type.fields]
            data = value[names.index(columns.part)].as_py()
            path = _text(value[names.index("path")]) if "path" in names else None
        label, error = (
            None if at is None else _text(batch.column(at)[row])
            for at in (columns.label, columns.error)
        )
        name = None if columns.name is None else _text(batch.column(columns.name)[row])
        others: Row = {new: batch.column(at).slice(row, 1) for at, new in columns.kept.items()}
        if FIELDS in others:
            others[FIELDS] = plain(others[FIELDS][0])
        return Entry(
            name or path or f"{self.shard.name}#{number}",
            -1 if data is None else len(data),
            None if data is None else lambda: data,
            label,
            error,
            others,
        )


class _Rows:
    """Rows of a file from any position on; those that follow each other are decoded once.

    Args:
        file: the file.
    """

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        self._ahead: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.RecordBatch | None = None
        self._first = self._end = 0  # row of the batch, row after its group

    def at(self, row: int) -> pa.RecordBatch:
        """Some rows from number `row` on."""
        if self._batch is None or not self._first <= row < self._end:
            self._begin(row)
        while True:
            assert self._batch is not None
            if row < self._first + self._batch.num_rows:
                return self._batch.slice(row - self._first)
            self._first += self._batch.num_rows
            self._batch = self._next()

    def _begin(self, row: int) -> None:
        """Read the row group of a row from its start."""
        self._batch = None
        end = 0
        for number, group in enumerate(_groups(self._file)):
            start, end = end, end + group.num_rows
            if row < end:
                self._first, self._end = start, end
                self._ahead = self._file.iter_batches(ROWS_AT_ONCE, row_groups=[number])
                self._batch = self._next()
                return
        raise IndexError(row)

    def _next(self) -> pa.RecordBatch:
        batch = next(self._ahead, None)
        if batch is None:
            raise pa.ArrowInvalid("a row group has fewer rows than its header states")
        return batch


def _groups(file: pq.ParquetFile) -> Iterator[pq.RowGroupMetaData]:
    return (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))


def _text(value: Any) -> str | None:
    """A value of a name, label or reason as text."""
    return str(plain(value)) if value.is_valid else None

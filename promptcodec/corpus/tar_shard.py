"""Tar archives: blocks of the rows of their samples."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, BinaryIO

import pyarrow as pa

from promptcodec.corpus.fingerprint import of_values
from promptcodec.corpus.places import Place
from promptcodec.corpus.rows import Entry
from promptcodec.corpus.samples import SampleRow, Samples, fault_of
from promptcodec.corpus.tasks import FIELDS
from promptcodec.errors import DataError
from promptcodec.io.tar import compression_of, open_tar

FIELDS_COLUMN = pa.field(FIELDS, pa.map_(pa.string(), pa.binary()))
TAIL = 16  # last bytes of a compressed file, where gzip has the CRC of its content


@dataclass(frozen=True)
class TarShard:
    """A tar archive, compressed or not.

    Args:
        place: file of the archive.
        name: its path below the source.
        size: its bytes.
        changed: time of its last change in ns; None is unknown.
    """

    place: Place
    name: str
    size: int
    changed: int | None = None
    others = (FIELDS_COLUMN,)

    def blocks(self, size: int) -> Iterator[TarBlock]:
        """Blocks of `size` rows; a DataError where the archive is damaged or cut off."""
        # The archive is open until all blocks are done, as rows are read after their headers.
        with self._opened() as (archive, tail):
            samples = Samples(self.place, archive, size=None if tail else self.size)
            facts, rows, number = [self.size, self.changed, tail], iter(samples), 0
            while True:
                samples.keeps = True  # the first row; whether it is needed, is not known yet
                if (first := next(rows, None)) is None:
                    return
                block = TarBlock(number, chain([first], islice(rows, size - 1)), samples, facts)
                yield block
                block.pass_over()
                number += 1

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[tarfile.TarFile, str]]:
        """The archive, and of a compressed one its last bytes in hexadecimal digits."""
        with self.place.open() as file, contextlib.ExitStack() as stack:
            try:
                tail = "" if compression_of(file) is None else _tail(file)
                archive = stack.enter_context(open_tar(file, compressed=True))
            except DataError as error:
                raise fault_of(self.place, str(error)) from error
            yield archive, tail


class TarBlock:
    """Consecutive rows of an archive.

    Args:
        number: position in the archive.
        rows: rows, found in the archive as they are asked for.
        samples: reader of the archive.
        facts: size, time of change and last bytes of its file.
    """

    def __init__(
        self, number: int, rows: Iterator[SampleRow], samples: Samples, facts: list[Any]
    ) -> None:
        self.number = number
        self._left, self._samples, self._facts = rows, samples, facts
        self._passed: list[Any] = []

    def fingerprint(self) -> str:
        """Digest of the headers of the block, or of a compressed file; no picture is read."""
        if self._samples.size is None:
            return of_values([*self._facts, self.number])
        left = list(self._left)
        self._left = iter(left)
        return of_values([self._facts, [*self._passed, *(row.headers() for row in left)]])

    def entries(self) -> Iterator[Entry]:
        """The rows that were not passed yet."""
        self._samples.keeps = True
        for row in self._left:
            self._passed.append(row.headers())
            yield row.entry()

    def pass_over(self) -> None:
        """Go to the end of the block; no picture is read."""
        self._samples.keeps = False
        deque(self._left, maxlen=0)


def _tail(file: BinaryIO) -> str:
    file.seek(-TAIL, io.SEEK_END)
    tail = file.read(TAIL)
    file.seek(0)
    return tail.hex()

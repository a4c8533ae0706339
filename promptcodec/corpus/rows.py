"""Rows of a corpus: their columns, and blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Row = dict[str, Any]  # value of each column, by its name


@dataclass(frozen=True)
class Entry:
    """A picture or stream of a source, not read yet.

    Args:
        name: path below the source, or name in its shard; bytes that are not UTF-8 become %XX.
        size: bytes; -1 is unknown.
        read: function that reads the bytes; None is a row that failed before.
        label: text of its label, if the source has one.
        error: reason of an earlier failure.
        others: further columns, which stay as they are; those of `Shard.others`. A value of a
            Parquet file is an array of one element, as Python has no types for some.
    """

    name: str
    size: int
    read: Callable[[], bytes] | None
    label: str | None = None
    error: str | None = None
    others: Row = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", as_text(self.name))

    def row(self) -> Row:
        """The row of the entry; its `bytes` are read."""
        data = None if self.read is None else self.read()
        own = {"name": self.name, "bytes": data, "label": self.label, "error": self.error}
        return self.others | own


class Block(Protocol):
    """Consecutive entries of a shard that become one file of the result."""

    @property
    def number(self) -> int:
        """Position in the shard, from 0."""
        ...

    def fingerprint(self) -> str:
        """Digest of what the block consists of, without its bytes."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Entries in their order; each can be read until the next one is asked for."""
        ...


def as_text(name: str) -> str:
    """A name of a file as text: bytes that are not UTF-8 (surrogates in a `str`) become %XX."""
    return "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in name)


def rows_of(batch: Mapping[str, Any]) -> list[Row]:
    """Rows of a batch of columns of one length."""
    names, values = list(batch), zip(*batch.values(), strict=True)
    return [dict(zip(names, each, strict=True)) for each in values]

"""Tar archives by the convention of WebDataset: members of one key are one sample.

Every picture or stream of a sample is a row; `KEY.cls` is its label; `KEY.json` that a corpus wrote
has its name and error. Other members, such as captions, are in the column `fields`, by what follows
the key in their names.
"""

from __future__ import annotations

import contextlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import pyarrow as pa

from promptcodec.corpus.fingerprint import of_names
from promptcodec.corpus.places import Place
from promptcodec.corpus.rows import Entry
from promptcodec.errors import DataError
from promptcodec.io.find import PICTURE_SUFFIXES, STREAM_SUFFIXES
from promptcodec.io.tar import FAULTS, key_of, open_tar, read_members

ROW_SCHEMA = "promptcodec.row/1"
SMALL = 1 << 20  # bytes; labels and facts above are none of ours
FACTS = ("schema", "name", "label", "error")
FIELDS = pa.field("fields", pa.map_(pa.string(), pa.binary()))


@dataclass(frozen=True)
class TarShard:
    """A tar archive, compressed by gzip or not.

    Args:
        place: file of the archive.
        name: its path below the source.
        size: its bytes.
    """

    place: Place
    name: str
    size: int
    others = (FIELDS,)

    def blocks(self, size: int) -> Iterator[TarBlock]:
        """Blocks of `size` rows; a DataError where the archive is damaged or cut off."""
        # The archive is open until all blocks are done, as rows are read after their headers.
        with self.place.open() as file, contextlib.ExitStack() as stack:
            with self._named():
                archive = stack.enter_context(open_tar(file, compressed=True))
            entries = self._entries(archive)
            number = 0
            while (first := next(entries, None)) is not None:
                block = TarBlock(number, chain([first], islice(entries, size - 1)))
                yield block
                block.fingerprint()  # go to its end
                number += 1

    def _entries(self, archive: tarfile.TarFile) -> Iterator[Entry]:
        members, fault = self._members(archive), None
        sample: list[tarfile.TarInfo] = []
        while True:
            try:
                member = next(members, None)
            except DataError as error:  # after the rows before it
                member, fault = None, error
            if sample and (member is None or key_of(member.name) != key_of(sample[0].name)):
                yield from self._rows(archive, sample)
                sample = []
            if member is None:
                break
            if not member.name.rpartition("/")[2].startswith("."):  # hidden: not the user's
                sample.append(member)
        if fault is not None:
            raise fault

    def _members(self, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        plain = self.name.lower().endswith(".tar")
        with self._named():
            yield from read_members(archive, size=self.size if plain else None)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Put the name of the archive before what is wrong with it."""
        try:
            yield
        except DataError as error:
            raise DataError(f"{self.place} {error}: fetch or make it again") from error

    def _rows(self, archive: tarfile.TarFile, sample: list[tarfile.TarInfo]) -> Iterator[Entry]:
        suffixes = (*PICTURE_SUFFIXES, *STREAM_SUFFIXES)
        pictures = [m for m in sample if m.name.lower().endswith(suffixes)]
        facts, label, fields = {}, None, []
        for member in sample:
            if member in pictures:
                continue
            data = self._read(archive, member)
            ending = member.name[len(key_of(member.name)) + 1 :]
            own = _facts(data) if ending == "json" else {}
            if own:
                facts = own
            elif ending == "cls" and member.size <= SMALL:
                label = data.decode("utf-8", "replace").strip()
            else:
                fields.append((ending, data))
        others = {FIELDS.name: fields}
        for member in pictures:
            name = facts.get("name") if len(pictures) == 1 else None
            read = partial(self._read, archive, member)
            label = facts.get("label", label)
            shown = str(name or member.name)
            yield Entry(shown, member.size, read, label, others=others)
            others = {FIELDS.name: []}  # they stay with the first picture of a sample
        if not pictures and facts.get("error"):
            name, error = str(facts.get("name") or sample[0].name), str(facts["error"])
            yield Entry(name, -1, None, facts.get("label", label), error, others)

    def _read(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        try:
            file = archive.extractfile(member)
            assert file is not None
            data = file.read()
        except FAULTS as error:
            raise DataError(f"{member.name} of {self.place} cannot be read: {error}") from error
        if len(data) < member.size:
            raise DataError(f"{self.place} is cut off in {member.name}: fetch or make it again")
        return data


class TarBlock:
    """Consecutive rows of an archive.

    Args:
        number: position in the archive.
        entries: rows, read from the archive as they are asked for.
    """

    def __init__(self, number: int, entries: Iterator[Entry]) -> None:
        self.number = number
        self._left = entries
        self._passed: list[tuple[str, int]] = []

    def fingerprint(self) -> str:
        """Digest of names and sizes; reads the headers of the block, not its pictures."""
        left = list(self._left)
        self._left = iter(left)
        return of_names([*self._passed, *((entry.name, entry.size) for entry in left)])

    def entries(self) -> Iterator[Entry]:
        """The rows that were not passed yet."""
        for entry in self._left:
            self._passed.append((entry.name, entry.size))
            yield entry


def _facts(data: bytes) -> dict[str, str]:
    """Facts of a row that a corpus wrote; {} for other JSON."""
    if len(data) > SMALL:
        return {}
    try:
        values = json.loads(data)
    except ValueError:
        return {}
    if not isinstance(values, dict) or values.get("schema") != ROW_SCHEMA:
        return {}
    return {key: v for key in FACTS if (v := values.get(key)) is not None}

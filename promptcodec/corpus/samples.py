"""Samples of tar archives by the convention of WebDataset: members of one key.

Every picture or stream of a sample is a row; `KEY.cls` is its label; `KEY.json` that a corpus wrote
has its name and error. Other members, such as captions, are in the column `fields`, by what follows
the key in their names.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from promptcodec.corpus.places import Place
from promptcodec.corpus.rows import Entry, as_text
from promptcodec.corpus.tasks import FIELDS
from promptcodec.errors import DataError
from promptcodec.io.find import PICTURE_SUFFIXES, STREAM_SUFFIXES
from promptcodec.io.tar import FAULTS, key_of, read_members

ROW_SCHEMA = "promptcodec.row/1"
SMALL = 1 << 20  # bytes; labels and facts above are none of ours
FACTS = ("schema", "name", "label", "error")


@dataclass
class Sample:
    """Members of one key.

    Args:
        place: file of the archive.
        archive: the archive.
        members: their headers.
        held: bytes of some of them, by the place of their headers.
    """

    place: Place
    archive: tarfile.TarFile
    members: list[tarfile.TarInfo] = field(default_factory=list)
    held: dict[int, bytes] = field(default_factory=dict)

    @property
    def pictures(self) -> list[tarfile.TarInfo]:
        """Its pictures and streams."""
        suffixes = (*PICTURE_SUFFIXES, *STREAM_SUFFIXES)
        return [m for m in self.members if m.name.lower().endswith(suffixes)]

    def ending(self, member: tarfile.TarInfo) -> str:
        """What follows the key in the name of a member."""
        return member.name[len(key_of(member.name)) + 1 :]

    def is_small(self, member: tarfile.TarInfo) -> bool:
        """Whether a member may be a label or the facts of a row."""
        return self.ending(member) in ("cls", "json") and member.size <= SMALL

    def read(self, member: tarfile.TarInfo) -> bytes:
        """Bytes of a member; a DataError if they cannot be read."""
        if member.offset in self.held:
            return self.held[member.offset]
        source: Any = self.archive.fileobj
        try:
            source.seek(member.offset_data)
            data = source.read(member.size)
        except FAULTS as error:
            reason = f"cannot be read in {as_text(member.name)} ({error})"
            raise fault_of(self.place, reason) from error
        if len(data) < member.size:
            raise fault_of(self.place, f"is cut off in {as_text(member.name)}")
        return data

    def rows(self) -> Iterator[SampleRow]:
        """Its rows: one for each picture, or that of one that failed."""
        pictures = self.pictures
        yield from (SampleRow(self, picture) for picture in pictures)
        if not pictures and any(
            facts_in(self.read(m)).get("error")
            for m in self.members
            if self.ending(m) == "json" and self.is_small(m)
        ):
            yield SampleRow(self, None)


@dataclass(frozen=True)
class SampleRow:
    """A row that is not read yet.

    Args:
        sample: sample of the row.
        picture: its picture or stream; None is a row that failed before.
    """

    sample: Sample
    picture: tarfile.TarInfo | None

    def headers(self) -> list[Any]:
        """Name, size and time of each member of the sample, and the place of the picture."""
        members = self.sample.members
        place = -1 if self.picture is None else members.index(self.picture)
        return [[[m.name, m.size, m.mtime] for m in members], place]

    def entry(self) -> Entry:
        """The row with label, name and further columns, which are read; its bytes are not."""
        sample, picture = self.sample, self.picture
        pictures = sample.pictures
        is_first = picture is None or picture is pictures[0]
        facts: dict[str, str] = {}
        label, fields = None, []
        for member in sample.members:
            is_small = sample.is_small(member)
            if member in pictures or not (is_first or is_small):
                continue
            data, ending = sample.read(member), sample.ending(member)
            if is_small and ending == "cls":
                label = data.decode("utf-8", "replace").strip()
            elif is_small and (own := facts_in(data)):
                facts = own
            elif is_first:  # they stay with the first picture of a sample
                fields.append((as_text(ending), data))
        label, others = facts.get("label", label), {FIELDS: fields}
        if picture is None:
            name = facts.get("name") or sample.members[0].name
            return Entry(str(name), -1, None, label, str(facts["error"]), others)
        name = (facts.get("name") if len(pictures) == 1 else None) or picture.name
        return Entry(str(name), picture.size, partial(sample.read, picture), label, others=others)


class Samples:
    """Rows of an archive, one after the other.

    Args:
        place: file of the archive.
        archive: archive at its start.
        size: bytes of the archive; None is a compressed one, in which each step back begins at its
            start again.
    """

    def __init__(self, place: Place, archive: tarfile.TarFile, *, size: int | None) -> None:
        self.place, self.archive, self.size = place, archive, size
        self.keeps = False  # whether the bytes of a compressed archive are kept as they pass

    def __iter__(self) -> Iterator[SampleRow]:
        """The rows; a DataError where the archive is damaged, after those before."""
        sample = Sample(self.place, self.archive)
        try:
            for member in self._members():
                if member.name.rpartition("/")[2].startswith("."):  # hidden: not the user's
                    continue
                if sample.members and key_of(member.name) != key_of(sample.members[0].name):
                    yield from sample.rows()
                    sample = Sample(self.place, self.archive)
                if self.size is None and (self.keeps or sample.is_small(member)):
                    sample.held[member.offset] = sample.read(member)
                sample.members.append(member)
        except DataError:
            yield from sample.rows()
            raise
        yield from sample.rows()

    def _members(self) -> Iterator[tarfile.TarInfo]:
        try:
            yield from read_members(self.archive, size=self.size)
        except DataError as error:
            raise fault_of(self.place, str(error)) from error


def fault_of(place: Place, reason: str) -> DataError:
    """What is wrong with an archive, with its name."""
    return DataError(f"{place} {reason}: fetch or make it again")


def facts_in(data: bytes) -> dict[str, str]:
    """Facts of a row that a corpus wrote; {} for other JSON."""
    try:
        values = json.loads(data)
    except ValueError:
        return {}
    if not isinstance(values, dict) or values.get("schema") != ROW_SCHEMA:
        return {}
    return {key: v for key in FACTS if (v := values.get(key)) is not None}

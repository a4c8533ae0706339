"""A shard as a piece of work: its blocks are read, coded and written, finished ones passed over.

    shard -> blocks -> rows -> CodecWorker -> one file of the result and its record

The record of a file is written after it. A block is finished if its record is there and the block
still consists of the same; nothing else has to be remembered for a restart.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, BinaryIO

import pyarrow as pa

from promptcodec.corpus.parts import PartFormat, read_rows, write_parquet, write_tar
from promptcodec.corpus.places import Place
from promptcodec.corpus.rows import Block, Row
from promptcodec.corpus.sources import Shard
from promptcodec.corpus.tally import Tally
from promptcodec.corpus.tasks import Task
from promptcodec.corpus.worker import CodecWorker
from promptcodec.errors import DataError, ModelMismatchError, PromptCodecError, unexpected

RECORDS = "_parts"  # folder of records; readers of Parquet pass over it
RECORD_SCHEMA = "promptcodec.part/1"
REUSED_AT_MOST = 256 << 20  # bytes of an earlier file whose rows are kept in memory


@dataclass(frozen=True)
class Job:
    """What is done with every shard, picklable.

    Args:
        task: task on every row.
        codec: arguments of `Codec.load`.
        identity: engine and hashes that every worker must have; see `identity_of`.
        settings: digest of all settings that a row depends on; files of others are made anew.
        destination: folder of the result; None keeps sums alone.
        format: format of its files.
        block: rows in a file.
    """

    task: Task
    codec: Mapping[str, Any]
    identity: Mapping[str, Any]
    settings: str
    destination: Place | None
    format: PartFormat
    block: int


@dataclass(frozen=True)
class Piece:
    """Blocks of a shard for one worker: those whose number leaves the rest `stripe`.

    Args:
        shard: shard to read.
        stem: start of the names of its files.
        stripe: rest of the numbers by `stripes`.
        stripes: number of pieces that the shard is cut into.
    """

    shard: Shard
    stem: str
    stripe: int = 0
    stripes: int = 1


@dataclass(frozen=True)
class Part:
    """Record of a file of the result.

    Args:
        file: name of the file; "" if sums alone are kept.
        bytes: its bytes.
        sha256: their hash.
        fingerprint: digest of the block that it was made of; "" if not all of it could be read.
        settings: digest of the settings that it was made with.
        tally: sums over its rows.
        failures: name and reason of each row that failed.
    """

    file: str
    bytes: int
    sha256: str
    fingerprint: str
    settings: str
    tally: dict[str, Any]
    failures: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Outcome:
    """What became of a piece.

    Args:
        parts: records of its files.
        finished: number of these that were there before.
        rows: rows that were done now.
        fault: reason why the shard was not read to its end.
        stop: exception that ends the job.
    """

    parts: list[Part] = field(default_factory=list)
    finished: int = 0
    rows: int = 0
    fault: str = ""
    stop: PromptCodecError | None = None


class PieceWorker:
    """Work on pieces; the codec is loaded once.

    Args:
        job: what is done.
        worker: worker on rows; None makes one from the job.
    """

    def __init__(self, job: Job, worker: CodecWorker | None = None) -> None:
        self.job = job
        self.worker = worker or CodecWorker(job.task, codec=job.codec)
        self._is_checked = worker is not None

    def __call__(self, piece: Piece) -> Outcome:
        """Do a piece; a fault of its shard or an error that ends the job is in the outcome."""
        outcome = Outcome()
        try:
            self._check_codec()
            others = piece.shard.others
            for block in piece.shard.blocks(self.job.block):
                if block.number % piece.stripes == piece.stripe:
                    stem = f"{piece.stem}-{block.number:06d}"
                    self._do(BlockWork(self.job, self.worker, block, stem, others), outcome)
        except DataError as error:
            outcome.fault = str(error)
        except PromptCodecError as error:
            outcome.stop = error
        except Exception as error:  # one shard never ends the job; the reason says that it is a bug
            outcome.fault = unexpected(error)
        return outcome

    def _do(self, work: BlockWork, outcome: Outcome) -> None:
        before = work.before()
        if before is not None:
            outcome.parts.append(before)
            outcome.finished += 1
            return
        outcome.parts.append(work.do())
        outcome.rows += work.tally.rows - work.reused
        if work.fault is not None:
            raise work.fault

    def _check_codec(self) -> None:
        if self._is_checked or self.job.task.name == "inspect":
            return
        own = identity_of(self.worker)
        if own != self.job.identity:
            raise ModelMismatchError(
                f"a worker has loaded {_short(own)}, the job is for {_short(self.job.identity)}: "
                "give every machine the same checkpoint and packages"
            )
        self._is_checked = True


class BlockWork:
    """Work on one block.

    Args:
        job: what is done.
        worker: worker on its rows.
        block: block to read.
        stem: name of its file without suffix.
        others: columns of its rows that stay as they are.
    """

    def __init__(
        self,
        job: Job,
        worker: CodecWorker,
        block: Block,
        stem: str,
        others: Sequence[pa.Field] = (),
    ) -> None:
        self.job, self.worker, self.block, self.others = job, worker, block, others
        self.name = f"{stem}.{job.format}"
        self.tally = Tally()
        self.reused = 0
        self.fault: DataError | None = None
        self._unread = 0
        self._failures: list[dict[str, str]] = []
        self._record = (
            None if job.destination is None else job.destination / f"{RECORDS}/{stem}.json"
        )

    def before(self) -> Part | None:
        """The record of a finished block; None if there is work."""
        record, destination = self._earlier, self.job.destination
        if record is None or destination is None or not record.fingerprint:
            return None
        if (destination / record.file).size() != record.bytes:
            return None
        return record if record.fingerprint == self.block.fingerprint() else None

    def do(self) -> Part:
        """Read, code and write the block; a damaged shard ends it early and is in `fault`."""
        destination, size, digest = self.job.destination, 0, ""
        if destination is None:
            for _ in self._rows():
                pass
        else:
            size, digest = (destination / self.name).write(self._write)
        part = Part(
            self.name if destination else "",
            size,
            digest,
            "" if self.fault or self._unread else self.block.fingerprint(),
            self.job.settings,
            self.tally.as_dict(),
            self._failures,
        )
        if self._record is not None:
            text = json.dumps({"schema": RECORD_SCHEMA} | asdict(part))
            self._record.write(lambda file: file.write(text.encode()))
        return part

    @cached_property
    def _earlier(self) -> Part | None:
        """The record of an earlier run of these settings; None if there is none to be read."""
        if self._record is None or self._record.size() is None:
            return None
        part = read_part(self._record)
        return part if part is not None and part.settings == self.job.settings else None

    def _write(self, file: BinaryIO) -> None:
        if self.job.format == "tar":
            write_tar(self._rows(), file, ending=self.job.task.ending)
        else:
            write_parquet(self._rows(), file, task=self.job.task.name, others=self.others)

    def _rows(self) -> Iterator[Row]:
        known = self._reusable()
        try:
            for entry in self.block.entries():
                row = self._row(entry, known)
                self.tally.add(row)
                if row["error"] is not None:
                    self._failures.append({"name": str(row["name"]), "error": row["error"]})
                yield row
        except DataError as error:
            self.fault = error

    def _row(self, entry: Any, known: dict[str, Row]) -> Row:
        try:
            row = entry.row()
        except DataError as error:  # of the network, perhaps: another run tries again
            self._unread += 1
            lost = {"name": entry.name, "label": entry.label, "error": str(error)}
            return entry.others | lost
        earlier = known.get(self.worker.id_of(row)) if known else None
        if earlier is not None:
            self.reused += 1
            now = {"label": entry.label} | self.worker.names(entry.name)
            return earlier | entry.others | now
        return self.worker.row(row)

    def _reusable(self) -> dict[str, Row]:
        """Rows of an earlier file of this block by their ids, if its source has changed."""
        record, destination = self._earlier, self.job.destination
        if record is None or destination is None or record.bytes > REUSED_AT_MOST:
            return {}
        try:
            data = (destination / record.file).read()
            rows = list(read_rows(io.BytesIO(data), self.job.format))
        except (DataError, ValueError):  # the file is gone or broken: it is made anew
            return {}
        return {row["id"]: row for row in rows if row.get("error") is None and row.get("id")}


def read_part(place: Place) -> Part | None:
    """The record at a place; None if it is none of ours."""
    try:
        values = json.loads(place.read())
        if values.pop("schema") != RECORD_SCHEMA:
            return None
        return Part(**values)
    except (DataError, ValueError, KeyError, TypeError, AttributeError):
        return None


def identity_of(worker: CodecWorker) -> dict[str, Any]:
    """Engine, hashes of all networks, classes: what the rows of a worker depend on."""
    codec = worker.codec
    hashes = [digest.hex() for rate in codec.rates for digest in codec.at(rate.index).hashes]
    found = {"engine": codec.engine.name, "base": codec.base_hash.hex(), "adapters": hashes}
    if worker.task.name == "classify":
        found |= {"classes": list(codec.labels()), "heads": codec.weights_sha256("heads")}
    if worker.task.encode.pack is not None:
        found["packs"] = {
            str(ladder.pack): [adapter.sha256.hex() for adapter in ladder.adapters.values()]
            for ladder in codec.ladders_for(worker.task.encode)
        }
    if worker.task.encode.task is not None:
        found["tasks"] = codec.weights_sha256("tasks")
    return found


def _short(identity: Mapping[str, Any]) -> str:
    adapters = identity["adapters"]
    return f"engine {identity['engine']}, base {identity['base'][:16]}, {len(adapters)} adapters"

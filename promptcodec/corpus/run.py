"""A job from its start to its manifest."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from math import ceil

from promptcodec.corpus.engines import CorpusEngine, Run, run_local, run_ray
from promptcodec.corpus.job import Job, Piece, identity_of
from promptcodec.corpus.manifest import (
    Result,
    ShardFault,
    begin,
    check_complete,
    digest_of,
    finish,
    settings_of,
)
from promptcodec.corpus.parts import PartFormat
from promptcodec.corpus.places import Place
from promptcodec.corpus.sources import SHARD_SUFFIXES, Shard, Source
from promptcodec.corpus.tally import Tally
from promptcodec.corpus.worker import CodecWorker
from promptcodec.errors import UsageError

PIECES_PER_WORKER = 4  # at least, so that no worker waits long for the last one
DEFAULT_ROWS = 256

Progress = Callable[[int, int], None]  # pieces done, pieces


def run_job(
    source: Source,
    destination: Place | None,
    worker: CodecWorker,
    *,
    codec: dict[str, object],
    engine: CorpusEngine = "local",
    address: str | None = None,
    workers: int = 1,
    kind: PartFormat = "parquet",
    rows: int = DEFAULT_ROWS,
    progress: Progress = lambda done, total: None,
) -> Result:
    """Do a task on every row of a source; finished files of an earlier run are kept.

    Args:
        source: pictures or streams.
        destination: folder of the result; None keeps sums alone.
        worker: worker with the task; its codec is loaded here, to check the task.
        codec: arguments of `Codec.load` for all workers.
        engine: "local" or "ray".
        address: address of a Ray cluster; None starts one on this machine.
        workers: number of processes or actors.
        kind: format of the result.
        rows: rows in a file of the result.
        progress: function of (pieces done, pieces).
    Raises:
        DataError: there is nothing to read.
        OutputError: the destination cannot be used, or not be written.
        UsageError: the engine is not installed.
    """
    shards = source.shards(group=rows)
    check_complete(source.place)
    identity: dict[str, object] = {}
    if worker.task.name != "inspect":
        worker.task.check(worker.codec)
        identity = identity_of(worker)
    settings = settings_of(worker.task, identity, source, kind=kind, rows=rows)
    job = Job(worker.task, codec, identity, digest_of(settings), destination, kind, rows)
    if destination is not None:
        if destination.is_in(source.place):
            raise UsageError(
                f"{destination} is in the source, where the next run would read it: name a "
                "destination elsewhere"
            )
        begin(destination, settings)
    run: Run = partial(run_local, workers=workers, worker=worker)
    if engine == "ray":
        run = partial(run_ray, workers=workers, address=address)
    started, result = time.monotonic(), Result()
    pieces = cut(shards, workers=workers)
    for done, (piece, outcome) in enumerate(run(job, pieces), 1):
        if outcome.stop is not None:
            raise outcome.stop
        result.parts += outcome.parts
        result.finished += outcome.finished
        result.rows += outcome.rows
        if outcome.fault:
            result.faults.append(ShardFault(piece.shard.name, outcome.fault))
        progress(done, len(pieces))
    for part in result.parts:
        result.tally += Tally.of(part.tally)
    result.faults = list(dict.fromkeys(result.faults))
    result.seconds = time.monotonic() - started
    if destination is not None:
        finish(destination, settings, result)
    return result


def cut(shards: list[Shard], *, workers: int) -> list[Piece]:
    """Pieces of shards, enough for all workers; files do not depend on it.

    Args:
        shards: shards of the source.
        workers: number of workers.
    """
    stripes = 1
    if workers > 1 and len(shards) < PIECES_PER_WORKER * workers:
        stripes = ceil(PIECES_PER_WORKER * workers / len(shards))
    stems = _stems(shards)
    return [
        Piece(shard, stem, stripe, stripes)
        for shard, stem in zip(shards, stems, strict=True)
        for stripe in range(stripes)
    ]


def _stems(shards: list[Shard]) -> list[str]:
    """Different starts of file names, one for each shard."""
    found: dict[str, None] = {}
    for shard in shards:
        name = shard.name.lower()
        ending = next((s for s in SHARD_SUFFIXES if name.endswith(s)), "")
        plain = shard.name[: len(name) - len(ending)]
        first = stem = plain.replace("/", "--").replace(".", "_") or "shard"
        count = 1
        while stem in found:
            count += 1
            stem = f"{first}-{count}"
        found[stem] = None
    return list(found)

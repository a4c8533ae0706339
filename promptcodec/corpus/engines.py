"""Engines of a job: processes of this machine, or actors of Ray Data.

An engine takes a job and its pieces and yields each piece with its outcome, in the order of
completion. Both run the same `PieceWorker`, on one thread each.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import re
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, Literal

from promptcodec.corpus.job import Job, Outcome, Piece, PieceWorker
from promptcodec.corpus.worker import CodecWorker
from promptcodec.errors import UsageError
from promptcodec.io.processes import run_in_processes

CorpusEngine = Literal["local", "ray"]
Run = Callable[[Job, Sequence[Piece]], Iterator[tuple[Piece, Outcome]]]

CONNECT_SECONDS = 10.0
ATTEMPTS = 3  # of a piece whose process was ended from outside
PER_PROCESSOR = 4  # processes of this machine at most; each holds a codec
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # logs are in the folder of the cluster all the same
}
LOST = (
    "its process was ended from outside, mostly for want of memory: take a larger machine or fewer "
    "workers"
)


def run_local(
    job: Job, pieces: Sequence[Piece], *, workers: int, worker: CodecWorker | None = None
) -> Iterator[tuple[Piece, Outcome]]:
    """Work in processes of this machine; in this one if there is one worker.

    Args:
        job: what is done.
        pieces: pieces of the shards.
        workers: number of processes.
        worker: worker of this process, whose codec is loaded.
    Raises:
        UsageError: far more workers than processors.
    """
    processors = os.cpu_count() or 1
    if workers > PER_PROCESSOR * processors:
        raise UsageError(
            f"{workers} workers for {processors} processors, each with a codec in memory: give at "
            f"most {PER_PROCESSOR * processors}"
        )
    if workers == 1:
        here = PieceWorker(job, worker)
        yield from ((piece, here(piece)) for piece in pieces)
        return
    work, left, suspects = partial(_in_process, job), list(pieces), []
    while left:
        for piece, outcome in run_in_processes(work, left, jobs=workers):
            left.remove(piece)
            yield piece, outcome
        suspects += left[:workers]  # a process was killed: these were under way
        left = left[workers:]
    for piece in suspects:
        outcome = Outcome(fault=LOST)
        for _ in range(ATTEMPTS - 1):
            if found := list(run_in_processes(work, [piece], jobs=1)):
                ((_, outcome),) = found
                break
        yield piece, outcome


def run_ray(
    job: Job, pieces: Sequence[Piece], *, workers: int, address: str | None = None
) -> Iterator[tuple[Piece, Outcome]]:
    """Work in actors of Ray Data.

    Args:
        job: what is done.
        pieces: pieces of the shards.
        workers: number of actors.
        address: address of a cluster, "auto" for that of this machine; None starts one here.
    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--engine ray needs {error.name}: pip install 'promptcodec[ray]'; or take --engine "
            "local, processes of this machine"
        ) from None
    started = not ray.is_initialized()
    if started:
        _start(ray, address, workers)
    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"piece": pickle.dumps((n, piece))} for n, piece in enumerate(pieces)]
        data = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            RayWorker,
            fn_constructor_args=(job, ray.remote(num_cpus=0)(Attempts).remote()),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        for row in data.iter_rows():
            number, outcome = pickle.loads(row["outcome"])
            yield pieces[number], outcome
    finally:
        if started:
            ray.shutdown()


class Attempts:
    """How often each piece was begun; an actor, which outlives those that pieces kill."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """Number of times that a piece was begun, this one included."""
        self._begun[number] += 1
        return self._begun[number]


class RayWorker:
    """A worker as an actor of Ray Data; pieces and outcomes travel pickled.

    Ray begins a piece whose actor was killed again, without end.

    Args:
        job: what is done.
        attempts: handle of an actor `Attempts`.
    """

    def __init__(self, job: Job, attempts: Any) -> None:
        self.worker, self._attempts = PieceWorker(job), attempts

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Outcomes of the pieces of a batch."""
        found = [pickle.loads(piece) for piece in batch["piece"]]
        return {"outcome": [pickle.dumps((n, self._outcome(n, piece))) for n, piece in found]}

    def _outcome(self, number: int, piece: Piece) -> Outcome:
        import ray

        begun: Any = ray.get(self._attempts.begin.remote(number))
        if begun > ATTEMPTS:
            return Outcome(fault=LOST)
        return self.worker(piece)


def _start(ray: Any, address: str | None, workers: int) -> None:
    _check_reachable(address)
    where: dict[str, Any] = {"address": address}
    if address is None:
        where = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    try:
        with _without_stderr():  # where its core announces the level of its log
            ray.init(**where, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(address, str(error).splitlines()[0]) from None


def _check_reachable(address: str | None) -> None:
    """Check that something listens at HOST:PORT; Ray itself would try for minutes."""
    found = re.fullmatch(r"(?:ray://)?([^/:]+):(\d+)", address or "")
    if found:
        try:
            socket.create_connection((found[1], int(found[2])), timeout=CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str | None, reason: str) -> UsageError:
    return UsageError(
        f"--address is {address!r}, and there is no cluster ({reason}): start one by `ray start "
        "--head`, or leave it out"
    )


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard what libraries in C++ write to standard error."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@cache
def _worker(job_bytes: bytes) -> PieceWorker:
    """The worker of this process."""
    return PieceWorker(pickle.loads(job_bytes))


def _in_process(job: Job, piece: Piece) -> Outcome:
    return _worker(pickle.dumps(job))(piece)

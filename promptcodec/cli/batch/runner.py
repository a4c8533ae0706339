"""Many files, one by one or in several processes; one that fails does not stop the rest.

Each process computes with the threads of the setup, however many processes there are, so that the
bytes that are written do not depend on their number nor on who takes which file.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from promptcodec.cli import console
from promptcodec.cli.batch.tasks import Task
from promptcodec.cli.inputs import Item
from promptcodec.errors import OutputError
from promptcodec.io.atomic import check_output, refuse_input, remove_temporaries, write_atomically

if TYPE_CHECKING:
    from promptcodec.api import Codec

Status = Literal["done", "finished", "planned", "failed"]


@dataclass(frozen=True)
class Row:
    """What became of one file.

    Args:
        source: its name.
        target: of what is written; None where nothing could be.
        status: "done" now, "finished" before, "planned" in a dry run, or "failed".
        facts: of the command, for JSON.
        summary: for people: what was done, or why it failed.
        error: name of the exception of a failure.
        exit_code: of a failure.
    """

    source: str
    target: str | None
    status: Status
    facts: dict[str, Any] = field(default_factory=dict)
    summary: str = ""
    error: str = ""
    exit_code: int = 0

    @classmethod
    def failed(cls, source: str, target: str | None, error: Exception) -> "Row":
        """The row of a file that an exception is about."""
        message, code = console.describe(error)
        name = type(error).__name__
        return cls(source, target, "failed", summary=message, error=name, exit_code=code)


@dataclass(frozen=True)
class Batch:
    """Files and what is done to them.

    Args:
        task: what is done to each.
        jobs: processes.
        force: existing outputs are replaced.
        dry_run: nothing is written.
    """

    task: Task
    jobs: int = 1
    force: bool = False
    dry_run: bool = False

    def run(self, items: Sequence[Item]) -> Iterator[Row]:
        """Do the work.

        Yields:
            One row for each item, in the order in which they are done.
        Raises:
            PromptCodecError: the codec cannot be loaded.
        """
        started = [item for item in items if not self.force and item.target.exists()]
        codec = None
        if started or not self.dry_run:
            codec = self.task.setup.load()
            self.task.check(codec)
        known = {item: self._before(item, codec) for item in started} if codec else {}
        yield from (row for row in known.values() if row is not None)
        todo = [item for item in items if known.get(item) is None]
        if self.dry_run or codec is None:
            yield from (_row(item, "planned") for item in todo)
        elif self.jobs > 1 and len(todo) > 1:
            yield from _in_processes(
                self.task, todo, jobs=min(self.jobs, len(todo)), force=self.force
            )
        else:
            yield from (work(self.task, item, codec, force=self.force) for item in todo)

    def _before(self, item: Item, codec: "Codec") -> Row | None:
        """The row of an item with an output; None where there is work nevertheless."""
        try:
            return _row(item, "finished") if self.task.is_finished(item, codec) else None
        except Exception as error:
            return Row.failed(str(item.source), str(item.target), error)


def work(task: Task, item: Item, codec: "Codec", *, force: bool) -> Row:
    """Do one item; whatever goes wrong becomes its row."""
    try:
        if item.target.parent.is_dir():
            refuse_input(item.target, item.source)
            check_output(item.target, force=force)
        made = task.make(item, codec)
        _make_folder(item)
        facts = made.facts | {
            "output_bytes": write_atomically(item.target, made.content, force=force)
        }
    except Exception as error:
        if isinstance(error, OutputError) and not force and _is_finished(task, item, codec):
            return _row(item, "finished")  # another run was faster
        return Row.failed(str(item.source), str(item.target), error)
    return Row(str(item.source), str(item.target), "done", facts, made.summary)


def _row(item: Item, status: Status) -> Row:
    return Row(str(item.source), str(item.target), status)


def _died(item: Item) -> Row:
    message = "its process was ended from outside, mostly for want of memory: take a larger machine"
    return replace(
        _row(item, "failed"),
        summary=message,
        error="MemoryError",
        exit_code=console.OUT_OF_MEMORY,
    )


def _make_folder(item: Item) -> None:
    try:
        item.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {item.target.parent} cannot be made: {error.strerror}: name another by -o"
        ) from None


def _is_finished(task: Task, item: Item, codec: "Codec") -> bool:
    try:
        return task.is_finished(item, codec)
    except Exception:
        return False


# --- processes ---------------------------------------------------------------------------------

_codec: "Codec | None" = None  # of this process


def _in_processes(task: Task, items: Iterable[Item], *, jobs: int, force: bool) -> Iterator[Row]:
    """Rows of all items, also where processes are ended from outside."""
    left = dict.fromkeys(items)
    while left:
        for row in _pool(task, list(left), jobs=jobs, force=force):
            del left[row[0]]
            yield row[1]
        # A process died. Which file it was at is found out by giving each a process of its own.
        for item in list(left)[: 2 * jobs]:
            del left[item]
            rows = [row for _, row in _pool(task, [item], jobs=1, force=force)]
            yield rows[0] if rows else _died(item)


def _pool(task: Task, items: list[Item], *, jobs: int, force: bool) -> Iterator[tuple[Item, Row]]:
    """Items and their rows from fresh processes; fewer where one of these dies."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with torch may hang
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start)
    try:
        futures = {pool.submit(_work, task, item, force): item for item in items}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                continue
    except BaseException:  # Ctrl-C: what is begun may take minutes
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """A process ends with its parent, whatever ended that, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _leave())
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            _leave()

    threading.Thread(target=follow, daemon=True).start()


def _leave() -> None:
    remove_temporaries()
    os._exit(1)


def _work(task: Task, item: Item, force: bool) -> Row:
    global _codec
    try:
        _codec = _codec or task.setup.load()
    except Exception as error:
        return Row.failed(str(item.source), str(item.target), error)
    return work(task, item, _codec, force=force)

"""Work on many files in several processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from promptcodec.io.atomic import remove_temporaries

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], *, jobs: int
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to every item in fresh processes.

    Args:
        work: function that can be pickled.
        items: arguments of the function.
        jobs: number of processes.

    Yields:
        Items with their results, in the order of completion. If a process is killed, the items
        that were not done are left out.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with torch may hang
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start)
    try:
        futures = {pool.submit(work, item): item for item in items}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                continue
    except BaseException:  # Ctrl-C: items under way may take minutes
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """End this process when its parent ends for any reason; ignore Ctrl-C."""
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

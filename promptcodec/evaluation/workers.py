"""Measurement in several processes, with the same rates and qualities for any number of them."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from promptcodec.errors import PromptCodecError
from promptcodec.evaluation.measure import Measurement, MeasurementConfig
from promptcodec.evaluation.results import Failure, Measured

_measurement: Measurement | None = None  # of this worker


def measure_in_processes(
    config: MeasurementConfig, pictures: Sequence[tuple[Path, str]], *, jobs: int
) -> Iterator[Measured | Failure]:
    """Measure pictures in fresh processes.

    Args:
        config: settings from which every process builds its own measurement.
        pictures: path and name of each.
        jobs: number of processes.

    Yields:
        One outcome for each picture, in the order in which they are done.

    Raises:
        PromptCodecError: a process was killed from outside, mostly for want of memory.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with torch may hang
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(config,))
    try:
        futures = [pool.submit(_measure, path, name) for path, name in pictures]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise PromptCodecError(
            f"one of {jobs} processes was ended from outside, mostly for want of memory: run again "
            "with fewer --jobs; what is done is kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(config: MeasurementConfig) -> None:
    global _measurement
    _measurement = config.build()


def _measure(path: Path, name: str) -> Measured | Failure:
    assert _measurement is not None
    return _measurement(path, name)

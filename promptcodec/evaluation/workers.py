"""Measurement in several processes, with the same rates and qualities for any number of them."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from promptcodec.errors import PromptCodecError
from promptcodec.evaluation.measure import Measurement, MeasurementConfig
from promptcodec.evaluation.results import Failure, Measured
from promptcodec.io.processes import run_in_processes

_measurement: Measurement | None = None  # of this worker


def measure_in_processes(
    config: MeasurementConfig, pictures: Sequence[tuple[Path, str]], *, jobs: int
) -> Iterator[Measured | Failure]:
    """Measure pictures in fresh processes.

    Args:
        config: settings from which every process builds its own measurement.
        pictures: path and name of each picture.
        jobs: number of processes.

    Yields:
        One outcome for each picture, in the order in which they are done.

    Raises:
        PromptCodecError: a process was killed from outside, mostly for want of memory.
    """
    left = len(pictures)
    for _, outcome in run_in_processes(partial(_measure, config), pictures, jobs=jobs):
        left -= 1
        yield outcome
    if left:
        raise PromptCodecError(
            f"one of {jobs} processes was ended from outside, mostly for want of memory: run again "
            "with fewer --jobs; what is done is kept"
        )


def _measure(config: MeasurementConfig, picture: tuple[Path, str]) -> Measured | Failure:
    global _measurement
    _measurement = _measurement or config.build()
    return _measurement(*picture)

"""Jobs on many files, one by one or in several processes; a failure does not stop the others.

The number of threads of a process is that of its codec options, so that the bytes of a file do not
depend on the number of processes, nor on the process that writes it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from promptcodec.cli.batch.jobs import FileJob
from promptcodec.cli.codec_options import CodecOptions
from promptcodec.cli.exit_codes import OUT_OF_MEMORY, describe
from promptcodec.cli.inputs import FilePair
from promptcodec.errors import OutputError
from promptcodec.io.atomic import check_output, refuse_input, write_atomically
from promptcodec.io.processes import run_in_processes

if TYPE_CHECKING:
    from promptcodec.api import Codec


@dataclass(frozen=True)
class FileOutcome:
    """Outcome of one file.

    Args:
        source: name of the input.
        target: name of the output; None if nothing could be written.
        status: "done" now, "finished" before, "planned" in a dry run, or "failed".
        facts: values of the command for JSON.
        summary: text of the message: result, or reason of a failure.
        error: name of the exception of a failure.
        exit_code: exit code of a failure.
    """

    source: str
    target: str | None
    status: Literal["done", "finished", "planned", "failed"]
    facts: dict[str, Any] = field(default_factory=dict)
    summary: str = ""
    error: str = ""
    exit_code: int = 0

    @classmethod
    def failed(cls, source: object, target: object, error: Exception) -> "FileOutcome":
        """The outcome of a file with an exception."""
        message, code = describe(error)
        place = None if target is None else str(target)
        name = type(error).__name__
        return cls(str(source), place, "failed", summary=message, error=name, exit_code=code)


def run_batch(
    job: FileJob,
    pairs: Sequence[FilePair],
    *,
    jobs: int = 1,
    force: bool = False,
    dry_run: bool = False,
) -> Iterator[FileOutcome]:
    """Do a job on many files.

    Args:
        job: work on one file.
        pairs: files with targets that differ.
        jobs: number of processes.
        force: whether existing outputs are replaced.
        dry_run: whether to write nothing.

    Yields:
        One outcome for each file, in the order of completion.
    Raises:
        PromptCodecError: the codec cannot be loaded.
    """
    started = [pair for pair in pairs if not force and pair.target.exists()]
    codec = None
    if started or not dry_run:
        codec = job.codec_options.load()
        job.check(codec)
    known = {pair: _before(job, pair, codec) for pair in started} if codec else {}
    yield from (outcome for outcome in known.values() if outcome is not None)
    todo = [pair for pair in pairs if known.get(pair) is None]
    if dry_run or codec is None:
        yield from (FileOutcome(str(p.source), str(p.target), "planned") for p in todo)
    elif jobs > 1 and len(todo) > 1:
        yield from _in_processes(job, todo, jobs=min(jobs, len(todo)), force=force)
    else:
        yield from (_work(job, pair, codec, force=force) for pair in todo)


def _before(job: FileJob, pair: FilePair, codec: "Codec") -> FileOutcome | None:
    """The outcome of a file that is finished or failed already; None if there is work."""
    try:
        finished = job.is_finished(pair, codec)
    except Exception as error:
        return FileOutcome.failed(pair.source, pair.target, error)
    return FileOutcome(str(pair.source), str(pair.target), "finished") if finished else None


def _work(job: FileJob, pair: FilePair, codec: "Codec", *, force: bool) -> FileOutcome:
    """Do the job on one file; an error becomes its outcome."""
    try:
        if pair.target.parent.is_dir():
            refuse_input(pair.target, pair.source)
            check_output(pair.target, force=force)
        made = job.make(pair, codec)
        _make_folder(pair.target.parent)
        size = write_atomically(pair.target, made.content, force=force)
    except Exception as error:
        if isinstance(error, OutputError) and not force:
            before = _before(job, pair, codec)
            if before is not None and before.status == "finished":
                return before  # finished meanwhile by another run
        return FileOutcome.failed(pair.source, pair.target, error)
    facts = made.facts | {"output_bytes": size}
    return FileOutcome(str(pair.source), str(pair.target), "done", facts, made.summary)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {folder} cannot be made: {error.strerror}: name another by -o"
        ) from None


def _in_processes(
    job: FileJob, pairs: Sequence[FilePair], *, jobs: int, force: bool
) -> Iterator[FileOutcome]:
    """Outcomes of all files, also if processes are killed."""
    run = partial(_work_in_process, job, force)
    left = dict.fromkeys(pairs)
    while left:
        for pair, outcome in run_in_processes(run, list(left), jobs=jobs):
            del left[pair]
            yield outcome
        # A process was killed. Each of the next files gets its own process, to find the cause.
        for pair in list(left)[: 2 * jobs]:
            del left[pair]
            outcomes = [outcome for _, outcome in run_in_processes(run, [pair], jobs=1)]
            yield outcomes[0] if outcomes else _died(pair)


def _died(pair: FilePair) -> FileOutcome:
    return FileOutcome(
        str(pair.source),
        str(pair.target),
        "failed",
        summary="its process was ended from outside, mostly for want of memory: take a larger "
        "machine",
        error="MemoryError",
        exit_code=OUT_OF_MEMORY,
    )


@cache
def _load(options: CodecOptions) -> "Codec":
    """The codec of this process."""
    return options.load()


def _work_in_process(job: FileJob, force: bool, pair: FilePair) -> FileOutcome:
    try:
        codec = _load(job.codec_options)
    except Exception as error:
        return FileOutcome.failed(pair.source, pair.target, error)
    return _work(job, pair, codec, force=force)

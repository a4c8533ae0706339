"""The commands that code files: `encode` and `decode`, one file or many."""

import os
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

from promptcodec.cli import console, file_options
from promptcodec.cli.codec_options import CodecOptions
from promptcodec.cli.file_options import FileOptions
from promptcodec.cli.inputs import InputSpec, Selection
from promptcodec.cli.output import Printer, choose_output, write_output
from promptcodec.cli.settings import spread_settings
from promptcodec.coding.settings import DecodeSettings, EncodeSettings
from promptcodec.errors import OutputError, StreamError, UsageError
from promptcodec.io.atomic import refuse_input
from promptcodec.io.find import PICTURE_SUFFIXES, STREAM_SUFFIXES

if TYPE_CHECKING:
    from promptcodec.cli.batch.jobs import FileJob, JobResult


@spread_settings
def encode(
    *,
    pictures: Annotated[
        list[str] | None,
        Argument(
            metavar="[PICTURE]...",
            help="Picture files, patterns, folders with --recursive; - is standard input.",
        ),
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", help="Stream to write; default: PICTURE as .pc.")
    ] = None,
    files: FileOptions,
    settings: Annotated[EncodeSettings, file_options.ENCODE],
    codec_options: Annotated[CodecOptions, file_options.CODEC | {"tasks": file_options.TASKS}],
    printer: Printer,
) -> None:
    """Encode pictures. Without PICTURE: from standard input to standard output.

    Of several files, finished ones are skipped, and one that fails does not stop the others.
    """
    from promptcodec.cli.batch.jobs import EncodeJob
    from promptcodec.cli.progress import progress_bar

    inputs = InputSpec(tuple(pictures or ["-"]), PICTURE_SUFFIXES, recursive=files.recursive)
    codec_options, settings = codec_options.with_pack_of(settings)
    job = EncodeJob(codec_options, settings)
    if files.are_many or inputs.are_several(output):
        code_files(job, inputs.select(output, suffix=".pc"), files, printer)
        return
    (picture,) = inputs.names
    target = choose_output(picture, output, suffix=".pc", printer=printer, force=files.force)
    source = console.picture_source(picture)
    codec = codec_options.load()
    with progress_bar("refining") as progress:
        name = "standard input" if picture == "-" else picture
        result = job.encode(source, name, codec, progress=progress)
    _deliver("encode", picture, result, target, force=files.force, printer=printer)


@spread_settings
def decode(
    *,
    streams: Annotated[
        list[str] | None,
        Argument(
            metavar="[STREAM]...",
            help="Stream files, patterns, folders with --recursive; - is standard input.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        Option("--output", "-o", help="Picture, format by suffix; default: STREAM as .png."),
    ] = None,
    files: FileOptions,
    picture_format: Annotated[
        Literal["png", "webp", "jpg", "tif"],
        Option("--format", help="Of pictures that -o does not name one by one."),
    ] = "png",
    settings: Annotated[DecodeSettings, file_options.DECODE],
    codec_options: Annotated[CodecOptions, file_options.CODEC],
    printer: Printer,
) -> None:
    """Decode streams. Without STREAM: from standard input to standard output, as PNG.

    Of several files, finished ones are skipped, and one that fails does not stop the others.
    """
    from promptcodec.bitstream import open_stream, parse
    from promptcodec.cli.batch.jobs import DecodeJob

    inputs = InputSpec(tuple(streams or ["-"]), STREAM_SUFFIXES, recursive=files.recursive)
    job = DecodeJob(codec_options, settings)
    suffix = f".{picture_format}"
    if files.are_many or inputs.are_several(output):
        if settings.region is not None:
            raise UsageError("--region is for one stream: name a single one, and no folder by -o")
        code_files(job, inputs.select(output, suffix=suffix), files, printer)
        return
    from promptcodec.io.save import OUTPUT_SUFFIXES

    (stream,) = inputs.names
    target = choose_output(stream, output, suffix=suffix, printer=printer, force=files.force)
    suffix = suffix if target is None else target.suffix.lower()
    if suffix not in OUTPUT_SUFFIXES:
        known = ", ".join(OUTPUT_SUFFIXES)
        raise UsageError(f"{target}: no picture is written as {suffix!r}: choose one of {known}")
    # A damaged stream is refused before torch is imported.
    if settings.region is None and not settings.allow_partial:
        data: bytes | Path = console.read_input(stream, error=StreamError)
        parse(data, max_pixels=settings.max_pixels)
        data = Path(stream) if stream != "-" and Path(stream).is_file() else data
    else:
        data = console.read_input(stream, error=StreamError) if stream == "-" else Path(stream)
        with open_stream(data, allow_partial=settings.allow_partial, max_pixels=1 << 64):
            pass  # opening checks the header
    result = job.decode(data, codec_options.load(), suffix=suffix)
    _deliver("decode", stream, result, target, force=files.force, printer=printer)


def _deliver(
    command: str,
    source: str,
    result: "JobResult",
    target: Path | None,
    *,
    force: bool,
    printer: Printer,
) -> None:
    """Write the result of a single file and report it."""
    size = write_output(result.content, target, force=force)
    report = {"status": "done", "input": source, "output": "-" if target is None else str(target)}
    report |= result.facts | {"output_bytes": size}
    printer.report_file(command, report, result.summary)
    printer.report_notes(source, result.facts["notes"])


def code_files(job: "FileJob", selection: Selection, files: FileOptions, printer: Printer) -> None:
    """Do a job on many files and report the outcomes; exit with the code of failures."""
    from promptcodec.cli.batch.report import Report
    from promptcodec.cli.batch.runner import FileOutcome, run_batch
    from promptcodec.cli.progress import progress_bar

    failures, options = files.failures, job.codec_options
    job = replace(job, codec_options=replace(options, threads=options.threads or 1))
    for pair in selection.pairs if failures else ():
        refuse_input(failures or "", pair.source)
        if os.path.abspath(failures or "") == os.path.abspath(pair.target):
            raise OutputError(f"{failures} is a result too: choose another name for one of them")
    report = Report(job.command, printer, selection.ignored, failures, files.dry_run)
    refused = [FileOutcome.failed(name, None, error) for name, error in selection.refused]
    outcomes = run_batch(
        job, selection.pairs, jobs=files.jobs, force=files.force, dry_run=files.dry_run
    )
    total = len(refused) + len(selection.pairs)
    try:
        with progress_bar(f"{job.command[:-1]}ing") as progress, console.sigterm_as_interrupt():
            report.collect(chain(refused, outcomes), total=total, progress=progress)
    except KeyboardInterrupt:
        report.conclude()
        raise
    code = report.conclude()
    if code:
        raise typer.Exit(code)

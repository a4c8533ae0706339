"""The commands that code files: `encode` and `decode`, one file or many.

`cli` registers them; what is slow to import is imported inside them.
"""

import os
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from promptcodec.cli import console, options
from promptcodec.cli import file_options as file_options
from promptcodec.cli.codec_options import CodecOptions
from promptcodec.cli.inputs import Names, Selection
from promptcodec.errors import OutputError, StreamError, UsageError
from promptcodec.io.atomic import refuse_input
from promptcodec.io.suffixes import PICTURE_SUFFIXES, STREAM_SUFFIXES

if TYPE_CHECKING:
    from promptcodec.cli.batch.tasks import Made, Task


app = typer.Typer()


@app.command()
def encode(
    pictures: file_options.Pictures = None,
    output: file_options.EncodeOutput = None,
    recursive: file_options.Recursive = False,
    rate_index: options.RateIndex = None,
    gain_steps: file_options.GainSteps = 0.0,
    target_bpp: file_options.TargetBpp = None,
    target_bytes: file_options.TargetBytes = None,
    target_psnr: file_options.TargetPsnr = None,
    strict: file_options.Strict = False,
    effort: file_options.Effort = 0,
    tile_size: file_options.TileSize = None,
    task: file_options.TaskName = None,
    tasks: file_options.TaskFolders = None,
    allow_8bit: file_options.Allow8Bit = False,
    strip: file_options.Strip = False,
    base: options.Base = None,
    prompts: options.Prompts = None,
    force: options.Force = False,
    jobs: file_options.FileJobs = 1,
    failures: file_options.Failures = None,
    dry_run: file_options.DryRun = False,
    device: options.Device = "cpu",
    threads: file_options.FileThreads = None,
    precision: options.Precision = "float32",
    max_pixels: options.MaxPixels = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Encode pictures. Without PICTURE: from standard input to standard output.

    Of several files, finished ones are skipped, and one that fails does not stop the others.
    """
    from promptcodec.bitstream import MAX_PIXELS
    from promptcodec.cli.batch.tasks import EncodeTask
    from promptcodec.cli.progress import progress_bar
    from promptcodec.coding.settings import EncodeSettings

    names = Names(tuple(pictures or ["-"]), PICTURE_SUFFIXES, recursive=recursive)
    work = EncodeTask(
        CodecOptions(base, tuple(prompts or ()), device, threads, precision, tasks=tasks),
        EncodeSettings(
            rate_index=rate_index,
            gain_steps=gain_steps,
            target_bpp=target_bpp,
            target_bytes=target_bytes,
            target_psnr=target_psnr,
            strict=strict,
            effort=effort,
            tile_size=tile_size,
            task=task,
            max_pixels=max_pixels or MAX_PIXELS,
            allow_8bit=allow_8bit,
            strip=strip,
        ),
    )
    if dry_run or failures or names.are_several(output):
        setup = replace(work.setup, threads=threads or 1)
        code_files(
            replace(work, setup=setup),
            names.select(output, suffix=".pc"),
            jobs=jobs,
            force=force,
            dry_run=dry_run,
            failures=failures,
            as_json=as_json,
            verbose=verbose,
        )
        return
    (picture,) = names.names
    target = console.choose_output(picture, output, suffix=".pc", as_json=as_json, force=force)
    source = console.picture_source(picture)
    codec = work.setup.load()
    with progress_bar("refining") as progress:
        name = "standard input" if picture == "-" else picture
        made = work.encode(source, name, codec, progress=progress)
    _deliver("encode", picture, made, target, force=force, as_json=as_json, verbose=verbose)


@app.command()
def decode(
    streams: file_options.Streams = None,
    output: file_options.DecodeOutput = None,
    recursive: file_options.Recursive = False,
    picture_format: file_options.PictureFormat = "png",
    region: file_options.RegionText = None,
    allow_partial: file_options.AllowPartial = False,
    strip: file_options.Strip = False,
    base: options.Base = None,
    prompts: options.Prompts = None,
    force: options.Force = False,
    jobs: file_options.FileJobs = 1,
    failures: file_options.Failures = None,
    dry_run: file_options.DryRun = False,
    device: options.Device = "cpu",
    threads: file_options.FileThreads = None,
    precision: options.Precision = "float32",
    max_pixels: options.MaxPixels = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Decode streams. Without STREAM: from standard input to standard output, as PNG.

    Of several files, finished ones are skipped, and one that fails does not stop the others.
    """
    from promptcodec.bitstream import MAX_PIXELS, open_stream, parse
    from promptcodec.cli.batch.tasks import DecodeTask
    from promptcodec.coding.settings import DecodeSettings

    names = Names(tuple(streams or ["-"]), STREAM_SUFFIXES, recursive=recursive)
    part = None if region is None else file_options.read_region(region)
    task = DecodeTask(
        CodecOptions(base, tuple(prompts or ()), device, threads, precision),
        DecodeSettings(part, allow_partial, max_pixels or MAX_PIXELS, strip),
    )
    suffix = f".{picture_format}"
    if dry_run or failures or names.are_several(output):
        if part is not None:
            raise UsageError("--region is of one stream: name a single one, and no folder by -o")
        setup = replace(task.setup, threads=threads or 1)
        code_files(
            replace(task, setup=setup),
            names.select(output, suffix=suffix),
            jobs=jobs,
            force=force,
            dry_run=dry_run,
            failures=failures,
            as_json=as_json,
            verbose=verbose,
        )
        return
    from promptcodec.io.save import OUTPUT_SUFFIXES

    (stream,) = names.names
    target = console.choose_output(stream, output, suffix=suffix, as_json=as_json, force=force)
    suffix = suffix if target is None else target.suffix.lower()
    if suffix not in OUTPUT_SUFFIXES:
        known = ", ".join(OUTPUT_SUFFIXES)
        raise UsageError(f"{target}: no picture is written as {suffix!r}: choose one of {known}")
    # A damaged stream is refused before torch is imported.
    if part is None and not allow_partial:
        data: bytes | Path = console.read_input(stream, error=StreamError)
        parse(data, max_pixels=task.settings.max_pixels)
        data = Path(stream) if stream != "-" and Path(stream).is_file() else data
    else:
        data = console.read_input(stream, error=StreamError) if stream == "-" else Path(stream)
        with open_stream(data, allow_partial=allow_partial, max_pixels=1 << 64):
            pass  # its header is looked at
    made = task.decode(data, task.setup.load(), suffix=suffix)
    _deliver("decode", stream, made, target, force=force, as_json=as_json, verbose=verbose)


def _deliver(
    command: str,
    source: str,
    made: "Made",
    target: Path | None,
    *,
    force: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Write what became of a single file, and say so."""
    size = console.deliver(made.content, target, force=force)
    report = {"status": "done", "input": source, "output": "-" if target is None else str(target)}
    report |= made.facts | {"output_bytes": size}
    console.report(command, report, made.summary, as_json=as_json, verbose=verbose)


def code_files(
    task: "Task",
    selection: Selection,
    *,
    jobs: int,
    force: bool,
    dry_run: bool,
    failures: Path | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Run a task over many files and say what became of them; exits with the code of failures."""
    from promptcodec.cli.batch.report import Report
    from promptcodec.cli.batch.runner import Batch, Row
    from promptcodec.cli.progress import progress_bar

    for item in selection.items if failures else ():
        refuse_input(failures or "", item.source)
        if os.path.abspath(failures or "") == os.path.abspath(item.target):
            raise OutputError(f"{failures} is a result too: choose another name for one of them")
    report = Report(
        task.command,
        ignored=selection.ignored,
        failures=failures,
        as_json=as_json,
        verbose=verbose,
        dry_run=dry_run,
    )
    refused = [Row.failed(each.source, None, each.error) for each in selection.refused]
    batch = Batch(task, jobs=jobs, force=force, dry_run=dry_run)
    total = len(refused) + len(selection.items)
    try:
        with progress_bar(f"{task.command[:-1]}ing") as progress, console.ended_politely():
            rows = chain(refused, batch.run(selection.items))
            report.collect(rows, total=total, progress=progress)
    except KeyboardInterrupt:
        report.conclude()
        raise
    code = report.conclude()
    if code:
        raise typer.Exit(code)

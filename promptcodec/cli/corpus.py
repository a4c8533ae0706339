"""Commands of collections: `corpus encode` and its like."""

from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from promptcodec.cli import console, file_options, options
from promptcodec.cli.codec_options import CodecOptions, EngineName
from promptcodec.cli.output import Printer
from promptcodec.cli.settings import spread_settings
from promptcodec.coding.settings import DecodeSettings, EncodeSettings
from promptcodec.errors import DataError, UsageError

if TYPE_CHECKING:
    from promptcodec.corpus.manifest import Result
    from promptcodec.corpus.tasks import Task

GROUPS = {
    "Commands": {
        "encode": ("corpus:encode", "Encode the pictures of a collection."),
        "decode": ("corpus:decode", "Decode the streams of a collection."),
        "transcode": ("corpus:transcode", "Bring streams to another rate."),
        "classify": ("corpus:classify", "Name what streams or pictures show."),
        "measure": ("corpus:measure", "Measure bpp and PSNR; keep no streams."),
        "stats": ("corpus:stats", "Count rows, bytes, pixels, formats and rates."),
    }
}
REASONS_SHOWN = 3

SourceText = Annotated[
    str,
    Argument(
        metavar="SOURCE",
        help="Folder, pattern, tar shards or Parquet files; a path, s3://..., gs://...",
    ),
]
DestinationText = Annotated[
    str, Argument(metavar="DESTINATION", help="New folder; one of an earlier run is completed.")
]


@dataclass(frozen=True)
class CorpusOptions:
    """Options of all commands on collections."""

    engine: Annotated[
        Literal["local", "ray"], Option(help="local: processes of this machine; ray: a cluster.")
    ] = "local"
    address: Annotated[
        str | None,
        Option(help="Cluster, such as auto or ray://head:10001.", show_default="one is started"),
    ] = None
    concurrency: Annotated[
        int, Option("--concurrency", "-j", min=1, help="Workers, of one thread each.")
    ] = 1
    batch_size: Annotated[
        int, Option(min=1, help="Rows of a file of the result; what a kill may cost a worker.")
    ] = 256
    column: Annotated[
        str | None,
        Option(help="Column of the bytes in Parquet files.", show_default="found by name and type"),
    ] = None


@dataclass(frozen=True)
class JobOptions(CorpusOptions):
    """Options of commands that make a result."""

    to: Annotated[Literal["parquet", "tar"], Option("--to", help="Format of the result.")] = (
        "parquet"
    )
    codec_engine: Annotated[
        EngineName | None,
        Option(help="onnx, openvino or torch.", show_default="torch if an option needs it"),
    ] = None


CODEC = {name: options.CODEC[name] for name in ("base", "prompts")} | {"packs": options.PACKS}
ENCODE = CODEC | {"tasks": file_options.TASKS}
DECODE = {name: entry for name, entry in file_options.DECODE.items() if name != "region"}
HEADS = {"heads": Option(help="Head or folder of heads; default: the bundled ones.")}


@spread_settings
def encode(
    *,
    source: SourceText,
    destination: DestinationText,
    job: JobOptions,
    settings: Annotated[EncodeSettings, file_options.ENCODE],
    codec_options: Annotated[CodecOptions, ENCODE],
    printer: Printer,
) -> None:
    """Encode the pictures of a collection, each to the bytes that `promptcodec encode` writes.

    Finished files of an earlier run are kept. Rows that fail are listed with their reason.
    """
    task = _task("encode", encode=settings)
    _run(task, source, destination, job, codec_options, printer)


@spread_settings
def decode(
    *,
    source: SourceText,
    destination: DestinationText,
    job: JobOptions,
    picture_format: Annotated[
        Literal["png", "webp", "jpg", "tif"], Option("--format", help="Of the pictures.")
    ] = "png",
    settings: Annotated[DecodeSettings, DECODE],
    codec_options: Annotated[CodecOptions, CODEC],
    printer: Printer,
) -> None:
    """Decode the streams of a collection.

    Finished files of an earlier run are kept. Rows that fail are listed with their reason.
    """
    task = _task("decode", decode=settings, suffix=f".{picture_format}")
    _run(task, source, destination, job, codec_options, printer)


@spread_settings
def transcode(
    *,
    source: SourceText,
    destination: DestinationText,
    job: JobOptions,
    settings: Annotated[EncodeSettings, file_options.ENCODE],
    codec_options: Annotated[CodecOptions, ENCODE],
    printer: Printer,
) -> None:
    """Bring the streams of a collection to another rate; their pictures are coded a second time."""
    task = _task("transcode", encode=settings)
    _run(task, source, destination, job, codec_options, printer)


@spread_settings
def classify(
    *,
    source: SourceText,
    destination: DestinationText,
    job: JobOptions,
    top: Annotated[int, Option(min=1, help="How many classes to name.")] = 5,
    rate_index: options.RateIndex = None,
    codec_options: Annotated[CodecOptions, CODEC | HEADS],
    printer: Printer,
) -> None:
    """Name what streams or pictures show; streams are not decoded for it."""
    task = _task("classify", encode=EncodeSettings(rate_index=rate_index), top=top)
    _run(task, source, destination, job, codec_options, printer)


@spread_settings
def measure(
    *,
    source: SourceText,
    destination: DestinationText,
    job: JobOptions,
    settings: Annotated[EncodeSettings, file_options.ENCODE],
    codec_options: Annotated[CodecOptions, ENCODE],
    printer: Printer,
) -> None:
    """Measure bpp and PSNR of every picture at a rate; streams are not kept."""
    task = _task("measure", encode=settings)
    _run(task, source, destination, job, codec_options, printer)


@spread_settings
def stats(*, source: SourceText, corpus: CorpusOptions, printer: Printer) -> None:
    """Count rows, bytes, pixels, formats and rates.

    Of a collection that `corpus` made, these are on record. Otherwise all headers are read, and the
    checksums of streams checked.
    """
    _check_installed()
    from promptcodec.corpus.manifest import totals
    from promptcodec.corpus.places import Place

    known = totals(Place.of(source))
    if known is not None:
        facts = {"task": "stats"} | known.means() | known.as_dict()
        printer.print_result("corpus", facts, _text(facts))
        return
    job = JobOptions(**asdict(corpus))
    _run(_task("inspect"), source, None, job, CodecOptions(), printer)


def _task(name: Any, **settings: Any) -> "Task":
    _check_installed()
    from promptcodec.corpus.tasks import Task

    return Task(name, **settings)


def _check_installed() -> None:
    if find_spec("pyarrow") is None:
        raise UsageError(
            "collections need pyarrow: pip install 'promptcodec[corpus]', or 'promptcodec[ray]'"
        )


def _run(
    task: "Task",
    source: str,
    destination: str | None,
    job: JobOptions,
    codec_options: CodecOptions,
    printer: Printer,
) -> None:
    from promptcodec.cli.progress import progress_bar
    from promptcodec.corpus.places import Place
    from promptcodec.corpus.run import run_job
    from promptcodec.corpus.sources import Source
    from promptcodec.corpus.worker import CodecWorker

    if job.address is not None and job.engine != "ray":
        raise UsageError("--address is that of a Ray cluster: add --engine ray, or leave it out")
    codec_options, encode = codec_options.with_pack_of(task.encode)
    task = replace(task, encode=encode)
    codec = asdict(codec_options) | {"engine": job.codec_engine, "threads": 1}
    for name in ("prompts", "packs"):
        codec[name] = list(codec[name]) or None
    with progress_bar(task.name) as progress, console.sigterm_as_interrupt():
        result = run_job(
            Source(Place.of(source), job.column),
            None if destination is None else Place.of(destination),
            CodecWorker(task, codec=codec),
            codec=codec,
            engine=job.engine,
            address=job.address,
            workers=job.concurrency,
            kind=job.to,
            rows=job.batch_size,
            progress=progress,
        )
    _report(task, result, destination, printer)


def _report(task: "Task", result: "Result", destination: str | None, printer: Printer) -> None:
    tally, failures = result.tally, [f for part in result.parts for f in part.failures]
    facts: dict[str, Any] = {"task": "stats" if task.name == "inspect" else task.name}
    facts |= (
        tally.means()
        | tally.as_dict()
        | {
            "files": len(result.parts),
            "files_finished_before": result.finished,
            "rows_now": result.rows,
            "seconds": result.seconds,
            "shard_faults": [asdict(fault) for fault in result.faults],
        }
    )
    printer.print_result("corpus", facts, _text(facts))
    for fault in result.faults:
        console.print_line(f"promptcodec: failed: {fault.shard}: {fault.reason}")
    for failure in failures[:REASONS_SHOWN]:
        name = "" if failure["name"] in failure["error"] else f"{failure['name']}: "
        console.print_line(f"promptcodec: failed: {name}{failure['error']}")
    if len(failures) > REASONS_SHOWN:
        where = f"; all are in {destination}/_failures.jsonl" if destination else ""
        console.print_line(f"promptcodec: {len(failures)} rows failed{where}")
    if result.faults or (tally.rows and tally.failed == tally.rows):
        raise typer.Exit(DataError.exit_code)


def _text(facts: dict[str, Any]) -> str:
    """Totals as lines."""
    lines = [f"rows    {facts['rows']:,}, {facts['failed']:,} failed"]
    if facts.get("files_finished_before"):
        lines[0] += f"; {facts['rows_now']:,} done now, others before"
    lines.append(f"pixels  {facts['pixels']:,}")
    lines.append(f"bytes   {facts['source_bytes']:,} in, {facts['bytes']:,} out")
    if facts["bpp"] is not None:
        lines.append(f"bpp     {facts['bpp']:.4f}, mean of rows")
    if facts["psnr"] is not None:
        lines.append(f"PSNR    {facts['psnr']:.2f} dB, mean of rows")
    common = sorted(facts["kinds"].items(), key=lambda item: -item[1])[:10]
    if common:
        lines.append("        " + ", ".join(f"{name} {count:,}" for name, count in common))
    return "\n".join(lines)

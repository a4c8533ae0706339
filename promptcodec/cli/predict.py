"""Commands about what pictures show: `classify`, `segment`."""

from typing import TYPE_CHECKING, Any

import typer

from promptcodec.cli import console, options
from promptcodec.cli.inputs import Names
from promptcodec.errors import (
    ModelMismatchError,
    PictureError,
    PromptCodecError,
    StreamError,
    UsageError,
)
from promptcodec.io.suffixes import PICTURE_SUFFIXES, STREAM_SUFFIXES
from promptcodec.models.heads.config import SEGMENT

if TYPE_CHECKING:
    from promptcodec.api import Codec


app = typer.Typer()


@app.command()
def classify(
    sources: options.Sources = None,
    top: options.Top = 5,
    rate_index: options.RateIndex = None,
    base: options.Base = None,
    prompts: options.Prompts = None,
    heads: options.Heads = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    max_pixels: options.MaxPixels = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Say what streams or pictures show; a stream is not decoded for it.

    Without SOURCE: of standard input.
    """
    from promptcodec.bitstream import MAX_PIXELS
    from promptcodec.cli.codec_options import CodecOptions

    found = _expand(sources or ["-"])
    first = None
    if len(found) == 1:  # before weights are loaded
        ((source, refusal),) = found.items()
        if refusal is not None:
            raise refusal
        first = _read(source)
    limit = max_pixels or MAX_PIXELS
    codec = CodecOptions(base, tuple(prompts or ()), device, threads, heads=heads).load()
    codec.labels()  # without a head nothing more is read
    codes: set[int] = set()
    rows: list[dict[str, Any]] = []
    for source, refusal in found.items():
        try:
            if refusal is not None:
                raise refusal
            content = _read(source) if first is None else first
            stream = _stream(codec, content, source, rate_index=rate_index, max_pixels=limit)
            labels = codec.classify(stream, top=top, max_pixels=limit)
        except (StreamError, PictureError, ModelMismatchError, UsageError) as error:
            if len(found) == 1:
                raise
            codes.add(error.exit_code)
            kind, message = type(error).__name__, str(error)
            rows.append(
                {"input": source, "error": kind, "exit_code": error.exit_code, "message": message}
            )
            name = "" if source in message else f"{source}: "
            console.say(console.one_line(f"promptcodec: failed: {name}{message}"))
            continue
        rows.append({"input": source, "labels": [label._asdict() for label in labels]})
        if not as_json:
            shown = ", ".join(f"{name} {probability:.3f}" for name, probability in labels)
            console.write_stdout(console.one_line(f"{source}: {shown}"))
    if as_json:
        console.write_json("classify", {"files": rows})
    if codes:
        raise typer.Exit(codes.pop() if len(codes) == 1 else PromptCodecError.exit_code)


@app.command()
def segment(
    source: options.StreamOrPicture = "-",
    output: options.MaskOutput = None,
    overlay: options.Overlay = False,
    rate_index: options.RateIndex = None,
    base: options.Base = None,
    prompts: options.Prompts = None,
    heads: options.Heads = None,
    force: options.Force = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    max_pixels: options.MaxPixels = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Write the class of each pixel of a stream or picture as a palette PNG.

    A stream is not decoded for it, except to lay the classes over it by --overlay.
    """
    from promptcodec.bitstream import MAX_PIXELS
    from promptcodec.cli.codec_options import CodecOptions
    from promptcodec.coding.results import Stopwatch
    from promptcodec.io import masks
    from promptcodec.io.save import OUTPUT_SUFFIXES, encode_file

    suffix = ".overlay.png" if overlay else ".mask.png"
    target = console.choose_output(source, output, suffix=suffix, as_json=as_json, force=force)
    kind = ".png" if target is None else target.suffix.lower()
    known = OUTPUT_SUFFIXES if overlay else (".png",)
    if kind not in known:
        what = "overlay" if overlay else "mask"
        raise UsageError(f"{target}: no {what} is written as {kind!r}: choose {', '.join(known)}")
    content = _read(source)
    codec = CodecOptions(base, tuple(prompts or ()), device, threads, heads=heads).load()
    labels = codec.labels(SEGMENT)
    limit = max_pixels or MAX_PIXELS
    data = _stream(codec, content, source, rate_index=rate_index, max_pixels=limit)
    clock = Stopwatch()
    mask = codec.segment(data, max_pixels=limit)
    clock.lap("mask")
    if overlay:
        content = encode_file(
            masks.overlay(codec.decode(data, max_pixels=limit), mask, labels), kind
        )
        clock.lap("overlay")
    else:
        content = masks.mask_file(mask, labels)
    console.deliver(content, target, force=force)
    found = masks.shares(mask, labels)
    height, width = mask.shape
    report = {
        "input": source,
        "output": "-" if target is None else str(target),
        "width": width,
        "height": height,
        "classes": [each._asdict() for each in found],
        "seconds": clock.laps,
    }
    named = ", ".join(f"{each.label} {100 * each.share:.1f} %" for each in found)
    console.report(
        "segment", report, f"{width}x{height}: {named}", as_json=as_json, verbose=verbose
    )


def _expand(sources: list[str]) -> dict[str, UsageError | None]:
    """Files as they are named, and those of folders and patterns, sorted; or why there are none."""
    names = Names(tuple(sources), (*STREAM_SUFFIXES, *PICTURE_SUFFIXES), recursive=True)
    if "-" in sources and len(sources) > 1:
        raise UsageError("- is one picture or stream: name it alone, without other files")
    found: dict[str, UsageError | None] = {}
    for name in sources:
        try:
            found |= dict.fromkeys(["-"] if name == "-" else map(str, names.files(name)))
        except UsageError as error:
            found[name] = error
    return found


def _read(source: str) -> bytes:
    """A stream or a picture, as bytes."""
    stream = source == "-" or source.lower().endswith(STREAM_SUFFIXES)
    return console.read_input(source, error=StreamError if stream else PictureError)


def _stream(
    codec: "Codec", content: bytes, source: str, *, rate_index: float | None, max_pixels: int
) -> bytes:
    """The bytes of a stream; a picture becomes one first."""
    from promptcodec.bitstream import MAGIC

    if content.startswith(MAGIC):
        return content
    name = "standard input" if source == "-" else source
    return codec.encode(console.named(content, name), rate_index=rate_index, max_pixels=max_pixels)

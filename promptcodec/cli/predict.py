"""Commands of heads: `classify`, `segment`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from promptcodec.bitstream import MAGIC, MAX_PIXELS
from promptcodec.cli import console, options
from promptcodec.cli.codec_options import CodecOptions
from promptcodec.cli.inputs import InputSpec
from promptcodec.cli.output import Printer, choose_output, write_output
from promptcodec.cli.settings import spread_settings
from promptcodec.config import SEGMENT
from promptcodec.errors import (
    ModelMismatchError,
    PictureError,
    PromptCodecError,
    StreamError,
    UsageError,
)
from promptcodec.io.find import PICTURE_SUFFIXES, STREAM_SUFFIXES
from promptcodec.io.named import named_bytes

if TYPE_CHECKING:
    from promptcodec.api import Codec


CODEC = options.CODEC | {
    "packs": options.PACKS,
    "heads": Option(help="Head or folder of heads; default: the bundled ones."),
}


@spread_settings
def classify(
    *,
    sources: Annotated[
        list[str] | None,
        Argument(metavar="[SOURCE]...", help="Streams, pictures, folders; - is standard input."),
    ] = None,
    top: Annotated[int, Option(min=1, help="How many classes to name.")] = 5,
    rate_index: options.RateIndex = None,
    codec_options: Annotated[CodecOptions, CODEC],
    max_pixels: options.MaxPixels = MAX_PIXELS,
    printer: Printer,
) -> None:
    """Name what streams or pictures show; a stream is not decoded for it.

    Without SOURCE: of standard input.
    """
    found = _expand(sources or ["-"])
    first = None
    if len(found) == 1:  # before weights are loaded
        ((source, refusal),) = found.items()
        if refusal is not None:
            raise refusal
        first = _read(source)
    codec = codec_options.load()
    codec.labels()  # without a head nothing more is read
    codes: set[int] = set()
    rows: list[dict[str, Any]] = []
    for source, refusal in found.items():
        try:
            if refusal is not None:
                raise refusal
            content = _read(source) if first is None else first
            stream, notes = _stream(
                codec,
                content,
                source,
                rate_index=rate_index,
                max_pixels=max_pixels,
                printer=printer,
            )
            labels = codec.classify(stream, top=top, max_pixels=max_pixels)
        except (StreamError, PictureError, ModelMismatchError, UsageError) as error:
            if len(found) == 1:
                raise
            codes.add(error.exit_code)
            kind, message = type(error).__name__, str(error)
            rows.append(
                {"input": source, "error": kind, "exit_code": error.exit_code, "message": message}
            )
            name = "" if source in message else f"{source}: "
            console.print_line(f"promptcodec: failed: {name}{message}")
            continue
        named = [label._asdict() for label in labels]
        rows.append({"input": source, "labels": named, "notes": notes})
        if not printer.as_json:
            shown = ", ".join(f"{name} {probability:.3f}" for name, probability in labels)
            console.write_stdout(console.one_line(f"{source}: {shown}"))
    if printer.as_json:
        printer.print_json("classify", {"files": rows})
    if codes:
        raise typer.Exit(codes.pop() if len(codes) == 1 else PromptCodecError.exit_code)


@spread_settings
def segment(
    *,
    source: Annotated[
        str, Argument(metavar="SOURCE", help="Stream or picture; - is standard input.")
    ] = "-",
    output: Annotated[
        str | None, Option("--output", "-o", help="Picture to write; default: SOURCE as .mask.png.")
    ] = None,
    overlay: Annotated[
        bool, Option("--overlay", help="Lay the classes over the picture, with a legend.")
    ] = False,
    rate_index: options.RateIndex = None,
    codec_options: Annotated[CodecOptions, CODEC],
    force: options.Force = False,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    printer: Printer,
) -> None:
    """Write the class of each pixel of a stream or picture as a palette PNG.

    A stream is not decoded for it, except to lay the classes over it by --overlay.
    """
    from promptcodec.coding.results import Stopwatch
    from promptcodec.io import masks
    from promptcodec.io.save import OUTPUT_SUFFIXES, encode_file

    suffix = ".overlay.png" if overlay else ".mask.png"
    target = choose_output(source, output, suffix=suffix, printer=printer, force=force)
    kind = ".png" if target is None else target.suffix.lower()
    known = OUTPUT_SUFFIXES if overlay else (".png",)
    if kind not in known:
        what = "overlay" if overlay else "mask"
        raise UsageError(f"{target}: no {what} is written as {kind!r}: choose {', '.join(known)}")
    content = _read(source)
    codec = codec_options.load()
    labels = codec.labels(SEGMENT)
    data, notes = _stream(
        codec,
        content,
        source,
        rate_index=rate_index,
        max_pixels=max_pixels,
        printer=printer,
    )
    watch = Stopwatch()
    mask = codec.segment(data, max_pixels=max_pixels)
    watch.lap("mask")
    if overlay:
        picture = codec.decode(data, max_pixels=max_pixels)
        content = encode_file(masks.overlay(picture, mask, labels), kind)
        watch.lap("overlay")
    else:
        content = masks.mask_file(mask, labels)
    write_output(content, target, force=force)
    found = masks.shares(mask, labels)
    height, width = mask.shape
    report = {
        "input": source,
        "output": "-" if target is None else str(target),
        "width": width,
        "height": height,
        "classes": [each._asdict() for each in found],
        "notes": notes,
        "engine": codec.engine.name,
        "seconds": watch.laps,
    }
    named = ", ".join(f"{each.label} {100 * each.share:.1f} %" for each in found)
    printer.report_file("segment", report, f"{width}x{height}: {named}")


def _expand(sources: list[str]) -> dict[str, UsageError | None]:
    """Files in the order of the names, those of folders sorted; for other names the refusal."""
    inputs = InputSpec(tuple(sources), (*STREAM_SUFFIXES, *PICTURE_SUFFIXES), recursive=True)
    if "-" in sources and len(sources) > 1:
        raise UsageError("- is one picture or stream: name it alone, without other files")
    found: dict[str, UsageError | None] = {}
    for name in sources:
        try:
            found |= dict.fromkeys(["-"] if name == "-" else map(str, inputs.files(name)))
        except UsageError as error:
            found[name] = error
    return found


def _read(source: str) -> bytes:
    """A stream or a picture, as bytes."""
    stream = source == "-" or source.lower().endswith(STREAM_SUFFIXES)
    return console.read_input(source, error=StreamError if stream else PictureError)


def _stream(
    codec: "Codec",
    content: bytes,
    source: str,
    *,
    rate_index: float | None,
    max_pixels: int,
    printer: Printer,
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a stream, and notes on its picture, which are told; a picture is encoded."""
    if content.startswith(MAGIC):
        return content, ()
    name = "standard input" if source == "-" else source
    encoded = codec.encode_detailed(
        named_bytes(content, name),
        rate_index=rate_index,
        graphics="never",  # a head needs latents
        max_pixels=max_pixels,
    )
    notes = encoded.notes[:1] if encoded.frames > 1 else ()  # others are of metadata
    printer.report_notes(source, notes)
    return encoded.data, notes

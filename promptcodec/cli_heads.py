"""Commands about what pictures show: `classify`, `train-head`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from promptcodec import cli_options as options
from promptcodec import console
from promptcodec.errors import PictureError, PromptCodecError, StreamError, UsageError

if TYPE_CHECKING:
    from promptcodec.api import Codec

SUFFIXES = (".pc", ".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".ppm")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(classify)
    app.command("train-head")(train_head)


def classify(
    sources: options.Sources,
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
    """Say what streams or pictures show; a stream is not decoded for it."""
    from promptcodec.bitstream import MAX_PIXELS
    from promptcodec.loading import load_codec

    found = list(_expand(sources))
    limit = max_pixels or MAX_PIXELS
    codec = load_codec(base, prompts, heads=heads, device=device, threads=threads)
    codec.labels()  # without a head nothing is read
    failed: PromptCodecError | None = None
    rows: list[dict[str, Any]] = []
    for source in found:
        try:
            stream = _stream(codec, source, rate_index=rate_index, max_pixels=limit)
            labels = codec.classify(stream, top=top, max_pixels=limit)
        except (StreamError, PictureError) as error:
            if len(found) == 1:
                raise
            failed = error
            rows.append({"input": source, "error": str(error)})
            print(console.one_line(f"{source}: {error}"), file=sys.stderr)
            continue
        rows.append({"input": source, "labels": [label._asdict() for label in labels]})
        if not as_json:
            shown = ", ".join(f"{name} {probability:.3f}" for name, probability in labels)
            console.write_stdout(console.one_line(f"{source}: {shown}"))
    if as_json:
        console.write_json("classify", {"files": rows})
    if failed is not None:
        raise typer.Exit(failed.exit_code)


def _expand(sources: list[str]) -> Iterator[str]:
    """Files as they are named, and those of folders, sorted."""
    for source in sources:
        if source == "-" or not Path(source).is_dir():
            yield source
            continue
        paths = sorted(p for p in Path(source).iterdir() if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise UsageError(f"folder {source} holds no stream and no picture")
        yield from map(str, paths)


def _stream(codec: "Codec", source: str, *, rate_index: float | None, max_pixels: int) -> bytes:
    """The bytes of a stream; a picture becomes one first."""
    from promptcodec.bitstream import MAGIC

    content = console.read_input(source, error=StreamError)
    if content.startswith(MAGIC):
        return content
    name = "standard input" if source == "-" else source
    return codec.encode(console.named(content, name), rate_index=rate_index, max_pixels=max_pixels)


def train_head(
    recipe: options.Recipe,
    data: options.LabelledData,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    max_steps: options.MaxSteps = None,
    device: options.TrainingDevice = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a classifier on what the frozen base transmits."""
    from promptcodec.training import heads

    config = heads.read_head_recipe(recipe)
    folder = heads.train_head(
        config,
        data=data,
        out=out or Path("runs") / recipe.stem,
        resume=resume,
        max_steps=max_steps,
        device=device,
    )
    if as_json:
        console.write_json("train-head", {"output": str(folder)})
        return
    print(console.one_line(f"head: {folder}; use it with --heads {folder}"), file=sys.stderr)

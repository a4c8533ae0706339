"""Commands about what pictures show: classify, segment, and what trains and measures that."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from promptcodec import cli_options as options
from promptcodec import console
from promptcodec.errors import (
    ModelMismatchError,
    PictureError,
    PromptCodecError,
    StreamError,
    UsageError,
)
from promptcodec.heads.config import SEGMENT

if TYPE_CHECKING:
    from promptcodec.api import Codec

SUFFIXES = (".pc", ".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".ppm")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(classify)
    app.command()(segment)
    app.command("train-head")(train_head)
    app.command("train-joint")(train_joint)
    app.command("train-aggregation")(train_aggregation)
    app.command("eval-task")(eval_task)


def classify(
    sources: options.Sources,
    top: options.Top = 5,
    rate_index: options.RateIndex = None,
    base: options.Base = None,
    prompts: options.Prompts = None,
    heads: options.Heads = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Say what streams or pictures show; a stream is not decoded for it."""
    from promptcodec.loading import load_codec

    found = list(_expand(sources))
    codec = load_codec(base, prompts, heads=heads, device=device, threads=threads)
    codec.labels()  # without a head nothing is read
    failed: PromptCodecError | None = None
    rows: list[dict[str, Any]] = []
    for source in found:
        try:
            labels = codec.classify(_stream(codec, source, rate_index=rate_index), top=top)
        except (StreamError, PictureError, ModelMismatchError) as error:
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
        console.write_stdout(json.dumps(rows))
    if failed is not None:
        raise typer.Exit(failed.exit_code)


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
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Write the class of each pixel of a stream or picture as a palette PNG.

    A stream is not decoded for it, except to lay the classes over it by --overlay.
    """
    from promptcodec import masks
    from promptcodec.images import OUTPUT_SUFFIXES, encode_file
    from promptcodec.loading import load_codec
    from promptcodec.outcomes import Clock

    suffix = ".overlay.png" if overlay else ".mask.png"
    target = console.choose_output(source, output, suffix=suffix, as_json=as_json, force=force)
    kind = ".png" if target is None else target.suffix.lower()
    known = OUTPUT_SUFFIXES if overlay else (".png",)
    if kind not in known:
        what = "overlay" if overlay else "mask"
        raise UsageError(f"{target}: no {what} is written as {kind!r}: choose {', '.join(known)}")
    codec = load_codec(base, prompts, heads=heads, device=device, threads=threads)
    labels = codec.labels(SEGMENT)
    data = _stream(codec, source, rate_index=rate_index)
    clock = Clock()
    mask = codec.segment(data)
    clock.lap("mask")
    if overlay:
        content = encode_file(masks.overlay(codec.decode(data), mask, labels), kind)
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
    console.report(report, f"{width}x{height}: {named}", as_json=as_json, verbose=verbose)


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


def _stream(codec: "Codec", source: str, *, rate_index: float | None) -> bytes:
    """The bytes of a stream; a picture becomes one first."""
    from promptcodec.bitstream import MAGIC

    content = console.read_input(source, error=StreamError)
    if content.startswith(MAGIC):
        return content
    name = "standard input" if source == "-" else source
    return codec.encode(console.named(content, name), rate_index=rate_index)


def train_head(
    recipe: options.Recipe,
    data: options.LabelledData,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    max_steps: options.MaxSteps = None,
    device: options.TrainingDevice = None,
    cache: options.ViewCache = None,
    seed: options.Seed = None,
    verbose: options.Verbose = False,
) -> None:
    """Train a classifier or a segmentation head on what the frozen base transmits."""
    from promptcodec.training import heads

    config = heads.read_head_recipe(recipe)
    if seed is not None:
        config = dataclasses.replace(config, seed=seed)
    folder = heads.train_head(
        config,
        data=data,
        out=out or Path("runs") / recipe.stem,
        resume=resume,
        max_steps=max_steps,
        device=device,
        cache=cache,
    )
    print(console.one_line(f"head: {folder}; use it with --heads {folder}"), file=sys.stderr)


def train_joint(
    recipe: options.Recipe,
    data: options.LabelledData,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    max_steps: options.MaxSteps = None,
    device: options.TrainingDevice = None,
    seed: options.Seed = None,
    verbose: options.Verbose = False,
) -> None:
    """Train codec and classifier together, or task prompts for a frozen codec."""
    from promptcodec.training import joint

    config = joint.read_joint_recipe(recipe)
    if seed is not None:
        config = dataclasses.replace(config, seed=seed)
    folder = joint.train_joint(
        config,
        data=data,
        out=out or Path("runs") / recipe.stem,
        resume=resume,
        max_steps=max_steps,
        device=device,
    )
    print(console.one_line(f"trained: {folder}"), file=sys.stderr)


def train_aggregation(
    recipe: options.Recipe,
    data: options.TrainingData,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    max_steps: options.MaxSteps = None,
    device: options.TrainingDevice = None,
    verbose: options.Verbose = False,
) -> None:
    """Train a decoder that uses what the classifier has read."""
    from promptcodec.training import aggregating

    folder = aggregating.train_aggregation(
        aggregating.read_aggregation_recipe(recipe),
        data=data,
        out=out or Path("runs") / recipe.stem,
        resume=resume,
        max_steps=max_steps,
        device=device,
    )
    print(console.one_line(f"trained: {folder}"), file=sys.stderr)


def eval_task(
    recipe: options.Recipe,
    data: options.LabelledData,
    output: options.TaskResults = None,
    force: options.Force = False,
    threads: options.Threads = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure accuracy over rate, for every codec and classifier that a recipe names."""
    import torch

    from promptcodec.evaluation import tasks
    from promptcodec.files import check_output, write_atomically
    from promptcodec.provenance import provenance
    from promptcodec.training.labelled import read_labelled
    from promptcodec.training.views import fit

    if output is not None:
        check_output(output, force=force)
    if threads is not None:
        torch.set_num_threads(threads)
    config = tasks.read_evaluation(recipe)
    config.read_sources()
    labelled = read_labelled(data, split=config.split)
    pictures = torch.stack([fit(picture, config.size) for picture in labelled.pictures])
    rows = tasks.evaluate_tasks(
        config,
        labelled,
        pictures=pictures,
        report=lambda line: print(console.one_line(line), file=sys.stderr),
    )
    report = {
        "data": data.name,
        "split": config.split,
        "size": config.size,
        "pictures": len(labelled.names),
        "classes": labelled.classes,
        "sources": rows,
        "provenance": provenance(),
    }
    if output is not None:
        write_atomically(output, (json.dumps(report, indent=1) + "\n").encode(), force=True)
    if as_json:
        console.write_stdout(json.dumps(report))
    elif output is None:
        for source in rows:
            for row in source["settings"]:
                for name, reader in row["readers"].items():
                    console.write_stdout(
                        f"{source['name']} {row['setting']:g}, {name}: {row['bpp']:.4f} bpp, "
                        f"{row['psnr']:.2f} dB, {100 * reader['accuracy']:.1f} %"
                    )

"""Commands of evaluation: a folder, one picture, speed, size, heads."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from promptcodec.bitstream import MAX_PIXELS
from promptcodec.cli import console, options
from promptcodec.cli.codec_options import CodecOptions
from promptcodec.cli.inputs import refuse_address
from promptcodec.cli.output import Printer
from promptcodec.cli.settings import spread_settings
from promptcodec.errors import PictureError, UsageError
from promptcodec.io.atomic import check_output, refuse_input, write_atomically
from promptcodec.io.find import with_ending

if TYPE_CHECKING:
    from promptcodec.evaluation.measure import MeasurementConfig


@dataclass(frozen=True)
class MeasurementOptions(CodecOptions):
    """Codec and peers of `eval` and `compare`."""

    threads: int = 1
    against: tuple[str, ...] = ()
    weights: Path | None = None
    max_pixels: int = MAX_PIXELS

    def config(self, rates: str, **more: Any) -> "MeasurementConfig":
        """The settings of a measurement.

        Args:
            rates: rate indexes as text.
            more: further fields of `MeasurementConfig`.
        Raises:
            UsageError: a rate is no number.
        """
        from promptcodec.evaluation.measure import MeasurementConfig

        return MeasurementConfig(
            base=self.base,
            prompts=self.prompts or None,
            rates=options.parse_rates(rates),
            precision=self.precision,
            against=options.split_words(self.against, default="jpeg,webp"),
            weights=self.weights,
            device=self.device,
            engine=self.engine,
            max_pixels=self.max_pixels,
            threads=self.threads,
            **more,
        )


MEASUREMENT = options.CODEC | {
    "threads": Option(min=1, max=options.MAX_THREADS, help="CPU threads a process."),
    "precision": options.Precision,
    "against": Annotated[
        list[str],
        Option(
            help="Peers: jpeg, jpegli, webp, avif, avif-444-psnr, jxl, hevc and others of "
            "docs/evaluation.md, names of CompressAI's models, or all that can run here and are "
            "not slow; separated by commas.",
            show_default="jpeg,webp",
        ),
    ],
    "weights": Option(
        help="Folder of weights of CompressAI's models.", show_default="where CompressAI keeps them"
    ),
    "max_pixels": options.MaxPixels,
}


@spread_settings
def evaluate(
    *,
    folder: Annotated[Path, Argument(metavar="DIR", help="Folder of pictures.")],
    measurement: Annotated[MeasurementOptions, MEASUREMENT],
    rates: options.RateList = "all",
    gain_steps: Annotated[
        list[float] | None, Option(help="Gain to measure at; repeat for a curve; default: 0.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        Option(help="psnr, ms-ssim, ssimulacra2, lpips; separated by commas.", show_default="psnr"),
    ] = None,
    lpips_weights: Annotated[
        Path | None, Option(help="State dict of torchvision's AlexNet, for LPIPS.")
    ] = None,
    out: Annotated[Path | None, Option(help="results.json to write.")] = None,
    readme: Annotated[
        Path | None, Option(help="Markdown file whose results table to bring up to date.")
    ] = None,
    plot: Annotated[
        Path | None, Option(help="Curves as a picture, .png or .svg; replaced if it exists.")
    ] = None,
    report: Annotated[
        Path | None, Option(help="One HTML file with curves, tables and pictures.")
    ] = None,
    show: Annotated[
        list[str] | None,
        Option(
            help="Pictures to look at in the report, separated by commas.",
            show_default="best, middling and worst against the first peer",
        ),
    ] = None,
    force: options.Force = False,
    jobs: Annotated[
        int, Option(min=1, help="Processes; the measured bytes are the same for any number.")
    ] = 1,
    printer: Printer,
) -> None:
    """Measure the codec on a folder of pictures, beside its peers; a stopped run goes on."""
    for target in (out, report):
        if target is not None:
            check_output(target, force=force)
    config = measurement.config(
        rates,
        gains=tuple(gain_steps or (0.0,)),
        metrics=options.split_words(metrics, default="psnr"),
        lpips_weights=lpips_weights,
    )
    shown = options.split_words(show, default="")
    if shown and report is None:
        raise UsageError("--show is for a report: name its file by --report")
    from promptcodec.cli.progress import progress_bar
    from promptcodec.evaluation.evaluate import check_complete, evaluate_folder
    from promptcodec.evaluation.reports.markdown import render_table
    from promptcodec.evaluation.results import as_json as facts_of

    with progress_bar("evaluating") as progress:
        results = evaluate_folder(
            folder,
            config,
            out=out,
            plot=plot,
            readme=readme,
            report=report,
            show=shown,
            jobs=jobs,
            force=force,
            progress=progress,
        )
    for note in results.notes:
        console.print_line(f"note: {note}")
    facts = facts_of(results)
    printer.print_result("eval", facts, render_table(facts))
    check_complete(results)


@spread_settings
def compare(
    *,
    picture: Annotated[Path, Argument(metavar="PICTURE", help="Picture file.")],
    measurement: Annotated[MeasurementOptions, MEASUREMENT],
    rates: options.RateList = "0,3,6",
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="PNG to write; default: PICTURE as .compare.png."),
    ] = None,
    page: Annotated[
        Path | None, Option(help="HTML to write; default: PICTURE as .compare.html.")
    ] = None,
    force: options.Force = False,
    printer: Printer,
) -> None:
    """Show a picture beside its peers at equal bytes: a PNG and a page with a slider."""
    refuse_address(str(picture))
    if picture.is_dir():
        raise PictureError(f"{picture} is a folder: name a picture")
    sheet = output or with_ending(picture, ".compare.png")
    slider = page or with_ending(picture, ".compare.html")
    for target, suffixes in ((sheet, (".png",)), (slider, (".html", ".htm"))):
        if target.suffix.lower() not in suffixes:
            raise UsageError(f"{target}: need a name that ends in {' or '.join(suffixes)}")
        refuse_input(target, picture)
        check_output(target, force=force)
    config = measurement.config(rates)
    from promptcodec.evaluation.reports import compare as comparing
    from promptcodec.evaluation.reports.html_page import write_page
    from promptcodec.io.load import load_picture

    loaded = load_picture(picture, max_pixels=config.max_pixels)
    slides = comparing.compare_picture(loaded, config.build())
    comparing.write_sheet(slides, sheet, force=force)
    write_page(slider, "compare.html", title=picture.name, data={}, slides=slides, force=force)
    notes = loaded.notes_on_frames
    facts = {"rows": comparing.facts_of(slides), "notes": notes}
    printer.print_result("compare", facts, comparing.render_slides(slides))
    console.print_line(f"{picture} -> {sheet}, {slider}")
    printer.report_notes(str(picture), notes)


@spread_settings
def bench(
    *,
    peers: Annotated[
        list[str] | None,
        Option(
            help="mbt2018-mean, jpeg, jpeg-444, webp, avif, jxl, hevc; separated by commas.",
            show_default="jpeg,webp",
        ),
    ] = None,
    threads: Annotated[str, Option(help="CPU threads of each comparison, such as 1,2.")] = "1",
    repeats: Annotated[int, Option(min=2, help="Number of rounds.")] = 7,
    rate_index: options.RateIndex = None,
    picture: Annotated[
        Path | None, Option(help="Photograph, scaled to 768x512.", show_default="a bundled one")
    ] = None,
    base: options.Base = None,
    engines: Annotated[
        str | None,
        Option(
            "--engine",
            help="onnx, openvino, torch, separated by commas; ratios are over the first.",
            show_default="onnx, of bfloat16 torch",
        ),
    ] = None,
    precision: options.Precision = "float32",
    out: Annotated[Path | None, Option(help="JSON to write, every value in it.")] = None,
    force: options.Force = False,
    printer: Printer,
) -> None:
    """Time the codec and its peers in alternation; memory of ours."""
    if out is not None and picture is not None:
        refuse_input(out, picture)
    if out is not None:
        check_output(out, force=force)
    counts = options.parse_counts(threads, option="--threads")
    names = options.split_words(peers, default="jpeg,webp")
    ours = options.parse_engines(engines or ("onnx" if precision == "float32" else "torch"))
    from promptcodec.evaluation.speed import bench as benching
    from promptcodec.io.samples import bundled, photograph

    source = picture or bundled()
    size = benching.WIDTH, benching.HEIGHT
    facts = benching.bench(
        photograph(source, width=size[0], height=size[1]),
        base=base,
        rate=rate_index,
        peers=names,
        threads=counts,
        engines=ours,
        precisions=(precision,),
        repeats=repeats,
        report=console.print_message,
    )
    facts["memory"] = benching.measure_memory(source, base=base, sizes=(size,), engines=ours)
    facts["picture"] = source.name
    for warning in facts["warnings"]:
        console.print_message(f"warning: {warning}")
    text = json.dumps(facts, indent=1)
    if out is not None:
        write_atomically(out, (text + "\n").encode(), force=force)
    printer.print_result("bench", facts, benching.render_bench(facts))


@spread_settings
def complexity(*, base: options.Base = None, printer: Printer) -> None:
    """Count parameters and kMAC/px of each part of a codec."""
    from promptcodec.evaluation.speed.complexity import complexity_table, render_complexity
    from promptcodec.io.checkpoints import find_base
    from promptcodec.models.checkpoint import read_base

    rows = complexity_table(read_base(find_base(base)).model)
    facts = {"parts": [dataclasses.asdict(row) for row in rows]}
    printer.print_result("complexity", facts, render_complexity(rows))


@spread_settings
def eval_task(
    *,
    recipe: options.Recipe,
    data: options.ClassData,
    output: Annotated[Path | None, Option("-o", "--out", help="JSON file for the results.")] = None,
    force: options.Force = False,
    threads: options.Threads = None,
    printer: Printer,
) -> None:
    """Measure accuracy over rate, for every codec and classifier that a recipe names."""
    import torch

    from promptcodec.evaluation import classification
    from promptcodec.io.provenance import provenance
    from promptcodec.training.config import read_recipe
    from promptcodec.training.data.augmented import fit
    from promptcodec.training.data.labelled import read_labelled

    if output is not None:
        check_output(output, force=force)
    if threads is not None:
        torch.set_num_threads(threads)
    config = read_recipe(recipe, classification.TaskEvaluation)
    labelled = read_labelled(data, split=config.split)
    pictures = torch.stack([fit(picture, config.size) for picture in labelled.pictures])
    rows = classification.evaluate_tasks(
        config,
        labelled,
        pictures=pictures,
        report=console.print_line,
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
    if printer.as_json:
        printer.print_json("eval-task", report)
    elif output is None:
        for source in rows:
            for row in source["settings"]:
                for name, reader in row["readers"].items():
                    console.write_stdout(
                        f"{source['name']} {row['setting']:g}, {name}: {row['bpp']:.4f} bpp, "
                        f"{row['psnr']:.2f} dB, {100 * reader['accuracy']:.1f} %"
                    )

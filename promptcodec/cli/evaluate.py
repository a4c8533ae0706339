"""The commands that measure: a folder, one picture, speed, size, heads."""

import dataclasses
import json

import typer

from promptcodec.bitstream import MAX_PIXELS
from promptcodec.cli import console, options
from promptcodec.errors import PictureError, UsageError
from promptcodec.io.atomic import check_output, refuse_input

app = typer.Typer()


@app.command("eval")
def evaluate(
    folder: options.EvaluationFolder,
    base: options.Base = None,
    prompts: options.Prompts = None,
    rates: options.RateList = "all",
    gain_steps: options.GainCurve = None,
    against: options.Against = None,
    weights: options.Weights = None,
    metrics: options.Metrics = None,
    lpips_weights: options.LpipsWeights = None,
    out: options.ResultsFile = None,
    readme: options.Readme = None,
    plot: options.Plot = None,
    report: options.Report = None,
    show: options.Show = None,
    force: options.Force = False,
    jobs: options.Jobs = 1,
    device: options.Device = "cpu",
    threads: options.ProcessThreads = 1,
    max_pixels: options.MaxPixels = None,
    precision: options.Precision = "float32",
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure the codec on a folder of pictures, beside its peers; a stopped run goes on."""
    for target in (out, report):
        if target is not None:
            check_output(target, force=force)
    chosen, shown = options.parse_rates(rates), options.split_words(show, default="")
    if shown and report is None:
        raise UsageError("--show names pictures of a report: name its file by --report")
    from promptcodec.cli.progress import progress_bar
    from promptcodec.evaluation.evaluate import check_complete, evaluate_folder
    from promptcodec.evaluation.measure import MeasurementConfig
    from promptcodec.evaluation.reports.markdown import render_table
    from promptcodec.evaluation.results import as_json as facts_of

    config = MeasurementConfig(
        base=base,
        prompts=prompts or None,
        rates=chosen,
        gains=tuple(gain_steps or (0.0,)),
        precision=precision,
        against=options.split_words(against, default="jpeg,webp"),
        weights=weights,
        metrics=options.split_words(metrics, default="psnr"),
        lpips_weights=lpips_weights,
        device=device,
        max_pixels=max_pixels or MAX_PIXELS,
        threads=threads,
    )
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
        console.say(console.one_line(f"note: {note}"))
    facts = facts_of(results)
    console.answer("eval", facts, render_table(facts), as_json=as_json)
    check_complete(results)


@app.command()
def compare(
    picture: options.ComparePicture,
    rates: options.RateList = "0,3,6",
    against: options.Against = None,
    weights: options.Weights = None,
    output: options.Sheet = None,
    page: options.SliderPage = None,
    base: options.Base = None,
    prompts: options.Prompts = None,
    force: options.Force = False,
    device: options.Device = "cpu",
    threads: options.ProcessThreads = 1,
    max_pixels: options.MaxPixels = None,
    precision: options.Precision = "float32",
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Show a picture beside its peers at equal bytes: a PNG and a page with a slider."""
    if picture.is_dir():
        raise PictureError(f"{picture} is a folder: name a picture")
    sheet = output or picture.with_suffix(".compare.png")
    slider = page or picture.with_suffix(".compare.html")
    for target, suffixes in ((sheet, (".png",)), (slider, (".html", ".htm"))):
        if target.suffix.lower() not in suffixes:
            raise UsageError(f"{target}: need a name that ends in {' or '.join(suffixes)}")
        refuse_input(target, picture)
        check_output(target, force=force)
    chosen = options.parse_rates(rates)
    from promptcodec.evaluation.measure import MeasurementConfig
    from promptcodec.evaluation.reports import compare as comparing
    from promptcodec.evaluation.reports.html_page import write_page

    config = MeasurementConfig(
        base=base,
        prompts=prompts or None,
        rates=chosen,
        precision=precision,
        against=options.split_words(against, default="jpeg,webp"),
        weights=weights,
        device=device,
        max_pixels=max_pixels or MAX_PIXELS,
        threads=threads,
    )
    slides = comparing.compare_picture(picture, config.build())
    comparing.write_sheet(slides, sheet, force=force)
    write_page(slider, "compare.html", title=picture.name, data={}, slides=slides, force=force)
    facts = {"rows": comparing.facts_of(slides)}
    console.answer("compare", facts, comparing.render_slides(slides), as_json=as_json)
    console.say(console.one_line(f"{picture} -> {sheet}, {slider}"))


@app.command()
def bench(
    peers: options.Peers = None,
    threads: options.ThreadCounts = "1",
    repeats: options.Repeats = 7,
    rate_index: options.RateIndex = None,
    picture: options.BenchPicture = None,
    base: options.Base = None,
    precision: options.Precision = "float32",
    out: options.BenchFile = None,
    force: options.Force = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Time the codec and its peers in alternation; memory of ours."""
    if out is not None and picture is not None:
        refuse_input(out, picture)
    if out is not None:
        check_output(out, force=force)
    counts = options.parse_counts(threads, option="--threads")
    names = options.split_words(peers, default="jpeg,webp")
    from promptcodec.evaluation.speed import bench as benching
    from promptcodec.io.atomic import write_atomically
    from promptcodec.io.samples import bundled, photograph

    source = picture or bundled()
    size = benching.WIDTH, benching.HEIGHT
    facts = benching.bench(
        photograph(source, width=size[0], height=size[1]),
        base=base,
        rate=rate_index,
        peers=names,
        threads=counts,
        precisions=(precision,),
        repeats=repeats,
        report=console.say,
    )
    facts["memory"] = benching.measure_memory(source, base=base, sizes=(size,))
    facts["picture"] = source.name
    for warning in facts["warnings"]:
        console.say(f"warning: {warning}")
    text = json.dumps(facts, indent=1)
    if out is not None:
        write_atomically(out, (text + "\n").encode(), force=force)
    console.answer("bench", facts, benching.render_bench(facts), as_json=as_json)


@app.command("eval-task")
def eval_task(
    recipe: options.Recipe,
    data: options.ClassData,
    output: options.TaskResults = None,
    force: options.Force = False,
    threads: options.Threads = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure accuracy over rate, for every codec and classifier that a recipe names."""
    import torch

    from promptcodec.evaluation import classification
    from promptcodec.io.atomic import check_output, write_atomically
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
        report=lambda line: console.say(console.one_line(line)),
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
        console.write_json("eval-task", report)
    elif output is None:
        for source in rows:
            for row in source["settings"]:
                for name, reader in row["readers"].items():
                    console.write_stdout(
                        f"{source['name']} {row['setting']:g}, {name}: {row['bpp']:.4f} bpp, "
                        f"{row['psnr']:.2f} dB, {100 * reader['accuracy']:.1f} %"
                    )


@app.command()
def card(
    folder: options.CardFolder, as_json: options.Json = False, verbose: options.Verbose = False
) -> None:
    """Bring the README.md of a checkpoint up to date with the files beside it."""
    from promptcodec.evaluation.reports.markdown import (
        render_ladder,
        render_table,
        render_training,
        update_markers,
    )
    from promptcodec.evaluation.results import read_results

    readme = folder / "README.md"
    update_markers(readme, render_training(folder / "base"), name="training")
    if (folder / "prompts").is_dir():
        update_markers(readme, render_ladder(folder / "prompts"), name="ladder")
    update_markers(readme, render_table(read_results(folder / "results.json")))
    if as_json:
        console.write_json("card", {"output": str(readme)})


@app.command()
def complexity(
    base: options.Base = None, as_json: options.Json = False, verbose: options.Verbose = False
) -> None:
    """Count parameters and kMAC/px of each part of a codec."""
    from promptcodec.evaluation.speed.complexity import complexity_table, render_complexity
    from promptcodec.io.hub import find_base
    from promptcodec.models.checkpoint import read_base

    rows = complexity_table(read_base(find_base(base)).model)
    facts = {"parts": [dataclasses.asdict(row) for row in rows]}
    console.answer("complexity", facts, render_complexity(rows), as_json=as_json)

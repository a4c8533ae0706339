"""Commands that train and measure heads, joint codecs and task prompts."""

import dataclasses
import json
from pathlib import Path

import typer

from promptcodec import cli_options as options
from promptcodec import console


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("train-head")(train_head)
    app.command("train-joint")(train_joint)
    app.command("train-aggregation")(train_aggregation)
    app.command("eval-task")(eval_task)


def train_head(
    recipe: options.Recipe,
    data: options.LabelledData,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    max_steps: options.MaxSteps = None,
    device: options.TrainingDevice = None,
    cache: options.ViewCache = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
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
    line = f"head: {folder}; use it with --heads {folder}"
    console.trained("train-head", folder, line, as_json=as_json)


def train_joint(
    recipe: options.Recipe,
    data: options.ClassData,
    unlabelled: options.Unlabelled = None,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    max_steps: options.MaxSteps = None,
    device: options.TrainingDevice = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Train codec and classifier together, or task prompts for a frozen codec."""
    from promptcodec.training.joint import train_joint as train
    from promptcodec.training.joint_config import read_joint_recipe

    config = read_joint_recipe(recipe)
    if seed is not None:
        config = dataclasses.replace(config, seed=seed)
    folder = train(
        config,
        data=data,
        out=out or Path("runs") / recipe.stem,
        resume=resume,
        max_steps=max_steps,
        device=device,
        unlabelled=unlabelled,
    )
    use = f"--base {folder / 'base'} --prompts {folder / 'prompts'}"
    if folder.name == "task":
        use = f"--tasks {folder} or --heads {folder}"
    line = f"trained: {folder}; use it with {use}"
    console.trained("train-joint", folder, line, as_json=as_json)


def train_aggregation(
    recipe: options.Recipe,
    data: options.TrainingData,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    max_steps: options.MaxSteps = None,
    device: options.TrainingDevice = None,
    as_json: options.Json = False,
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
    line = f"decoder: {folder}; measure it with benchmarks/aggregation.py"
    console.trained("train-aggregation", folder, line, as_json=as_json)


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

    from promptcodec.evaluation import tasks
    from promptcodec.io.atomic import check_output, write_atomically
    from promptcodec.io.provenance import provenance
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

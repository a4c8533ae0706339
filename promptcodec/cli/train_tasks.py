"""Commands that train and measure heads, joint codecs and task prompts."""

import dataclasses
from pathlib import Path

import typer

from promptcodec.cli import console, options

app = typer.Typer()


@app.command("train-head")
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
    from promptcodec.training import classifier

    config = classifier.read_head_recipe(recipe)
    if seed is not None:
        config = dataclasses.replace(config, seed=seed)
    folder = classifier.train_head(
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


@app.command("train-joint")
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
    from promptcodec.training.config import read_recipe
    from promptcodec.training.joint.config import JointTrainingConfig
    from promptcodec.training.joint.task import train_joint as train

    config = read_recipe(recipe, JointTrainingConfig)
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


@app.command("train-aggregation")
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
    from promptcodec.training import aggregation
    from promptcodec.training.config import read_recipe

    folder = aggregation.train_aggregation(
        read_recipe(recipe, aggregation.AggregationTrainingConfig),
        data=data,
        out=out or Path("runs") / recipe.stem,
        resume=resume,
        max_steps=max_steps,
        device=device,
    )
    line = f"decoder: {folder}; measure it with benchmarks/analysis/aggregation.py"
    console.trained("train-aggregation", folder, line, as_json=as_json)

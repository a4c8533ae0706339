"""Commands that train a codec and its rates, and what belongs to that: recipes, states."""

import dataclasses
import time
from pathlib import Path

import typer

from promptcodec.cli import console, options

app = typer.Typer()


@app.command("train-base")
def train_base(
    recipe: options.Recipe,
    data: options.TrainingData,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    max_steps: options.MaxSteps = None,
    device: options.TrainingDevice = None,
    validation: options.Validation = None,
    cache: options.PictureCache = None,
    minutes: options.Minutes = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a base codec on a folder of pictures."""
    began = time.monotonic()
    from promptcodec.training import base

    folder = base.train_base(
        recipe,
        data=data,
        out=out or Path("runs") / recipe.stem,
        resume=resume,
        max_steps=max_steps,
        device=device,
        validation=validation,
        cache=cache,
        minutes=_left(minutes, began),
    )
    console.trained("train-base", folder, f"checkpoint: {folder}", as_json=as_json)


@app.command("train-prompt")
def train_prompt(
    lmbda: options.Lambda = None,
    rate_index: options.PromptRate = None,
    recipe: options.PromptRecipe = None,
    base: options.Base = None,
    init_from: options.InitFrom = None,
    data: options.PromptData = None,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    max_steps: options.MaxSteps = None,
    device: options.TrainingDevice = None,
    validation: options.Validation = None,
    cache: options.PictureCache = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Adapt the frozen base to one rate by a small adapter."""
    from promptcodec.training.rate_adapter import resolve_run, train_prompts

    config = resolve_run(
        recipe, lmbda=lmbda, rate_index=rate_index, base=base, init_from=init_from, data=data
    )
    folder = train_prompts(
        config.run,
        data=config.data,
        out=out or Path("runs") / f"prompt-{config.run.rate_weight:g}",
        resume=resume,
        max_steps=max_steps,
        device=device,
        validation=validation,
        cache=cache,
    )
    line = f"adapter: {folder}; use it with --prompts {folder} --rate-index {config.run.rate_index}"
    console.trained("train-prompt", folder, line, as_json=as_json)


@app.command("train-ladder")
def train_ladder(
    recipe: options.Recipe,
    data: options.TrainingData,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    rate_index: options.Only = None,
    device: options.TrainingDevice = None,
    validation: options.Validation = None,
    cache: options.PictureCache = None,
    minutes: options.Minutes = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Train the adapters of all rates, each from its neighbour."""
    began = time.monotonic()
    from promptcodec.training import ladder
    from promptcodec.training.config import read_recipe

    config = read_recipe(recipe, ladder.LadderConfig)
    if minutes is not None:
        config = dataclasses.replace(config, minutes=_left(minutes, began))
    folder = ladder.train_ladder(
        config,
        data=data,
        out=out or Path("runs") / recipe.stem,
        only=tuple(rate_index or ()),
        resume=resume,
        device=device,
        validation=validation,
        cache=cache,
    )
    console.trained("train-ladder", folder, f"adapters: {folder}", as_json=as_json)


@app.command()
def ablate(
    recipe: options.Recipe,
    data: options.TrainingData,
    out: options.RunFolder = None,
    method: options.Methods = None,
    device: options.TrainingDevice = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare ways to adapt the base, each trained at the same rates; a stopped run goes on."""
    from promptcodec.training.ablation import AblationConfig, ablate, render_ablation
    from promptcodec.training.config import read_recipe

    config = read_recipe(recipe, AblationConfig)
    folder = out or Path("runs") / recipe.stem
    report = ablate(config, data=data, out=folder, only=method or (), device=device)
    console.answer("ablate", report, render_ablation(report), as_json=as_json)


@app.command()
def recipe(
    recipe: options.Recipe, as_json: options.Json = False, verbose: options.Verbose = False
) -> None:
    """Print a recipe with what it extends merged into it."""
    import yaml

    from promptcodec.training.config import read_yaml

    values = read_yaml(recipe)
    console.answer("recipe", values, yaml.safe_dump(values, sort_keys=False), as_json=as_json)


@app.command("convert-state")
def convert_state(
    old: options.OldState,
    new: options.NewState,
    recipe: options.StateRecipe,
    rename: options.Renames = None,
    raw: options.RawWeights = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Carry the state of a base's training from an older version to this one."""
    from promptcodec.training.convert import Rename, convert_state

    renames = [Rename.parse(text) for text in rename or ()]
    convert_state(old, new, recipe=recipe, renames=renames, weights=raw)
    console.trained("convert-state", new, f"state: {new}", as_json=as_json)


def _left(minutes: float | None, began: float) -> float | None:
    """What imports have left of a time."""
    return None if minutes is None else minutes - (time.monotonic() - began) / 60.0

"""Commands of training: a base, its rates, heads, joint codecs; recipes and states."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from promptcodec.cli import options
from promptcodec.cli.output import Printer
from promptcodec.cli.settings import spread_settings

TrainingData = Annotated[
    Path,
    Option(help="Folder of training pictures, zip files or tar shards; pattern of shards."),
]
Validation = Annotated[
    Path | None, Option(help="Folder to validate on; default: pictures held out of DATA.")
]
PictureCache = Annotated[
    Path | None,
    Option("--cache", help="File to keep decoded pictures in, for other runs on them."),
]
Minutes = Annotated[
    float | None,
    Option(
        min=0.01, help="End in this time, decay and writing included; default: the recipe's steps."
    ),
]
Seed = Annotated[int | None, Option(help="Seed in place of the recipe's.")]


@dataclass(frozen=True)
class RunOptions:
    """Options of a training run."""

    out: Path | None = None
    resume: bool = False
    max_steps: int | None = None
    device: str | None = None

    def folder(self, name: str) -> Path:
        """The run folder; without an option `runs/NAME`."""
        return self.out or Path("runs") / name

    def arguments(self, name: str) -> dict[str, Any]:
        """Arguments that training functions share."""
        return vars(self) | {"out": self.folder(name)}


RUN = {
    "out": Option(help="Run folder; default: runs/RECIPE."),
    "resume": Option("--resume", help="Continue the run where it stopped."),
    "max_steps": Option(min=1, help="Stop after so many steps."),
    "device": Option(help="cpu or cuda; default: the GPU where there is one."),
}


@spread_settings
def train_base(
    *,
    recipe: options.Recipe,
    data: TrainingData,
    run: Annotated[RunOptions, RUN],
    validation: Validation = None,
    cache: PictureCache = None,
    minutes: Minutes = None,
    printer: Printer,
) -> None:
    """Train a base codec on a folder of pictures."""
    began = time.monotonic()
    from promptcodec.training.base import BaseTask
    from promptcodec.training.config import BaseTrainingConfig, read_recipe
    from promptcodec.training.trainer import run_training

    task = BaseTask(read_recipe(recipe, BaseTrainingConfig), cache=cache)
    folder = run_training(
        task,
        data=data,
        **run.arguments(recipe.stem),
        validation=validation,
        budget=None if minutes is None else task.budget(minutes, began=began),
    )
    printer.report_run("train-base", folder, f"checkpoint: {folder}")


@spread_settings
def train_prompt(
    *,
    lmbda: Annotated[
        float | None,
        Option("--lambda", help="Rate-distortion weight; 0.0013 is small, 0.18 is best."),
    ] = None,
    rate_index: Annotated[
        int | None, Option(min=0, max=7, help="Rate index; default: the nearest to lambda.")
    ] = None,
    recipe: Annotated[
        Path | None, Option(help="YAML file of steps, crops and optimiser; default: built in.")
    ] = None,
    base: options.Base = None,
    init_from: Annotated[
        str | None,
        Option(
            help="Adapter to start from; 'none' starts from the base alone.",
            show_default="the nearest installed one",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        Option(
            envvar="PROMPTCODEC_DATA",
            help="Folder of training pictures, zip files or tar shards; pattern of shards.",
            show_default="the sample pictures, for a trial",
        ),
    ] = None,
    run: Annotated[RunOptions, RUN],
    validation: Validation = None,
    cache: PictureCache = None,
    printer: Printer,
) -> None:
    """Adapt the frozen base to one rate by a small adapter."""
    from promptcodec.training.rate_adapter import RateAdapterTask
    from promptcodec.training.resolve import resolve_run
    from promptcodec.training.trainer import run_training

    config, pictures = resolve_run(
        recipe, lmbda=lmbda, rate_index=rate_index, base=base, init_from=init_from, data=data
    )
    folder = run_training(
        RateAdapterTask(config, cache=cache),
        data=pictures,
        **run.arguments(f"prompt-{config.rate_weight:g}"),
        validation=validation,
    )
    line = f"adapter: {folder}; use it with --prompts {folder} --rate-index {config.rate_index}"
    printer.report_run("train-prompt", folder, line)


@spread_settings
def train_ladder(
    *,
    recipe: options.Recipe,
    data: TrainingData,
    run: Annotated[RunOptions, {name: RUN[name] for name in ("out", "resume", "device")}],
    rate_index: Annotated[
        list[int] | None, Option(min=0, max=7, help="Train only this rate; may be repeated.")
    ] = None,
    base: options.Base = None,
    validation: Validation = None,
    cache: PictureCache = None,
    minutes: Minutes = None,
    printer: Printer,
) -> None:
    """Train the adapters of all rates, each from its neighbour."""
    began = time.monotonic()
    from promptcodec.training import ladder
    from promptcodec.training.config import read_recipe

    config = read_recipe(recipe, ladder.LadderConfig)
    if base is not None:
        config = dataclasses.replace(config, prompts=dataclasses.replace(config.prompts, base=base))
    if minutes is not None:
        config = dataclasses.replace(config, minutes=_left(minutes, began))
    folder = ladder.train_ladder(
        config,
        data=data,
        out=run.folder(recipe.stem),
        only=tuple(rate_index or ()),
        resume=run.resume,
        device=run.device,
        validation=validation,
        cache=cache,
    )
    printer.report_run("train-ladder", folder, f"adapters: {folder}")


@spread_settings
def train_head(
    *,
    recipe: Annotated[
        Path | None,
        Argument(
            metavar="[RECIPE]",
            help="YAML file; not needed for a classifier of your own pictures.",
        ),
    ] = None,
    data: Annotated[
        Path,
        Option(
            help="Folder or zip file with CLASS/... or train/CLASS/..., train/images and "
            "train/masks, or pictures without labels, as the recipe needs them."
        ),
    ],
    body: Annotated[
        str | None,
        Option(
            help="Head to start from, of all but its classes: a folder, or bundled.",
            show_default="the recipe's; without a recipe bundled",
        ),
    ] = None,
    run: Annotated[RunOptions, RUN],
    cache: Annotated[
        Path | None,
        Option(help="File, or folder of a transfer, to keep the codec's views in for other runs."),
    ] = None,
    seed: Seed = None,
    printer: Printer,
) -> None:
    """Train a classifier or a segmentation head on what the frozen base transmits."""
    from promptcodec.training.classifier import ClassifierTask, ClassifierTrainingConfig
    from promptcodec.training.config import read_recipe
    from promptcodec.training.segmenter import SegmenterTask, SegmenterTrainingConfig
    from promptcodec.training.trainer import run_training
    from promptcodec.training.transfer import TransferConfig, TransferTask

    kinds = SegmenterTrainingConfig, TransferConfig
    config = ClassifierTrainingConfig()
    if recipe is not None:
        config = read_recipe(recipe, ClassifierTrainingConfig, *kinds)
    changes = {"seed": seed, "start": body}
    config = dataclasses.replace(config, **{n: v for n, v in changes.items() if v is not None})
    if isinstance(config, SegmenterTrainingConfig):
        task = SegmenterTask(config)
    elif isinstance(config, TransferConfig):
        task = TransferTask(config, cache=cache)
    else:
        task = ClassifierTask(config, cache=cache)
    name = "own-classes" if recipe is None else recipe.stem
    folder = run_training(task, data=data, **run.arguments(name))
    printer.report_run("train-head", folder, f"head: {folder}; use it with --heads {folder}")


@spread_settings
def import_network(
    *,
    network: Annotated[
        str, Argument(metavar="NETWORK", help="Name in timm, for instance tf_efficientnet_lite0.")
    ],
    weights: Annotated[Path, Option(help="Its weights: safetensors, or a state of torch.")],
    out: Annotated[Path, Option(help="Folder to write, a head on pixels.")],
    labels: Annotated[
        Path | None, Option(help="File of one label a line; default: ImageNet's thousand.")
    ] = None,
    mean: Annotated[
        float | None, Option(help="Mean of the normalisation of pixels; default: timm's.")
    ] = None,
    spread: Annotated[
        float | None, Option(min=1e-3, help="Divisor of that normalisation; default: timm's.")
    ] = None,
    licence: Annotated[str, Option(help="Licence of the weights, for the record.")] = "",
    printer: Printer,
) -> None:
    """Read a trained classifier, whose stages a head on latents takes over."""
    from promptcodec.training.networks import import_network, read_labels

    import_network(
        network,
        weights,
        out,
        labels=None if labels is None else read_labels(labels),
        mean=mean,
        spread=spread,
        licence=licence,
    )
    printer.report_run("import-network", out, f"network: {out}; name it as `teacher` in a recipe")


@spread_settings
def train_joint(
    *,
    recipe: options.Recipe,
    data: Annotated[
        Path,
        Option(help="Pictures as the recipe needs them: CLASS/..., with masks, or without labels."),
    ],
    cache: PictureCache = None,
    run: Annotated[RunOptions, RUN],
    seed: Seed = None,
    printer: Printer,
) -> None:
    """Train codec and head together, or task prompts for a frozen codec."""
    from promptcodec.training.config import read_recipe
    from promptcodec.training.joint.config import (
        LabelledJointConfig,
        MaskedJointConfig,
        TaughtJointConfig,
    )
    from promptcodec.training.joint.labelled import LabelledJointTask
    from promptcodec.training.joint.masked import MaskedJointTask
    from promptcodec.training.joint.taught import TaughtJointTask
    from promptcodec.training.trainer import run_training

    config = read_recipe(recipe, LabelledJointConfig, MaskedJointConfig, TaughtJointConfig)
    if seed is not None:
        config = dataclasses.replace(config, seed=seed)
    if isinstance(config, TaughtJointConfig):
        task = TaughtJointTask(config, cache=cache)
    elif isinstance(config, MaskedJointConfig):
        task = MaskedJointTask(config, cache=cache)
    else:
        task = LabelledJointTask(config, cache=cache)
    folder = run_training(task, data=data, **run.arguments(recipe.stem))
    use = f"--base {folder / 'base'} --prompts {folder / 'prompts'}"
    if folder.name == "task":
        use = f"--tasks {folder} or --heads {folder}"
    printer.report_run("train-joint", folder, f"trained: {folder}; use it with {use}")


@spread_settings
def train_aggregation(
    *, recipe: options.Recipe, data: TrainingData, run: Annotated[RunOptions, RUN], printer: Printer
) -> None:
    """Train a decoder that uses what the classifier has read."""
    from promptcodec.training.aggregation import AggregationTask, AggregationTrainingConfig
    from promptcodec.training.config import read_recipe
    from promptcodec.training.trainer import run_training

    task = AggregationTask(read_recipe(recipe, AggregationTrainingConfig))
    folder = run_training(task, data=data, **run.arguments(recipe.stem))
    line = f"decoder: {folder}; measure it with benchmarks/analysis/aggregation.py"
    printer.report_run("train-aggregation", folder, line)


@spread_settings
def ablate(
    *,
    recipe: options.Recipe,
    data: TrainingData,
    run: Annotated[RunOptions, {name: RUN[name] for name in ("out", "device")}],
    method: Annotated[
        list[str] | None,
        Option(help="Train this one of the recipe's methods alone; may be repeated."),
    ] = None,
    rate_index: Annotated[
        list[int] | None,
        Option(min=0, max=7, help="Train this one of the recipe's rates alone; may be repeated."),
    ] = None,
    printer: Printer,
) -> None:
    """Compare ways to adapt the base, each trained at the same rates; a stopped run goes on."""
    from promptcodec.training.ablation import AblationConfig, ablate, render_ablation
    from promptcodec.training.config import read_recipe

    config = read_recipe(recipe, AblationConfig)
    folder = run.folder(recipe.stem)
    report = ablate(
        config,
        data=data,
        out=folder,
        only=method or (),
        rates=rate_index or (),
        device=run.device,
    )
    printer.print_result("ablate", report, render_ablation(report))


@spread_settings
def recipe(*, recipe: options.Recipe, printer: Printer) -> None:
    """Print a recipe with what it extends merged into it."""
    import yaml

    from promptcodec.training.config import read_yaml

    values = read_yaml(recipe)
    printer.print_result("recipe", values, yaml.safe_dump(values, sort_keys=False))


@spread_settings
def export(
    *,
    place: Annotated[
        Path,
        Argument(metavar="FOLDER", help="Folder of a base checkpoint, of a head, or of heads."),
    ],
    printer: Printer,
) -> None:
    """Write the graphs of a base or of heads for ONNX Runtime beside their weights."""
    from promptcodec.runtime.export import export as write_graphs

    for folder in write_graphs(place):
        printer.report_run("export", folder, f"graphs: {folder}")


@spread_settings
def convert_state(
    *,
    old: Annotated[Path, Argument(metavar="OLD", help="State of an older version.")],
    new: Annotated[Path, Argument(metavar="NEW", help="State to write.")],
    recipe: Annotated[Path, Option(help="YAML file of the run, for this version.")],
    rename: Annotated[
        list[str] | None, Option(help="old=new, of a module or parameter; may be repeated.")
    ] = None,
    raw: Annotated[
        Path | None, Option(help="Also write the weights alone, to start another run from.")
    ] = None,
    processes: Annotated[
        int | None,
        Option(min=1, help="Processes that go on, each with batches of the recipe's size."),
    ] = None,
    printer: Printer,
) -> None:
    """Carry the state of a base's training from an older version to this one."""
    from promptcodec.training.convert import Rename, convert_state

    renames = [Rename.parse(text) for text in rename or ()]
    convert_state(old, new, recipe=recipe, renames=renames, weights=raw, processes=processes)
    printer.report_run("convert-state", new, f"state: {new}")


def _left(minutes: float | None, began: float) -> float | None:
    """Minutes that are left after imports."""
    return None if minutes is None else minutes - (time.monotonic() - began) / 60.0

"""Comparison of methods at several rates with one budget, as one table.

Every method is a variation of the same run: tuned parts (of an adapter, LoRA by PEFT, the whole
base), their size, start from a neighbour or from the base, optimisers and learning rates to try.
The best of these at one rate, on held-out pictures, is used for the others.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from promptcodec.coding.adapter import RateAdapter
from promptcodec.config import Count, Natural, Positive, Ranged, RateIndex
from promptcodec.errors import ConfigError, DataError, DivergenceError, UsageError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.checkpoints import find_base
from promptcodec.io.provenance import provenance
from promptcodec.models.adapters.checkpoint import read_adapter
from promptcodec.models.checkpoint import Base, read_base
from promptcodec.training.config import OptimizerConfig
from promptcodec.training.data.opening import open_pictures
from promptcodec.training.fine_tuning import BASE, PROMPTS, FineTuneConfig, FineTuneTask
from promptcodec.training.ladder import order_of
from promptcodec.training.losses import TrainingMetric
from promptcodec.training.rate_adapter import (
    PARTS,
    SIDES,
    RateAdapterConfig,
    RateAdapterTask,
    is_trained,
    same_run,
)
from promptcodec.training.record import TRAINING_FILE, read_record, same_recipe
from promptcodec.training.state_file import STATE_FILE
from promptcodec.training.trainer import run_training
from promptcodec.training.validation import validate

logger = logging.getLogger(__name__)

REPORT = "ablation.json"


@dataclass(frozen=True, kw_only=True)
class Method(Ranged):
    """A variation of a run.

    Args:
        name: name of the row and of the folder.
        tune: "adapter", or as `FineTuneConfig.tune`: "lora" or "base".
        parts: parts of an adapter, as `RateAdapterConfig.parts`; with "lora" and "base" only
            ("gains",) or none.
        sides: sides of prompts and maps, as `RateAdapterConfig.sides`.
        width: width of trunks as in `RateAdapterConfig`.
        rank: rank of updates as in `RateAdapterConfig`; with "lora", its rank.
        block_rank: rank of updates as in `RateAdapterConfig`.
        progressive: whether each rate starts from its neighbour among those compared, rather than
            from the base.
        optimizers: optimisers to try at the first rate, each with each learning rate; the best
            pair is used for all. None is that of `prompts`.
        learning_rates: learning rates to try; None is that of `prompts`.
        steps: number of steps of one rate; None is that of `prompts`, for an equal budget.
    """

    name: str
    tune: str = "adapter"
    parts: tuple[str, ...] = tuple(PARTS)
    sides: tuple[str, ...] = SIDES
    width: Count = 32
    rank: Natural = 10
    block_rank: Natural = 0
    progressive: bool = True
    optimizers: tuple[str, ...] = ()
    learning_rates: tuple[Positive, ...] = ()
    steps: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ConfigError(f"method name is {self.name!r}; it names a folder")
        if self.tune != "adapter" and set(self.parts) - {"gains"}:
            raise ConfigError(
                f"method {self.name!r} tunes {self.tune} with parts {list(self.parts)}; beside it "
                "there are gains or nothing"
            )
        if self.tune != "adapter" and (self.block_rank or self.sides != SIDES):
            raise ConfigError(
                f"method {self.name!r} tunes {self.tune}: block_rank and sides are of adapters"
            )


@dataclass(frozen=True, kw_only=True)
class AblationConfig(Ranged):
    """Recipe of a comparison.

    Args:
        methods: methods to compare, at least one, of distinct names.
        rates: rate indexes of the table, in any order; learning rates are chosen at the first.
        prompts: settings of all runs.
        search_steps: number of steps of a run that tries a learning rate.
    """

    methods: tuple[Method, ...]
    rates: tuple[RateIndex, ...] = (1, 0, 4, 7)
    prompts: RateAdapterConfig = field(default_factory=RateAdapterConfig)
    search_steps: Count = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [method.name for method in self.methods]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"methods are {names}; need some, of distinct names")
        if not self.rates:
            raise ConfigError("rates are empty; need one or more")
        if self.prompts.init_from is not None or self.prompts.lmbda is not None:
            raise ConfigError("prompts.init_from and prompts.lmbda are set for each run: drop them")
        for method in self.methods:
            self.optimizers_of(method)  # raises before anything is trained
            self.run_of(method)

    def run_of(self, method: Method) -> RateAdapterConfig:
        """The run of a method, without rate and start."""
        steps = self.prompts.steps if method.steps is None else method.steps
        shared = replace(self.prompts, steps=steps)
        if method.tune == "adapter":
            return replace(
                shared,
                parts=method.parts,
                sides=method.sides,
                width=method.width,
                rank=method.rank,
                block_rank=method.block_rank,
            )
        values = {f.name: getattr(shared, f.name) for f in fields(shared)}
        values["parts"] = ("gains",)
        return FineTuneConfig(
            **values, tune=method.tune, lora_rank=method.rank, gains="gains" in method.parts
        )

    def optimizers_of(self, method: Method) -> list[OptimizerConfig]:
        """Optimisers to try at the first rate."""
        own = self.prompts.optimizer
        return [
            replace(own, name=name, learning_rate=choice)
            for name in method.optimizers or (own.name,)
            for choice in method.learning_rates or (own.learning_rate,)
        ]


def ablate(
    config: AblationConfig,
    *,
    data: Path,
    out: Path,
    only: Sequence[str] = (),
    device: str | None = None,
) -> dict[str, Any]:
    """Train every method at every rate and write the report; finished runs are kept.

    Args:
        config: recipe of the comparison.
        data: training pictures; the table is measured on those held out.
        out: folder of the runs; stopped runs continue, and processes may share it for different
            methods.
        only: names of methods to train now; the report is written if none is left out.
        device: "cpu", "cuda" or None for automatic.
    Returns:
        The report: for each method its learning rate and, for each rate, bpp_estimate, psnr, loss
        and number of trained parameters.
    Raises:
        UsageError: `only` has an unknown name, or `out` has runs of another recipe.
        DivergenceError: a run diverges, or a method at every learning rate.
    """
    names = [method.name for method in config.methods]
    unknown = set(only) - set(names)
    if unknown:
        raise UsageError(f"no method {min(unknown)!r} in this recipe; it has {', '.join(names)}")
    base = read_base(find_base(config.prompts.base))
    held = open_pictures(data, config.prompts.data).validation
    rows = []
    for method in config.methods:
        if only and method.name not in only:
            continue
        folder = out / method.name
        run = replace(
            config.run_of(method), optimizer=_best_optimizer(config, method, data, folder, device)
        )
        for rate, neighbour in _order(config, method, base.config.rate_index):
            start = None
            if method.progressive and neighbour is not None:
                start = str(result_of(folder, neighbour))
            own = replace(run, rate_index=rate, init_from=start)
            _train(own, data=data, out=folder / f"rate-{rate}", device=device)
        rows.append(
            {
                "method": asdict(method),
                "optimizer": run.optimizer.name,
                "learning_rate": run.optimizer.learning_rate,
                "steps": run.steps,
                "parameters": _parameters(method, result_of(folder, config.rates[0]), base),
                "rates": {
                    rate: _measure(result_of(folder, rate), base, held, config.prompts.metric)
                    for rate in sorted(config.rates)
                },
            }
        )
    report = {
        "config": asdict(config),
        "base_sha256": base.sha256.hex(),
        "provenance": provenance(),
        "methods": rows,
    }
    if len(rows) == len(names):
        text = json.dumps(report, indent=1) + "\n"
        write_atomically(out / REPORT, text.encode(), force=True)
    return report


def result_of(folder: Path, rate: int) -> Path:
    """Folder of the result of a method at one rate."""
    return folder / f"rate-{rate}" / f"rate-{rate}"


def render_ablation(report: dict[str, Any]) -> str:
    """Markdown table of the losses, lower is better."""
    rates = list(report["methods"][0]["rates"])
    lines = [
        "| method | parameters | optimiser | " + " | ".join(f"rate {r}" for r in rates) + " |",
        "| --- | ---: | ---: | " + " | ".join("---:" for _ in rates) + " |",
    ]
    for row in report["methods"]:
        losses = " | ".join(f"{row['rates'][rate]['loss']:.4f}" for rate in rates)
        chosen = f"{row['optimizer']} {row['learning_rate']:g}"
        lines.append(f"| {row['method']['name']} | {row['parameters']:,} | {chosen} | {losses} |")
    return "\n".join(lines)


def _order(config: AblationConfig, method: Method, anchor: int) -> list[tuple[int, int | None]]:
    """Rates to train, each with its initial neighbour."""
    if not method.progressive:
        return [(rate, None) for rate in config.rates]
    rates = sorted({*config.rates, anchor})
    places = order_of(range(len(rates)), anchor=rates.index(anchor))
    return [(rates[own], None if start is None else rates[start]) for own, start in places]


def _best_optimizer(
    config: AblationConfig, method: Method, data: Path, folder: Path, device: str | None
) -> OptimizerConfig:
    """The optimiser of the lowest loss after a short run."""
    options = config.optimizers_of(method)
    if len(options) == 1:
        return options[0]
    losses = []
    for option in options:
        trial = replace(
            config.run_of(method),
            optimizer=option,
            rate_index=config.rates[0],
            steps=config.search_steps,
        )
        place = folder / f"search-{option.name}-{option.learning_rate:g}"
        try:
            losses.append(_train(trial, data=data, out=place, device=device)["loss"])
        except DivergenceError as error:
            logger.warning("%s: %s", place, error)
            losses.append(math.inf)
    if min(losses) == math.inf:
        raise DivergenceError(
            f"method {method.name!r} diverges at every learning rate that was tried: lower its "
            "learning_rates in the recipe"
        )
    return options[losses.index(min(losses))]


def _train(
    run: RateAdapterConfig, *, data: Path, out: Path, device: str | None
) -> dict[str, float]:
    """Train, resume, or use a finished run; return its last validation."""
    folder = out / f"rate-{run.rate_index}"
    finished = (folder / TRAINING_FILE).is_file()
    same = _same_fine_tuning if isinstance(run, FineTuneConfig) else same_run
    if finished and not same(folder, run):
        raise UsageError(f"{out} holds a run of another recipe; choose another output folder")
    if not finished:
        logger.warning("%s, from %s", out, run.init_from or "the base")
        task = FineTuneTask(run) if isinstance(run, FineTuneConfig) else RateAdapterTask(run)
        resume = (out / STATE_FILE).exists()
        run_training(task, data=data, out=out, resume=resume, device=device)
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines if '"validation"' in line]
    if not found:
        raise DataError(f"{out}/log.jsonl has no validation: delete {out} and run again")
    return found[-1]["validation"]


def open_result(folder: Path, base: Base) -> tuple[Base, RateAdapter]:
    """Result of a run: the codec, which is `base` unless tuned, and the adapter of its rate."""
    if not (folder / PROMPTS).is_dir():
        return base, read_adapter(folder, base=base)
    own = read_base(folder / BASE)
    (adapter,) = (folder / PROMPTS).iterdir()
    return own, read_adapter(adapter, base=own)


def _measure(
    folder: Path, base: Base, pictures: list[Tensor], metric: TrainingMetric = "psnr"
) -> dict[str, float]:
    """Figures of the written result, with its tables, on held-out pictures."""
    own, adapter = open_result(folder, base)
    tables = own.tables.with_sets(adapter.z_sets)
    found = validate(
        own.model, pictures, samples=None, adapter=adapter, tables=tables, metric=metric
    )
    return found.figures(lmbda=adapter.config.lmbda)


def _same_fine_tuning(folder: Path, run: RateAdapterConfig) -> bool:
    """Whether the codec in `folder` has the recipe of `run`; starts are compared by path."""
    record, base = read_record(folder), read_base(find_base(run.base)).sha256.hex()
    return record["base_sha256"] == base and same_recipe(record["recipe"], run, ignored=["base"])


def _parameters(method: Method, folder: Path, base: Base) -> int:
    """Number of trained parameters."""
    if method.tune != "adapter":
        return read_record(folder)["parameters"]
    prompts = open_result(folder, base)[1].network
    return sum(
        parameter.numel()
        for name, parameter in prompts.named_parameters()
        if is_trained(name, parts=method.parts, sides=method.sides)
    )

"""Comparison of methods at several rates with one budget, as one table.

Every method is a variation of the same run: tuned parts (of an adapter, LoRA by PEFT, the whole
base), their size, start from a neighbour or from the base, optimisers and learning rates to try.
The best of these is chosen for each rate by itself, on held-out pictures. Learning rates are added
until a lower and a higher one are worse, so that no method suffers from the grid of its recipe.
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
from promptcodec.config import Count, Natural, Positive, Ranged, RateIndex, ShareAbove0
from promptcodec.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DivergenceError,
    UsageError,
)
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
MAX_TRIALS = 9
"""Most learning rates that are tried for one optimiser at one rate."""


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
        optimizers: optimisers to try at each rate; none is that of `prompts`.
        learning_rates: learning rates to begin the search with; none or one is no search.
        steps: number of steps of one rate; None is that of `prompts`, for an equal budget.
        seeds: number of runs of different seeds at each of `AblationConfig.seeded_rates`.
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
    seeds: Count = 1

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
        rates: rate indexes of the table, in any order.
        prompts: settings of all runs.
        search_share: part of a run's steps that a run takes which tries a learning rate.
        seeded_rates: rates at which methods with several `seeds` are trained with each of them.
    """

    methods: tuple[Method, ...]
    rates: tuple[RateIndex, ...] = (1, 0, 4, 7)
    prompts: RateAdapterConfig = field(default_factory=RateAdapterConfig)
    search_share: ShareAbove0 = 0.25
    seeded_rates: tuple[RateIndex, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [method.name for method in self.methods]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"methods are {names}; need some, of distinct names")
        if not self.rates:
            raise ConfigError("rates are empty; need one or more")
        if not set(self.seeded_rates) <= set(self.rates):
            raise ConfigError(
                f"seeded_rates are {list(self.seeded_rates)}; need some of {list(self.rates)}"
            )
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
        """Optimisers to try, each at each learning rate that the search begins with."""
        own = self.prompts.optimizer
        return [
            replace(own, name=name, learning_rate=choice)
            for name in method.optimizers or (own.name,)
            for choice in sorted(method.learning_rates) or (own.learning_rate,)
        ]

    def seeds_of(self, method: Method, rate: int) -> range:
        """Numbers of the runs at one rate; their seeds are that of `prompts` plus these."""
        return range(method.seeds if rate in self.seeded_rates else 1)


@dataclass(frozen=True)
class Trial:
    """A short run that tries an optimiser.

    Attributes:
        optimizer: its name.
        learning_rate: its learning rate.
        loss: loss on held-out pictures; None if the run diverged.
    """

    optimizer: str
    learning_rate: float
    loss: float | None


def ablate(
    config: AblationConfig,
    *,
    data: Path,
    out: Path,
    only: Sequence[str] = (),
    rates: Sequence[int] = (),
    device: str | None = None,
) -> dict[str, Any]:
    """Train every method at every rate and write the report; finished runs are kept.

    Args:
        config: recipe of the comparison.
        data: training pictures; the table is measured on those held out.
        out: folder of the runs; stopped runs continue, and processes may share it for different
            methods or rates.
        only: names of methods to train now; none is all.
        rates: rates to train now; none is all.
        device: "cpu", "cuda" or None for automatic.
    Returns:
        The report: for each method that is finished, and each rate, the optimiser, its trials,
        bpp_estimate, psnr and loss; the number of trained parameters. It is written when every
        method is finished.
    Raises:
        UsageError: `only` has an unknown name, `rates` has a rate that is not in the recipe or
            needs another one first, `out` has runs of another recipe, or the best learning rate is
            an end of those tried after `MAX_TRIALS`.
        DivergenceError: a run diverges, or a method at every learning rate.
    """
    names = [method.name for method in config.methods]
    if unknown := set(only) - set(names):
        raise UsageError(f"no method {min(unknown)!r} in this recipe; it has {', '.join(names)}")
    if unknown := set(rates) - set(config.rates):
        raise UsageError(f"no rate {min(unknown)} in this recipe; it has {list(config.rates)}")
    chosen = [method for method in config.methods if not only or method.name in only]
    if rates and (chained := [method.name for method in chosen if method.progressive]):
        raise UsageError(
            f"method {chained[0]!r} starts each rate from its neighbour: train all rates in one "
            "process, or set progressive: false"
        )
    base = read_base(find_base(config.prompts.base))
    runs = _Runs(config, data=data, out=out, device=device, anchor=base.config.rate_index)
    for method in chosen:
        for rate in runs.order(method):
            if not rates or rate in rates:
                runs.train(method, rate)
    held = open_pictures(data, config.prompts.data).validation
    rows = [
        _row(config, method, runs, base=base, held=held)
        for method in config.methods
        if runs.is_finished(method)
    ]
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


def result_of(folder: Path, rate: int, *, seed: int = 0) -> Path:
    """Folder of the result of a method at one rate.

    Args:
        folder: folder of the method.
        rate: rate index.
        seed: number of the run as in `AblationConfig.seeds_of`.
    """
    return folder / f"rate-{rate}{f'-seed-{seed}' if seed else ''}" / f"rate-{rate}"


def render_ablation(report: dict[str, Any]) -> str:
    """Markdown table of the losses, lower is better, with the learning rate of each."""
    rates = sorted(report["config"]["rates"])
    lines = [
        "| method | parameters | " + " | ".join(f"rate {rate}" for rate in rates) + " |",
        "| --- | ---: | " + " | ".join("---:" for _ in rates) + " |",
    ]
    for row in report["methods"]:
        found = [row["rates"][rate] for rate in rates]
        cells = [f"{e['loss']:.4f} ({e['optimizer']} {e['learning_rate']:g})" for e in found]
        lines.append(f"| {row['method']['name']} | {row['parameters']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


class _Runs:
    """The runs of a comparison in their folders.

    Args:
        config: recipe of the comparison.
        data: training pictures.
        out: folder of the runs.
        device: device of the training.
        anchor: rate of the base.
    """

    def __init__(
        self, config: AblationConfig, *, data: Path, out: Path, device: str | None, anchor: int
    ) -> None:
        self.config, self.data, self.out, self.device = config, data, out, device
        self.anchor = anchor

    def order(self, method: Method) -> list[int]:
        """Rates to train, each after the neighbour that it starts from."""
        return list(self._starts(method))

    def train(self, method: Method, rate: int) -> None:
        """Choose the optimiser of a rate and train it with every seed."""
        run = replace(self._run(method, rate), optimizer=self.search(method, rate)[0])
        for number in self.config.seeds_of(method, rate):
            own = replace(run, seed=run.seed + number)
            place = result_of(self.out / method.name, rate, seed=number).parent
            _train(own, data=self.data, out=place, device=self.device)

    def search(self, method: Method, rate: int) -> tuple[OptimizerConfig, list[Trial]]:
        """The optimiser of the lowest loss after a short run, and all that were tried."""
        options = self.config.optimizers_of(method)
        if len(options) == 1:
            return options[0], []
        found: list[tuple[OptimizerConfig, float]] = []
        for name in dict.fromkeys(option.name for option in options):
            found += self._bracket(method, rate, [o for o in options if o.name == name])
        best, loss = min(found, key=lambda each: each[1])
        if loss == math.inf:
            raise DivergenceError(
                f"method {method.name!r} diverges at rate {rate} at every learning rate that was "
                "tried: lower its learning_rates in the recipe"
            )
        return best, [
            Trial(option.name, option.learning_rate, None if value == math.inf else value)
            for option, value in found
        ]

    def is_finished(self, method: Method) -> bool:
        """Whether every run of a method has its result."""
        return all(
            (result_of(self.out / method.name, rate, seed=number) / TRAINING_FILE).is_file()
            for rate in self.config.rates
            for number in self.config.seeds_of(method, rate)
        )

    def _bracket(
        self, method: Method, rate: int, options: list[OptimizerConfig]
    ) -> list[tuple[OptimizerConfig, float]]:
        """Losses of learning rates, extended until the best one is not at an end.

        A single learning rate is taken as it is.
        """
        tried = [(option, self._loss(method, rate, option)) for option in options]
        while len(tried) > 1:
            tried.sort(key=lambda each: each[0].learning_rate)
            grid = [option.learning_rate for option, _ in tried]
            losses = [loss for _, loss in tried]
            place = losses.index(min(losses))
            if 0 < place < len(tried) - 1:
                break
            end = "lowest" if place == 0 else "highest"
            if len(tried) >= MAX_TRIALS:
                if losses[place] == math.inf:
                    break
                raise UsageError(
                    f"method {method.name!r} at rate {rate}: of {len(tried)} learning rates of "
                    f"{options[0].name} the {end}, {grid[place]:g}, is the best; begin its "
                    "learning_rates nearer to the best one"
                )
            value = grid[0] ** 2 / grid[1] if place == 0 else grid[-1] ** 2 / grid[-2]
            # Rounded, so that a run that goes on finds the folder of this one.
            option = replace(options[0], learning_rate=float(f"{value:.3g}"))
            logger.warning(
                "%s, rate %d: the %s learning rate is the best; trying %g",
                method.name,
                rate,
                end,
                option.learning_rate,
            )
            tried.append((option, self._loss(method, rate, option)))
        return tried

    def _loss(self, method: Method, rate: int, option: OptimizerConfig) -> float:
        """Held-out loss after a short run; infinite if it diverges or cannot be stored."""
        run = self._run(method, rate)
        steps = math.ceil(self.config.search_share * run.steps)
        place = self.out / method.name / f"search-{rate}-{option.name}-{option.learning_rate:g}"
        trial = replace(run, optimizer=option, steps=steps)
        try:
            return _train(trial, data=self.data, out=place, device=self.device)["loss"]
        except (DivergenceError, CheckpointError) as error:
            logger.warning("%s: %s", place, error)
            return math.inf

    def _run(self, method: Method, rate: int) -> RateAdapterConfig:
        """The run of a method at a rate, with its start."""
        neighbour = self._starts(method)[rate]
        start = None if neighbour is None else str(result_of(self.out / method.name, neighbour))
        return replace(self.config.run_of(method), rate_index=rate, init_from=start)

    def _starts(self, method: Method) -> dict[int, int | None]:
        """Neighbour that each rate starts from, in the order of training."""
        if not method.progressive:
            return dict.fromkeys(self.config.rates)
        rates = sorted({*self.config.rates, self.anchor})
        places = order_of(range(len(rates)), anchor=rates.index(self.anchor))
        return {rates[own]: None if start is None else rates[start] for own, start in places}


def _row(
    config: AblationConfig, method: Method, runs: _Runs, *, base: Base, held: list[Tensor]
) -> dict[str, Any]:
    """What the report has of a finished method."""
    folder, rates = runs.out / method.name, {}
    for rate in sorted(config.rates):
        chosen, trials = runs.search(method, rate)
        figures = [
            _measure(result_of(folder, rate, seed=number), base, held, config.prompts.metric)
            for number in config.seeds_of(method, rate)
        ]
        rates[rate] = {
            "optimizer": chosen.name,
            "learning_rate": chosen.learning_rate,
            "trials": [asdict(trial) for trial in trials],
            **figures[0],
            "other_seeds": figures[1:],
        }
    return {
        "method": asdict(method),
        "steps": config.run_of(method).steps,
        "parameters": _parameters(method, result_of(folder, config.rates[0]), base),
        "rates": rates,
    }


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

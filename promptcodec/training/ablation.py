"""Which part of an adapter earns what: several methods at several rates, one budget, one table.

Every method is a variation of the same run of prompts: which parts are trained, how large they
are, whether a rate starts from its neighbour, and which learning rates are tried. The learning rate
is chosen at one rate by held-out pictures and kept for the others.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from promptcodec.adapters.store import CONFIG_FILE, read_adapter
from promptcodec.codec.checkpoint import read_base
from promptcodec.config import LAMBDAS, from_dict
from promptcodec.errors import ConfigError, DataError, UsageError
from promptcodec.files import write_atomically
from promptcodec.locate import find_base
from promptcodec.provenance import provenance
from promptcodec.training.config import read_yaml
from promptcodec.training.ladder import order_of
from promptcodec.training.loop import STATE_FILE
from promptcodec.training.prompts import PARTS, PromptConfig, same_run, train_prompts

logger = logging.getLogger(__name__)

REPORT = "ablation.json"


@dataclass(frozen=True, kw_only=True)
class Method:
    """A variation of a run.

    Args:
        name: of the row; names the folder.
        parts: as `PromptConfig.parts`.
        width: as `PromptConfig.width`.
        rank: as `PromptConfig.rank`.
        progressive: start each rate from its neighbour; False starts all from the base.
        learning_rates: tried at the first of the rates; the best one serves all.
    """

    name: str
    parts: tuple[str, ...] = tuple(PARTS)
    width: int = 32
    rank: int = 10
    progressive: bool = True
    learning_rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ConfigError(f"method name is {self.name!r}; it names a folder")


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """Methods to compare.

    Args:
        methods: at least one, of distinct names.
        rates: rate indexes of the table, in any order; learning rates are chosen at the first.
        prompts: what all runs share.
        search_steps: steps of a run that only tries a learning rate.
    """

    methods: tuple[Method, ...]
    rates: tuple[int, ...] = (1, 0, 4, 7)
    prompts: PromptConfig = field(default_factory=PromptConfig)
    search_steps: int = 300

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"methods are {names}; need some, of distinct names")
        if not self.rates or set(self.rates) - set(range(len(LAMBDAS))):
            raise ConfigError(f"rates are {list(self.rates)}; need some of 0 to {len(LAMBDAS) - 1}")
        if self.prompts.init_from is not None or self.prompts.lmbda is not None:
            raise ConfigError("prompts.init_from and prompts.lmbda are set for each run: drop them")
        for method in self.methods:
            for choice in method.learning_rates:
                replace(self.prompts.optimizer, learning_rate=choice)
            self.run_of(method)  # whatever does not fit is refused before anything is trained

    def run_of(self, method: Method) -> PromptConfig:
        """The run of a method, its rate and start still to be set."""
        return replace(self.prompts, parts=method.parts, width=method.width, rank=method.rank)


def read_ablation(path: Path) -> AblationConfig:
    """Read a YAML recipe of an ablation.

    Raises:
        ConfigError: no such file, not YAML, or a key or value that does not fit.
    """
    return from_dict(AblationConfig, read_yaml(path), where=str(path))


def ablate(
    config: AblationConfig, *, data: Path, out: Path, device: str | None = None
) -> dict[str, Any]:
    """Train every method at every rate and write the report; finished runs are kept.

    Args:
        config: the methods.
        data: training pictures; held-out ones of them are what the table is measured on.
        out: folder; a run that was stopped in it goes on.
        device: "cpu", "cuda" or None for automatic.
    Returns:
        The report: for each method its learning rate and, for each rate, bpp_estimate, psnr, loss
        and parameters that were trained.
    """
    base = read_base(find_base(config.prompts.base))
    rows = []
    for method in config.methods:
        run, folder = config.run_of(method), out / method.name
        run = replace(run, optimizer=_best_rate(config, method, run, data, folder, device))
        found: dict[int, dict[str, float]] = {}
        for rate, neighbour in _order(config, method, base.config.rate_index):
            start = None
            if method.progressive and neighbour is not None:
                start = str(folder / f"rate-{neighbour}" / f"rate-{neighbour}")
            own = replace(run, rate_index=rate, init_from=start)
            found[rate] = _train(own, data=data, out=folder / f"rate-{rate}", device=device)
        adapter = read_adapter(folder / f"rate-{rate}" / f"rate-{rate}", base=base)
        names = tuple(name for part in method.parts for name in PARTS[part])
        trained = [p for n, p in adapter.prompts.named_parameters() if n.startswith(names)]
        rows.append(
            {
                "method": asdict(method),
                "learning_rate": run.optimizer.learning_rate,
                "parameters": sum(p.numel() for p in trained),
                "rates": {rate: found[rate] for rate in sorted(config.rates)},
            }
        )
        report = {
            "config": asdict(config),
            "base_sha256": base.sha256.hex(),
            "provenance": provenance(),
            "methods": rows,
        }
        text = json.dumps(report, indent=1) + "\n"
        write_atomically(out / REPORT, text.encode(), force=True)
    return report


def render_ablation(report: dict[str, Any]) -> str:
    """Markdown table of the losses, lower is better."""
    rates = list(report["methods"][0]["rates"])
    lines = [
        "| method | parameters | learning rate | " + " | ".join(f"rate {r}" for r in rates) + " |",
        "| --- | ---: | ---: | " + " | ".join("---:" for _ in rates) + " |",
    ]
    for row in report["methods"]:
        losses = " | ".join(f"{row['rates'][rate]['loss']:.4f}" for rate in rates)
        name, learning_rate = row["method"]["name"], row["learning_rate"]
        lines.append(f"| {name} | {row['parameters']:,} | {learning_rate:g} | {losses} |")
    return "\n".join(lines)


def _order(config: AblationConfig, method: Method, anchor: int) -> list[tuple[int, int | None]]:
    """Rates to train; a chain passes through those between as well."""
    if not method.progressive:
        return [(rate, None) for rate in config.rates]
    rates = range(min(*config.rates, anchor), max(*config.rates, anchor) + 1)
    return order_of(rates, anchor=anchor)


def _best_rate(
    config: AblationConfig,
    method: Method,
    run: PromptConfig,
    data: Path,
    folder: Path,
    device: str | None,
) -> Any:
    """The optimiser with the learning rate of the lowest loss after a short run."""
    choices = method.learning_rates or (run.optimizer.learning_rate,)
    options = [replace(run.optimizer, learning_rate=choice) for choice in choices]
    if len(options) == 1:
        return options[0]
    losses = []
    for option in options:
        trial = replace(
            run, optimizer=option, rate_index=config.rates[0], steps=config.search_steps
        )
        place = folder / f"search-{option.learning_rate:g}"
        loss = _train(trial, data=data, out=place, device=device)["loss"]
        losses.append(loss if math.isfinite(loss) else math.inf)
    return options[losses.index(min(losses))]


def _train(run: PromptConfig, *, data: Path, out: Path, device: str | None) -> dict[str, float]:
    """Train, or go on, or take what is finished; its last validation."""
    folder = out / f"rate-{run.rate_index}"
    finished = (folder / CONFIG_FILE).is_file()
    if finished and not same_run(folder, run):
        raise UsageError(f"{out} holds a run of another recipe; choose another output folder")
    if not finished:
        logger.warning("%s, from %s", out, run.init_from or "the base")
        resume = (out / STATE_FILE).exists()
        train_prompts(run, data=data, out=out, resume=resume, device=device)
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines if '"validation"' in line]
    if not found:
        raise DataError(f"{out}/log.jsonl has no validation: delete {out} and run again")
    return found[-1]["validation"]

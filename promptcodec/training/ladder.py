"""Training of all rates of a base, from its own rate outwards, each from its neighbour.

    base -> rate 4 -> rate 5 -> rate 6 -> rate 7
                   -> rate 3 -> rate 2 -> rate 1 -> rate 0

Every rate is a run of its own in `rate-N/`; its adapter is copied to `prompts/rate-N/`. A stopped
ladder continues with its unfinished rates.
"""

from __future__ import annotations

import functools
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from accelerate import PartialState

from promptcodec.coding.adapter_file import read_adapter_config
from promptcodec.config import ADDED, LAMBDAS, Positive, Ranged, RateIndex
from promptcodec.errors import ConfigError, UsageError
from promptcodec.io.atomic import write_atomically
from promptcodec.io.checkpoints import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    find_base,
    find_prompts,
)
from promptcodec.models.checkpoint import read_base
from promptcodec.training.data.opening import open_pictures
from promptcodec.training.optim import on_gpu
from promptcodec.training.pace import Budget
from promptcodec.training.rate_adapter import RateAdapterConfig, RateAdapterTask, same_run
from promptcodec.training.record import TRAINING_FILE, read_record
from promptcodec.training.state_file import STATE_FILE
from promptcodec.training.trainer import run_training

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LadderConfig(Ranged):
    """A ladder of rates.

    Args:
        prompts: recipe of every rate; rate_index and init_from are set for each.
        rates: rate indexes, without gaps unless there is `init_from`.
        anchor: rate index of the start; None is that of the base.
        progressive: whether each rate starts from its neighbour, rather than from the base.
        minutes: wall time of all rates, in equal parts; None trains each for its steps.
        init_from: folder of adapters, or a Hub id; each rate starts from the adapter of its index
            there. None is a new ladder.
    """

    prompts: RateAdapterConfig = field(default_factory=RateAdapterConfig)
    rates: tuple[RateIndex, ...] = tuple(range(len(LAMBDAS)))
    anchor: RateIndex | None = None
    progressive: bool = True
    minutes: Positive | None = None
    init_from: str | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        super().__post_init__()
        rates = sorted(self.rates)
        whole = rates and rates == list(range(rates[0], rates[-1] + 1))
        if not whole and (self.init_from is None or not rates or len(set(rates)) < len(rates)):
            raise ConfigError(f"rates are {list(self.rates)}; need neighbours without a gap")
        if self.anchor is not None and self.anchor not in rates:
            raise ConfigError(f"anchor is {self.anchor}, which is none of the rates {rates}")
        if self.prompts.init_from is not None or self.prompts.lmbda is not None:
            raise ConfigError("prompts.init_from and prompts.lmbda are set for each rate")


def order_of(rates: Sequence[int], *, anchor: int) -> list[tuple[int, int | None]]:
    """Rates in the order of training, each with the neighbour it starts from."""
    up = [(rate, rate - 1) for rate in sorted(rates) if rate > anchor]
    down = [(rate, rate + 1) for rate in sorted(rates, reverse=True) if rate < anchor]
    return [(anchor, None), *up, *down]


def train_ladder(
    config: LadderConfig,
    *,
    data: Path,
    out: Path,
    only: Sequence[int] = (),
    resume: bool = False,
    device: str | None = None,
    validation: Path | None = None,
    cache: Path | None = None,
) -> Path:
    """Train the adapters of a ladder.

    Args:
        config: recipe of the ladder.
        data: training pictures.
        out: folder of the runs; two processes may share it for different rates.
        only: rates to train now, whose neighbours must be finished; empty trains all.
        resume: whether to continue a stopped ladder.
        device: "cpu", "cuda" or None for automatic.
        validation: folder of validation pictures; None holds pictures out of `data`.
        cache: file to keep decoded pictures in; None keeps them in memory.
    Returns:
        Folder of the adapters.
    Raises:
        UsageError: `out` has an earlier ladder, or the neighbour of a rate is not finished.
    """
    order, starts = _plan(config)
    unknown = set(only) - set(config.rates)
    if unknown:
        raise UsageError(f"rate {min(unknown)} is not in this ladder: {list(config.rates)}")
    if not resume and not only and any(out.glob(f"rate-*/{STATE_FILE}")):
        raise UsageError(f"{out} holds an earlier ladder; add --resume or choose another folder")
    prompts = out / "prompts"
    open_once = functools.cache(open_pictures)  # all rates train on the same ones
    began = time.monotonic()
    if config.minutes is not None:  # before the time is parted: the first rate would pay for it
        open_once(
            data,
            config.prompts.data,
            device="cuda" if on_gpu(device) else "cpu",
            validation=validation,
            cache=cache,
        )
    chosen = [pair for pair in order if not only or pair[0] in only]
    batch, steps = None, 0
    for number, (rate, neighbour) in enumerate(chosen):
        start, budget = starts.get(rate), None
        if config.minutes is not None:
            budget = Budget(
                60.0 * config.minutes,
                parts=len(chosen) - number,
                validation_pictures=config.prompts.data.validation_pictures,
                batch=batch,
                steps=steps,
                began=began,
            )
        if config.progressive and neighbour is not None:
            start = prompts / f"rate-{neighbour}"
            if not (start / ADAPTER_CONFIG).is_file():
                raise UsageError(f"rate {rate} starts from rate {neighbour}: train that one first")
        run = replace(config.prompts, rate_index=rate, init_from=start and str(start))
        if not _finished(prompts / f"rate-{rate}", run, timed=budget is not None):
            logger.warning("rate %d of %s, from %s", rate, list(config.rates), start or "the base")
            folder = run_training(
                RateAdapterTask(run, cache=cache, open_pictures=open_once),
                data=data,
                out=out / f"rate-{rate}",
                resume=(out / f"rate-{rate}" / STATE_FILE).exists(),
                device=device,
                validation=validation,
                budget=budget,
            )
            if PartialState().is_main_process:
                _keep(folder, prompts / f"rate-{rate}")
            PartialState().wait_for_everyone()
        record = read_record(prompts / f"rate-{rate}")
        batch, steps = record["recipe"]["batch"], record["steps"]
    return prompts


def _plan(config: LadderConfig) -> tuple[list[tuple[int, int | None]], dict[int, Path]]:
    """Rates in the order of training, each with its neighbour, and starts of other ladders."""
    if config.init_from is not None:
        folders = find_prompts(config.init_from, base=config.prompts.base)
        starts = {read_adapter_config(folder).rate_index: folder for folder in folders}
        if missing := sorted(set(config.rates) - set(starts)):
            raise UsageError(
                f"{config.init_from} has no adapter of rate {missing[0]}: choose among "
                f"{', '.join(map(str, sorted(starts)))}"
            )
        return [(rate, None) for rate in sorted(config.rates)], starts
    own = read_base(find_base(config.prompts.base)).config.rate_index
    anchor = own if config.anchor is None else config.anchor
    if anchor not in config.rates:
        raise ConfigError(f"the base is of rate {anchor}, none of the rates; give an anchor")
    return order_of(config.rates, anchor=anchor), {}


def _finished(folder: Path, run: RateAdapterConfig, *, timed: bool) -> bool:
    """Whether the adapter of this run is finished.

    Raises:
        UsageError: the folder has the adapter of another recipe.
    """
    if not (folder / TRAINING_FILE).is_file():
        return False
    if not same_run(folder, run, timed=timed):
        raise UsageError(
            f"{folder} was trained by another recipe or from another start; choose another output "
            "folder"
        )
    return True


def _keep(folder: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    # The record is copied last: an adapter with it is finished.
    for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG, TRAINING_FILE):
        write_atomically(into / name, (folder / name).read_bytes(), force=True)
    shutil.rmtree(folder)

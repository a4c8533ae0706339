"""Defaults of a run: rate, start and pictures."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptcodec.coding.adapter_file import read_adapter_config
from promptcodec.config import LAMBDAS
from promptcodec.errors import UsageError
from promptcodec.io.checkpoints import find_prompts
from promptcodec.training.config import read_recipe
from promptcodec.training.rate_adapter import RateAdapterConfig, can_start
from promptcodec.training.record import read_record

logger = logging.getLogger(__name__)


def resolve_run(
    recipe: Path | None,
    *,
    lmbda: float | None,
    rate_index: int | None,
    base: str | None,
    init_from: str | None,
    data: Path | None,
) -> tuple[RateAdapterConfig, Path]:
    """Fill in missing arguments: nearest rate, nearest trained neighbour, sample pictures.

    Args:
        recipe: YAML file; None is the defaults, with the form of the adapter to start from, so
            that rates between the two fit.
        lmbda: rate-distortion weight; None is that of `rate_index`.
        rate_index: position of the adapter; None is the nearest to `lmbda`.
        base: base as in `find_base`; None is that of the recipe.
        init_from: adapter to start from; "none" is the base alone, None the nearest installed one.
        data: training pictures; None is the two samples of the package, with a warning.
    Raises:
        UsageError: lmbda, rate_index and recipe are all missing.
    """
    config = read_recipe(recipe, RateAdapterConfig) if recipe is not None else RateAdapterConfig()
    if recipe is None and lmbda is None and rate_index is None:
        raise UsageError("no rate given: add --lambda, --rate-index or --recipe")
    if lmbda is not None:
        if not 0.0 < lmbda < math.inf:
            raise UsageError(f"lambda is {lmbda}; need a positive number, such as 0.0067")
        rate_index = nearest_rate(lmbda) if rate_index is None else rate_index
    config = replace(
        config,
        base=config.base if base is None else base,
        rate_index=config.rate_index if rate_index is None else rate_index,
        lmbda=lmbda if lmbda is not None or rate_index is not None else config.lmbda,
    )
    if init_from is not None:
        config = replace(config, init_from=None if init_from == "none" else init_from)
    elif config.init_from is None:
        folders = [
            folder
            for folder in find_prompts(None, base=config.base)
            if recipe is None or can_start(read_adapter_config(folder), config)
        ]
        start = nearest_adapter(folders, lmbda=config.rate_weight)
        config = replace(config, init_from=start and str(start))
    if recipe is None and config.init_from is not None:
        config = like(config, Path(config.init_from))
    if data is None:
        data = Path(__file__).resolve().parents[1] / "io" / "assets"
        logger.warning(
            "no --data and no $PROMPTCODEC_DATA: training on the sample pictures, which is a trial "
            "and no useful adapter"
        )
        config = replace(config, data=replace(config.data, validation_pictures=1))
    logger.warning(
        "rate %d, lambda %g, from %s",
        config.rate_index,
        config.rate_weight,
        config.init_from or "the base alone",
    )
    return config, data


def like(config: RateAdapterConfig, folder: Path) -> RateAdapterConfig:
    """A run with the width and ranks of an adapter, and its trained parts and sides on record."""
    own = read_adapter_config(folder)
    form: dict[str, Any] = {"width": own.width, "rank": own.rank, "block_rank": own.block_rank}
    with suppress(OSError, ValueError, KeyError):  # no record, or one of another kind of run
        known = read_record(folder)["recipe"]
        form |= {name: tuple(known[name]) for name in ("parts", "sides")}
    return replace(config, **form)


def nearest_rate(lmbda: float) -> int:
    """Rate index whose lambda is nearest, by ratio."""
    return min(range(len(LAMBDAS)), key=lambda index: abs(math.log(LAMBDAS[index] / lmbda)))


def nearest_adapter(folders: Sequence[Path], *, lmbda: float) -> Path | None:
    """The adapter of the nearest lambda, by ratio; None without adapters."""
    return min(
        folders,
        key=lambda folder: abs(math.log(read_adapter_config(folder).lmbda / lmbda)),
        default=None,
    )

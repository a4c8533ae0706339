"""Adapters of a ladder for other weights of the distortion."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

from promptcodec.coding.adapter import RateAdapter
from promptcodec.training.rate_adapter import rescale_gains


def rescale_adapter(
    adapter: RateAdapter, ladder: Sequence[RateAdapter], *, beta: float
) -> RateAdapter:
    """An adapter for beta times the lambda of one.

    The initial networks are those of the nearest lambda of the ladder: networks of a higher rate,
    quantised more coarsely, lose more than those of a low rate. The gains are rescaled by half the
    logarithm of the ratio, as at the start of a ladder.

    Args:
        adapter: adapter of the rate.
        ladder: all adapters.
        beta: factor on lambda, above 0.
    """
    lmbda = beta * adapter.config.lmbda
    nearest = min(ladder, key=lambda each: abs(math.log(each.config.lmbda / lmbda)))
    prompts = copy.deepcopy(nearest.network)
    rescale_gains(prompts, known=nearest.config.lmbda, lmbda=lmbda)
    config = replace(nearest.config, rate_index=adapter.config.rate_index, lmbda=lmbda)
    return replace(nearest, config=config, network=prompts, gains=prompts.gains())

"""The rates that are installed, and every rate between two of them.

A bank never changes: adding a rate makes another one, and whoever holds the old one goes on with
it. So threads may share a bank while adapters are swapped. An adapter that was replaced is kept:
streams that were written with it still decode.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from promptcodec.bitstream import HASH_BYTES, RATE_STEPS
from promptcodec.coding.entropy.z_tables import ZTables
from promptcodec.coding.gains import Gains
from promptcodec.errors import ModelMismatchError, RateError
from promptcodec.models.adapters.checkpoint import RateAdapter
from promptcodec.models.codec_model import Adapter

LogGains = NDArray[np.int16]


@dataclass(frozen=True)
class RatePoint:
    """What one position of the ladder adds to the base.

    Args:
        prompts: networks; of one adapter, or between two; None is the base alone.
        gains: integer log-gains.
        lmbda: rate-distortion weight.
        hashes: of the adapters it is made of, lower one first; what a stream carries.
        z_sets: tables of z of the nearer one, of the lower in the middle; none is the base's.
    """

    prompts: Adapter | None
    gains: Gains
    lmbda: float
    hashes: tuple[bytes, ...]
    z_sets: tuple[ZTables, ...] = ()


@dataclass(frozen=True)
class Bank:
    """Installed adapters of one base.

    Args:
        adapters: by rate index; what is written with.
        known: every adapter that was ever installed, by the part of its hash that streams carry.
    """

    adapters: MappingProxyType[int, RateAdapter] = field(
        default_factory=lambda: MappingProxyType({})
    )
    known: MappingProxyType[bytes, RateAdapter] = field(
        default_factory=lambda: MappingProxyType({})
    )

    def with_adapter(self, adapter: RateAdapter) -> Bank:
        """A bank that has `adapter` too, in the place of the one of its rate."""
        adapters = {**self.adapters, adapter.config.rate_index: adapter}
        known = {**self.known, adapter.sha256[:HASH_BYTES]: adapter}
        return Bank(MappingProxyType(dict(sorted(adapters.items()))), MappingProxyType(known))

    def covers(self, rate: int) -> bool:
        """Whether a position, in 1/4096 of an index, is an adapter's or lies between two."""
        places = [index * RATE_STEPS for index in self.adapters]
        return bool(places) and min(places) <= rate <= max(places)

    def at(self, rate: int) -> RatePoint:
        """The adapter of a rate, or the one between its neighbours.

        Args:
            rate: position in 1/4096 of an index, as in the header of a stream.
        Raises:
            RateError: outside what is installed.
        """
        index, rest = divmod(rate, RATE_STEPS)
        if not rest and index in self.adapters:
            return _alone(self.adapters[index])
        below = [i for i in self.adapters if i * RATE_STEPS < rate]
        above = [i for i in self.adapters if i * RATE_STEPS > rate]
        if not below or not above:
            known = ", ".join(map(str, self.adapters)) or "none"
            raise RateError(
                f"rate index {rate / RATE_STEPS:g} is not installed and lies between no two that "
                f"are; installed: {known}"
            )
        return _blend(self.adapters[max(below)], self.adapters[min(above)], rate)

    def of_stream(self, hashes: tuple[bytes, ...], rate: int) -> RatePoint:
        """What a stream was written with.

        Args:
            hashes: one or two, as the header carries them, the lower adapter first.
            rate: position in 1/4096 of an index.
        Raises:
            ModelMismatchError: one of them was never installed, or the rate is not theirs.
        """
        for digest in hashes:
            if digest not in self.known:
                installed = ", ".join(each.hex() for each in self.known) or "none"
                raise ModelMismatchError(
                    f"the stream was written at rate {rate / RATE_STEPS:g} with rate adapter "
                    f"{digest.hex()}, which is not installed (there: {installed}): load the folder "
                    "of that adapter with `--prompts` (in Python `add_prompts`)"
                )
        found = [self.known[digest] for digest in hashes]
        ends = [adapter.config.rate_index * RATE_STEPS for adapter in found]
        if len(found) == 1 and rate == ends[0]:
            return _alone(found[0])
        if len(found) == 2 and ends[0] < rate < ends[1]:
            return _blend(found[0], found[1], rate)
        raise ModelMismatchError(
            f"the stream says rate {rate / RATE_STEPS:g} and names adapters of rate "
            f"{' and '.join(str(a.config.rate_index) for a in found)}: it was written by a faulty "
            "encoder; encode the picture again"
        )


def _blend(low: RateAdapter, high: RateAdapter, rate: int) -> RatePoint:
    start, end = (adapter.config.rate_index * RATE_STEPS for adapter in (low, high))
    return _between(low, high, (rate - start, end - start))


def _alone(adapter: RateAdapter) -> RatePoint:
    return RatePoint(
        adapter.prompts,
        adapter.gains,
        adapter.config.lmbda,
        hashes=(adapter.sha256,),
        z_sets=adapter.z_sets,
    )


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is kept from coding must also serve a refinement
def _between(low: RateAdapter, high: RateAdapter, share: tuple[int, int]) -> RatePoint:
    """Networks in a line, gains and lambda in a line of their logarithms, the nearer one's tables.

    Args:
        low: adapter below.
        high: adapter above.
        share: numerator and denominator of the way from `low` to `high`.
    Raises:
        RateError: two networks of different width or rank.
    """
    if (low.config.width, low.config.rank) != (high.config.width, high.config.rank):
        raise RateError(
            f"adapters {low.config.rate_index} and {high.config.rate_index} differ in width or "
            "rank: only their own rates can be used"
        )
    part = share[0] / share[1]
    gains = Gains(_mix_integers(low.gains.log_gains, high.gains.log_gains, share))
    upper = high.prompts.state_dict()
    state = {
        name: torch.lerp(value, upper[name], part)
        for name, value in low.prompts.state_dict().items()
    }
    with torch.device("meta"):
        prompts = low.prompts.empty_like()
    prompts.load_state_dict(state, assign=True)
    lmbda = low.config.lmbda ** (1.0 - part) * high.config.lmbda**part
    nearer = low if 2 * share[0] <= share[1] else high
    return RatePoint(
        prompts.requires_grad_(False).eval(),
        gains,
        lmbda,
        hashes=(low.sha256, high.sha256),
        z_sets=nearer.z_sets,
    )


def _mix_integers(low: LogGains, high: LogGains, share: tuple[int, int]) -> LogGains:
    """Log-gains between two, rounded half up; integers, so that every machine agrees."""
    numerator, denominator = share
    total = low.astype(np.int64) * (denominator - numerator) + high.astype(np.int64) * numerator
    return ((total + denominator // 2) // denominator).astype(np.int16)

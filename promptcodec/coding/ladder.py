"""Positions of a codec: those of its adapters, between two of them, or the base alone.

A ladder is immutable; `with_adapters` makes another one. An encoding keeps the ladder it began
with. Replaced adapters stay available to decode the streams that were written with them. The
adapters of a pack are a ladder of their own, without the base alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec import bitstream
from promptcodec.bitstream import HASH_BYTES, RATE_STEPS, Container, Header
from promptcodec.coding.adapter import RateAdapter, RatePoint
from promptcodec.coding.engine import Engine
from promptcodec.coding.gains import Gains
from promptcodec.coding.packs import pack_of
from promptcodec.coding.results import Rate
from promptcodec.coding.settings import shown
from promptcodec.config import LAMBDAS
from promptcodec.errors import ModelMismatchError, RateError, StreamError, UsageError
from promptcodec.io.packs import packs_beside_bundled

MAX_GAIN_STEPS = 24.0

LogGains = NDArray[np.int16]


def gain_to_fixed(gain_steps: float) -> int:
    """Gain steps in the fixed point of the header.

    Raises:
        UsageError: the value is no number, or is too large.
    """
    if not abs(gain_steps) <= MAX_GAIN_STEPS:
        raise UsageError(f"gain_steps is {gain_steps}; need {-MAX_GAIN_STEPS} to {MAX_GAIN_STEPS}")
    return round(gain_steps * bitstream.GAIN_STEPS)


@dataclass(frozen=True)
class Ladder:
    """A base and the adapters that are installed for it.

    Args:
        engine: networks of the base.
        adapters: adapters for writing, by rate index.
        known: all adapters ever installed, for reading, by the part of the hash in streams.
        pack: name of the pack that it is; None is the ladder of the codec.
    """

    engine: Engine
    adapters: MappingProxyType[int, RateAdapter] = field(
        default_factory=lambda: MappingProxyType({})
    )
    known: MappingProxyType[bytes, RateAdapter] = field(
        default_factory=lambda: MappingProxyType({})
    )
    pack: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Plain dicts: read-only ones cannot be pickled."""
        return _restored, (self.engine, dict(self.adapters), dict(self.known), self.pack)

    @property
    def indexes(self) -> list[int]:
        """Rate indexes of the adapters; that of the base if there are none."""
        return list(self.adapters) or [self.engine.config.rate_index]

    def with_adapters(self, adapters: Iterable[RateAdapter]) -> Ladder:
        """A ladder with these adapters added; each replaces the one of its rate."""
        adapters = list(adapters)
        by_rate = {**self.adapters, **{each.config.rate_index: each for each in adapters}}
        adapted = MappingProxyType(dict(sorted(by_rate.items())))
        return replace(self.with_known(adapters), adapters=adapted)

    def with_known(self, adapters: Iterable[RateAdapter]) -> Ladder:
        """A ladder that reads the streams of these adapters as well, and writes none."""
        known = {**self.known, **{each.sha256[:HASH_BYTES]: each for each in adapters}}
        return replace(self, known=MappingProxyType(known))

    def rates(self) -> tuple[Rate, ...]:
        """Rates that can be written, lowest first."""
        config = self.engine.config
        found = [Rate(a.config.rate_index, a.config.lmbda) for a in self.adapters.values()]
        if self._is_base(self._own):
            found.append(Rate(config.rate_index, config.lmbda))  # the base alone
        return tuple(sorted(found, key=lambda rate: rate.index))

    def position(self, rate_index: float | None) -> int:
        """A rate index in the fixed point of the header, 1/4096; None is that of the base.

        Raises:
            RateError: the rate is not installed.
        """
        index = self.engine.config.rate_index if rate_index is None else rate_index
        try:
            rate = bitstream.rate_to_fixed(float(index))
        except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: of torch
            rate = -1
        if rate >= 0 and (self._covers(rate) or self._is_base(rate)):
            self.at(rate)  # raises if two adapters cannot be interpolated
        elif self.pack is not None:
            raise RateError(self._outside(shown(index)))
        else:
            known = ", ".join(f"{each.index:g}" for each in self.rates())
            hint = "choose one of these, or a number between two adapters"
            whole, rest = divmod(rate, RATE_STEPS)
            if rest == 0 and whole in range(len(LAMBDAS)):
                hint = f"train it with `promptcodec train-prompt --rate-index {whole}`"
            raise RateError(
                f"rate index {shown(index)} is not installed; installed: {known}; {hint}"
            )
        return rate

    def has(self, rate: int) -> bool:
        """Whether a position, in 1/4096 of an index, can be written."""
        try:
            self.at(rate)
        except RateError:
            return False
        return True

    def at(self, rate: int) -> RatePoint:
        """Point of a position: an adapter, a mean of two neighbours, or the base alone.

        Args:
            rate: position in 1/4096 of an index, as in the header of a stream.
        Raises:
            RateError: the position is neither installed nor between two that are.
        """
        if self._is_base(rate):
            return self.base()
        index, rest = divmod(rate, RATE_STEPS)
        if not rest and index in self.adapters:
            return replace(_alone(self.adapters[index]), pack=self.pack)
        below = [i for i in self.adapters if i * RATE_STEPS < rate]
        above = [i for i in self.adapters if i * RATE_STEPS > rate]
        if not below or not above:
            known = ", ".join(map(str, self.adapters)) or "none"
            raise RateError(
                f"rate index {rate / RATE_STEPS:g} is not installed and lies between no two that "
                f"are; installed: {known}"
            )
        point = self._between(self.adapters[max(below)], self.adapters[min(above)], rate)
        return replace(point, pack=self.pack)

    def of_stream(self, header: Header | Container) -> RatePoint:
        """Point that a stream was coded at.

        Raises:
            ModelMismatchError: an adapter was never installed, or the rate is not that of the
                adapters.
            StreamError: the profile requires tables that the adapter does not have.
        """
        hashes = header.adapter_hashes
        point = self._of_hashes(hashes, header.rate) if hashes else self.base()
        if header.profile == bitstream.BASE_TABLES:
            return replace(point, z_sets=())
        if not point.z_sets:
            raise StreamError(
                f"the stream has numerics profile {header.profile}, and its rate adapter has no "
                "tables of its own: it was written by a faulty encoder; encode the picture again"
            )
        return point

    def base(self) -> RatePoint:
        """The base alone."""
        config = self.engine.config
        return RatePoint(None, Gains.constant(config.codec.latent_channels), config.lmbda, ())

    def _of_hashes(self, hashes: tuple[bytes, ...], rate: int) -> RatePoint:
        for digest in hashes:
            if digest not in self.known:
                installed = ", ".join(each.hex() for each in self.known) or "none"
                pack = pack_of([digest], packs_beside_bundled())
                remedy = (
                    "load the folder of that adapter with `--prompts` (in Python `add_prompts`), "
                    "or its pack with `--packs`"
                    if pack is None
                    else f"it is of pack {pack.name!r}: add `--packs {pack.folder}` (in Python "
                    "`packs`)"
                )
                raise ModelMismatchError(
                    f"the stream was written at rate {rate / RATE_STEPS:g} with rate adapter "
                    f"{digest.hex()}, which is not installed (there: {installed}): {remedy}"
                )
        found = [self.known[digest] for digest in hashes]
        ends = [adapter.config.rate_index * RATE_STEPS for adapter in found]
        if len(found) == 1 and rate == ends[0]:
            return _alone(found[0])
        if len(found) == 2 and ends[0] < rate < ends[1]:
            return self._between(found[0], found[1], rate)
        raise ModelMismatchError(
            f"the stream has rate {rate / RATE_STEPS:g} and adapters of rate "
            f"{' and '.join(str(a.config.rate_index) for a in found)}: it was written by a faulty "
            "encoder; encode the picture again"
        )

    def _between(self, low: RateAdapter, high: RateAdapter, rate: int) -> RatePoint:
        """Networks, log-gains and log lambda interpolated; tables of the nearer adapter.

        Raises:
            RateError: the networks differ in width, a rank or the metric of their training.
        """
        if (low.config.shape, low.config.metric) != (high.config.shape, high.config.metric):
            raise RateError(
                f"adapters {low.config.rate_index} and {high.config.rate_index} differ in width, "
                "ranks or metric: only their own rates can be used"
            )
        start, end = (adapter.config.rate_index * RATE_STEPS for adapter in (low, high))
        way, whole = rate - start, end - start
        part = way / whole
        nearer = low if 2 * way <= whole else high
        return RatePoint(
            self.engine.between(low.network, high.network, part),
            Gains(_mix_integers(low.gains.log_gains, high.gains.log_gains, way, whole)),
            low.config.lmbda ** (1.0 - part) * high.config.lmbda**part,
            hashes=(low.sha256, high.sha256),
            z_sets=nearer.z_sets,
        )

    def _covers(self, rate: int) -> bool:
        """Whether a position, in 1/4096 of an index, is that of an adapter or between two."""
        places = [index * RATE_STEPS for index in self.adapters]
        return bool(places) and min(places) <= rate <= max(places)

    def _is_base(self, rate: int) -> bool:
        """Whether a position is that of the base alone."""
        return self.pack is None and rate == self._own and not self._covers(rate)

    def _outside(self, index: str) -> str:
        """Message that a pack does not serve a rate."""
        known = ", ".join(map(str, self.adapters))
        also = " and all between" if len(self.adapters) > 1 else ""
        return (
            f"rate index {index} is outside pack {self.pack!r}, which has {known}{also}: choose "
            "one of these, or leave the pack out"
        )

    @property
    def _own(self) -> int:
        return bitstream.rate_to_fixed(self.engine.config.rate_index)


def _restored(
    engine: Engine,
    adapters: dict[int, RateAdapter],
    known: dict[bytes, RateAdapter],
    pack: str | None,
) -> Ladder:
    return Ladder(engine, MappingProxyType(adapters), MappingProxyType(known), pack)


def _alone(adapter: RateAdapter) -> RatePoint:
    return RatePoint(
        adapter.network,
        adapter.gains,
        adapter.config.lmbda,
        hashes=(adapter.sha256,),
        z_sets=adapter.z_sets,
    )


def _mix_integers(low: LogGains, high: LogGains, way: int, whole: int) -> LogGains:
    """Log-gains at `way` of `whole`, rounded half up; in integers, exact on any machine."""
    total = low.astype(np.int64) * (whole - way) + high.astype(np.int64) * way
    return ((total + whole // 2) // whole).astype(np.int16)

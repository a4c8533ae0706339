"""Where a codec can write and read: at its adapters, between two of them, by the base alone.

A ladder never changes; `with_adapters` makes another one. Whoever is coding goes on with the one
that was there when it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from promptcodec import bitstream
from promptcodec.bitstream import Container, Header
from promptcodec.coding.gains import Gains
from promptcodec.coding.results import Rate
from promptcodec.config import LAMBDAS, BaseConfig
from promptcodec.errors import RateError, StreamError, UsageError
from promptcodec.models.adapters.checkpoint import RateAdapter
from promptcodec.models.adapters.interpolation import Bank, RatePoint
from promptcodec.models.codec_model import AdapterSlot, CodecModel

MAX_GAIN_STEPS = 24.0


def gain_to_fixed(gain_steps: float) -> int:
    """Gain steps as the header has them.

    Raises:
        UsageError: no number, or too large a one.
    """
    if not abs(gain_steps) <= MAX_GAIN_STEPS:
        raise UsageError(f"gain_steps is {gain_steps}; need {-MAX_GAIN_STEPS} to {MAX_GAIN_STEPS}")
    return round(gain_steps * bitstream.GAIN_STEPS)


@dataclass(frozen=True)
class Ladder:
    """A base and the adapters that are installed for it.

    Args:
        model: the base's.
        config: the base's.
        bank: of the adapters.
    """

    model: CodecModel
    config: BaseConfig
    bank: Bank = field(default_factory=Bank)

    @property
    def adapters(self) -> MappingProxyType[int, RateAdapter]:
        """What is written with, by rate index."""
        return self.bank.adapters

    @property
    def indexes(self) -> list[int]:
        """Rate indexes of the adapters; the base's own where there is none."""
        return list(self.adapters) or [self.config.rate_index]

    def with_adapters(self, adapters: Sequence[RateAdapter]) -> Ladder:
        """A ladder that has these too, each in the place of the one of its rate."""
        bank = self.bank
        for adapter in adapters:
            bank = bank.with_adapter(adapter)
        return replace(self, bank=bank)

    def rates(self) -> tuple[Rate, ...]:
        """Rates that can be written, lowest first."""
        found = [Rate(a.config.rate_index, a.config.lmbda) for a in self.adapters.values()]
        if not self.bank.covers(self._own):
            found.append(Rate(self.config.rate_index, self.config.lmbda))  # the base alone
        return tuple(sorted(found, key=lambda rate: rate.index))

    def position(self, rate_index: float | None) -> int:
        """A rate index as the header has it, 1/4096, if it can be written; None is the base's own.

        Raises:
            RateError: it is not installed.
        """
        index = self.config.rate_index if rate_index is None else rate_index
        try:
            rate = bitstream.rate_to_fixed(float(index))
        except (TypeError, ValueError, OverflowError):
            rate = -1
        inside = rate >= 0 and (rate == self._own or self.bank.covers(rate))
        if inside:
            self.at(rate)  # two adapters may not go together
        else:
            known = ", ".join(f"{each.index:g}" for each in self.rates())
            hint = "choose one of these, or a number between two adapters"
            if index in range(len(LAMBDAS)):
                hint = f"train it with `promptcodec train-prompt --rate-index {int(index)}`"
            raise RateError(f"rate index {index} is not installed; installed: {known}; {hint}")
        return rate

    def at(self, rate: int) -> RatePoint:
        """What a position adds to the base.

        Args:
            rate: in 1/4096 of an index.
        Raises:
            RateError: outside what is installed.
        """
        if rate == self._own and not self.bank.covers(rate):
            return self.base()
        return self.bank.at(rate)

    def of_stream(self, header: Header | Container) -> RatePoint:
        """What a stream was written with.

        Raises:
            ModelMismatchError: an adapter that was never installed.
            StreamError: it was coded with tables that its adapter does not have.
        """
        hashes = header.adapter_hashes
        point = self.bank.of_stream(hashes, header.rate) if hashes else self.base()
        if header.profile == bitstream.BASE_TABLES:
            return replace(point, z_sets=())
        if not point.z_sets:
            raise StreamError(
                f"the stream has numerics profile {header.profile}, and its rate adapter has no "
                "tables of its own: it was written by a faulty encoder; encode the picture again"
            )
        return point

    def base(self) -> RatePoint:
        """The base alone.

        Raises:
            UsageError: a library has put an adapter into its model.
        """
        if type(self.model.adapter_slot) is not AdapterSlot:
            raise UsageError(
                "a library has put an adapter into this codec's model, so the base alone cannot be "
                "coded with it: give that library a model of its own, by `read_base`"
            )
        gains = Gains.constant(self.config.codec.latent_channels)
        return RatePoint(None, gains, self.config.lmbda, ())

    @property
    def _own(self) -> int:
        return bitstream.rate_to_fixed(self.config.rate_index)

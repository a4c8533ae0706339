"""A base with the rates that are installed for it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from promptcodec.coding.adapter import RatePoint
from promptcodec.coding.engine import Engine
from promptcodec.coding.ladder import Ladder
from promptcodec.coding.results import Rate
from promptcodec.config import BaseConfig
from promptcodec.errors import UsageError
from promptcodec.io.hub import PromptsSource, find_prompts


class LoadedBase:
    """A base codec and its rates, safe to share among threads.

    Only `add_prompts` changes it, in one step: who is coding meanwhile goes on with the rates that
    were there.

    Args:
        engine: networks of the base.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._ladder = Ladder(engine)
        self._adding = threading.Lock()

    @property
    def config(self) -> BaseConfig:
        """Architecture and rate of the base."""
        return self.engine.config

    @property
    def base_hash(self) -> bytes:
        """Hash of the base, 32 bytes; streams and adapters name it."""
        return self.engine.base_hash

    @property
    def rates(self) -> tuple[Rate, ...]:
        """Positions that can be written, lowest first; any position between two adapters too."""
        return self._ladder.rates()

    @property
    def ladder(self) -> Ladder:
        """Everything that can be written and read at; what is installed later is not in it."""
        return self._ladder

    def at(self, rate_index: float | None = None) -> RatePoint:
        """What a rate adds to the base: networks, gains, lambda.

        Args:
            rate_index: position on the ladder, as `encode` has it.
        Raises:
            RateError: that rate is not installed.
        """
        ladder = self._ladder
        return ladder.at(ladder.position(rate_index))

    def add_prompts(self, prompts: PromptsSource) -> None:
        """Install adapters while the codec is in use; one of a rate that is there replaces it.

        Streams that were written with a replaced adapter still decode.

        Args:
            prompts: an adapter, a folder of adapters, a Hub id of either, several of these, or a
                dict of them by rate index.
        Raises:
            CheckpointError: no usable adapter there; none is installed then.
            ModelMismatchError: an adapter of another base.
            UsageError: a dict that names an adapter by another rate index than its own.
        """
        self.install(prompts, find_prompts(prompts, base=""))

    def install(self, prompts: PromptsSource | None, folders: Sequence[Path]) -> None:
        """Install the adapters in folders, which were found for `prompts`; see `add_prompts`."""
        adapters = [self.engine.read_adapter(folder) for folder in folders]
        if isinstance(prompts, Mapping):
            found = [adapter.config.rate_index for adapter in adapters]
            if list(prompts) != found:
                raise UsageError(
                    f"prompts are given for rates {', '.join(map(str, prompts))}, and the folders "
                    f"hold {', '.join(map(str, found))}: name each adapter by its own rate index"
                )
        with self._adding:
            self._ladder = self._ladder.with_adapters(adapters)

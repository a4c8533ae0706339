"""A base with its installed rates."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from promptcodec.coding.adapter import RatePoint
from promptcodec.coding.engine import Engine
from promptcodec.coding.ladder import Ladder
from promptcodec.coding.results import Rate
from promptcodec.config import BaseConfig
from promptcodec.errors import UsageError
from promptcodec.io.checkpoints import PromptsSource, find_prompts


class LoadedBase:
    """A base codec and its rates, safe to share among threads.

    Only `add_prompts` changes it, atomically: an encoding under way keeps the rates it began with.

    Args:
        engine: networks of the base.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._ladder = Ladder(engine)
        self._adding = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by value, also for deep copies and workers.

        The state is turned into bytes here. Left to multiprocessing, torch would share memory
        instead: one file descriptor for each tensor, valid as long as the sender runs.
        """
        state = {name: value for name, value in vars(self).items() if name != "_adding"}
        return _restored, (type(self), pickle.dumps(state))

    @property
    def config(self) -> BaseConfig:
        """Architecture and rate of the base."""
        return self.engine.config

    @property
    def base_hash(self) -> bytes:
        """Hash of the base, 32 bytes; it is in streams and adapters."""
        return self.engine.base_hash

    @property
    def rates(self) -> tuple[Rate, ...]:
        """Positions that can be written, lowest first; any position between two adapters too."""
        return self._ladder.rates()

    @property
    def ladder(self) -> Ladder:
        """Current positions for writing and reading; immutable."""
        return self._ladder

    def at(self, rate_index: float | None = None) -> RatePoint:
        """Point of a rate: networks, gains, lambda.

        Args:
            rate_index: position on the ladder, as in `encode`.
        Raises:
            RateError: the rate is not installed.
        """
        ladder = self._ladder
        return ladder.at(ladder.position(rate_index))

    def add_prompts(self, prompts: PromptsSource) -> None:
        """Install adapters while the codec is in use; each replaces the one of its rate.

        Streams that were written with a replaced adapter still decode.

        Args:
            prompts: an adapter, a folder of adapters, the folder of a codec, a Hub id of any,
                several of these, or a dict of them by rate index.
        Raises:
            CheckpointError: an adapter is missing or unusable; none is installed then.
            ModelMismatchError: an adapter belongs to another base.
            UsageError: a key of a dict is not the rate index of its adapter.
        """
        self.install(prompts, find_prompts(() if prompts is None else prompts))

    def install(self, prompts: PromptsSource | None, folders: Sequence[Path]) -> None:
        """Install the adapters in `folders`, found for `prompts`; see `add_prompts`."""
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


Kind = TypeVar("Kind", bound=LoadedBase)


def _restored(kind: type[Kind], state: bytes) -> Kind:
    """Rebuild a codec from its pickled state."""
    torch = sys.modules.get("torch")
    # Refinement needs gradients, which tensors made in inference mode cannot have.
    with nullcontext() if torch is None else torch.inference_mode(False):
        values = pickle.loads(state)
    codec = kind.__new__(kind)
    vars(codec).update(values, _adding=threading.Lock())
    return codec

"""A base with its installed rates."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from promptcodec.coding.adapter import RatePoint
from promptcodec.coding.engine import Engine
from promptcodec.coding.ladder import Ladder
from promptcodec.coding.results import Rate
from promptcodec.coding.settings import EncodeSettings
from promptcodec.config import BaseConfig
from promptcodec.errors import RateError, UsageError
from promptcodec.io.checkpoints import PromptsSource, find_prompts
from promptcodec.io.packs import AUTO, BEST, StoredPack


class LoadedBase:
    """A base codec and its rates, safe to share among threads.

    Only `add_prompts` and `install_packs` change it, atomically: an encoding under way keeps the
    rates it began with.

    Args:
        engine: networks of the base.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._ladder = Ladder(engine)
        self._packs: dict[str, Ladder] = {}  # never changed, but replaced
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

    @property
    def packs(self) -> dict[str, tuple[Rate, ...]]:
        """Rates of the loaded packs, by name; any position between two of a pack too."""
        return {name: ladder.rates() for name, ladder in self._packs.items()}

    def at(self, rate_index: float | None = None) -> RatePoint:
        """Point of a rate: networks, gains, lambda.

        Args:
            rate_index: position on the ladder, as in `encode`.
        Raises:
            RateError: the rate is not installed.
        """
        ladder = self._ladder
        return ladder.at(ladder.position(rate_index))

    def ladders_for(self, settings: EncodeSettings) -> list[Ladder]:
        """Ladders that pictures may be coded with, the codec's own first; one but for a choice.

        Raises:
            RateError: none has the rate.
            UsageError: the pack is not loaded, or there is none to choose from.
        """
        packs, pack = self._packs, settings.pack
        choice = pack in (AUTO, BEST)
        if choice and not packs:
            raise UsageError(
                f"pack is {pack!r}, but no pack of this base is loaded: name a folder of packs by "
                "`--packs` (in Python `packs` of `Codec.load`), or leave the option out"
            )
        if pack is not None and not choice and pack not in packs:
            raise UsageError(
                f"pack {pack!r} is not loaded (there: {', '.join(packs) or 'none'}): choose one of "
                "these, or name its folder by `--packs` (in Python `packs` of `Codec.load`)"
            )
        named = self._ladder if pack is None or choice else packs[pack]
        ladders = [named, *(packs.values() if choice else ())]
        if settings.target is not None:
            return ladders
        found, refusals = [], []
        for ladder in ladders:
            try:
                ladder.position(settings.rate_index)
            except RateError as error:
                refusals.append(error)
            else:
                found.append(ladder)
        if not found:
            raise refusals[0]
        return found

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

    def install_packs(self, packs: Sequence[StoredPack]) -> None:
        """Install packs, each beside the ladder; one of the same name is replaced.

        Raises:
            CheckpointError: an adapter is unusable; no pack is installed then.
            ModelMismatchError: an adapter belongs to another base.
        """
        read = self.engine.read_adapter
        adapters = {pack.name: [read(folder) for folder in pack.adapters] for pack in packs}
        ladders = {
            name: Ladder(self.engine, pack=name).with_adapters(own)
            for name, own in adapters.items()
        }
        with self._adding:
            self._ladder = self._ladder.with_known(chain(*adapters.values()))
            self._packs = self._packs | ladders


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

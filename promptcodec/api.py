"""Public class of the codec; torch is imported when a codec is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Self, Unpack

from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.engine import EngineOptions
from promptcodec.io.hub import PromptsSource, find_prompts


class Codec(PictureCodec):
    """A base codec and its rates, safe to share among threads."""

    @classmethod
    def load(
        cls,
        base: str | Path | None = None,
        prompts: PromptsSource | None = None,
        **options: Unpack[EngineOptions],
    ) -> Self:
        """Load a base codec and the adapters of its rates.

        Args:
            base: folder of a checkpoint, or a Hub id "owner/name"; None is the bundled nano codec.
            prompts: an adapter, a folder of adapters, a Hub id of either, several of these, or a
                dict of them by rate index; None is the bundled ladder for the bundled base, and
                no adapter for another one. An empty list is the base alone.
            options: fields of `EngineOptions`: heads, tasks, device, precision, threads.
        Raises:
            CheckpointError: `base` or `prompts` has nothing usable.
            ModelMismatchError: an adapter belongs to another base.
            UsageError: device or precision is unknown, or a key of a dict is not the rate index of
                its adapter.
        Examples:
            >>> codec = Codec.load()
            >>> [rate.index for rate in codec.rates]
            [0, 1, 2, 3, 4, 5, 6, 7]
            >>> Codec.load(prompts=[]).rates[0].index
            4
        """
        from promptcodec.models.engine import TorchEngine

        codec = cls(TorchEngine.load(base, **options))
        codec.install(prompts, find_prompts(prompts, base=base))
        return codec


__all__ = ["Codec"]

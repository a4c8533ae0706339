"""A codec on numpy and ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Self, Unpack

from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.engine import EngineOptions
from promptcodec.io.hub import PromptsSource, find_prompts
from promptcodec.runtime.engine import OnnxEngine


class RuntimeCodec(PictureCodec):
    """A `PictureCodec` on an `OnnxEngine`: everything but effort, tasks and training."""

    @classmethod
    def load(
        cls,
        base: str | Path | None = None,
        prompts: PromptsSource | None = None,
        **options: Unpack[EngineOptions],
    ) -> Self:
        """Load a base codec and the adapters of its rates; see `promptcodec.Codec.load`."""
        codec = cls(OnnxEngine.load(base, **options))
        codec.install(prompts, find_prompts(prompts, base=base))
        return codec

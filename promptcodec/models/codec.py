"""A codec with access to its torch networks, for training, heads and measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Self, Unpack

import torch
from torch import Tensor

from promptcodec.bitstream import MAX_PIXELS
from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.engine import EngineOptions, Precision
from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.stream_reader import Source
from promptcodec.io.checkpoints import PromptsSource, find_prompts, root_of
from promptcodec.io.packs import PacksSource, find_packs
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.engine import TorchEngine
from promptcodec.models.heads.checkpoint import Head


class TorchCodec(PictureCodec):
    """A `PictureCodec` on a `TorchEngine`.

    Args:
        engine: networks of the base.
    """

    def __init__(self, engine: TorchEngine) -> None:
        super().__init__(engine)
        self.torch = engine

    @classmethod
    def load(
        cls,
        base: str | Path | None = None,
        prompts: PromptsSource | None = None,
        *,
        packs: PacksSource = (),
        **options: Unpack[EngineOptions],
    ) -> Self:
        """Load a base codec and the adapters of its rates, and packs where they are named.

        Arguments and errors are those of `promptcodec.Codec.load`.
        """
        root = root_of(base)
        codec = cls(TorchEngine.load(root, **options))
        codec.install(prompts, find_prompts(prompts, base=root))
        codec.install_packs(find_packs(packs))
        return codec

    @property
    def model(self) -> CodecModel:
        """The networks of the base, on their device."""
        return self.torch.model

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return self.torch.device

    @property
    def precision(self) -> Precision:
        """Precision of g_a and g_s."""
        return self.torch.precision

    @property
    def tables(self) -> EntropyTables:
        """Entropy tables of the base."""
        return self.engine.tables

    def latents(self, data: Source, *, max_pixels: int = MAX_PIXELS) -> Tensor:
        """y_hat of a stream, float32 (1, M, h, w), h and w multiples of 4; errors as `decode`."""
        y_hat = self.decode_latents(data, max_pixels=max_pixels).y_hat
        return torch.from_numpy(y_hat).to(self.device)

    def head(self, task: str) -> Head:
        """The head of a task, "classify" or "segment", read at its first use.

        Raises:
            CheckpointError: this codec has no such head.
            ModelMismatchError: the head belongs to another base.
        """
        return self.torch.modules.head(task)

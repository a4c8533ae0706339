"""Codec and classifier as one module, at any rate of a ladder, with task prompts or without."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from promptcodec import images
from promptcodec.adapters.store import RateAdapter
from promptcodec.adapters.task import TaskPrompts, WithTask
from promptcodec.codec.model import Adapter, CodecModel, TrainingOutput
from promptcodec.config import STRIDE


class JointModel(nn.Module):
    """Codec, head and task prompts; the rates' adapters move along, frozen.

    Args:
        codec: a base.
        head: a classifier.
        task: task prompts; None without any.
        adapters: of the rates.
    """

    adapters: dict[int, RateAdapter]

    def __init__(
        self,
        codec: CodecModel,
        head: nn.Module,
        task: TaskPrompts | None,
        *,
        adapters: dict[int, RateAdapter],
    ) -> None:
        super().__init__()
        self.codec, self.head = codec, head
        self.task = nn.Identity() if task is None else task
        object.__setattr__(self, "adapters", adapters)  # past the registry of modules

    def adapter(self, rate: int) -> Adapter:
        """What a rate adds, and the task prompts."""
        own: Adapter = self.adapters[rate].prompts
        return WithTask(own, self.task) if isinstance(self.task, TaskPrompts) else own

    def forward(self, x: Tensor, *, rate: int) -> tuple[TrainingOutput, Tensor]:
        """What the codec gives and the head's logits, (B, classes); z is rounded.

        Pictures (B, 3, H, W) are padded to multiples of 64 px, as coding does, and x_hat cropped.
        """
        output = self.codec(images.pad(x, STRIDE), round_z=True, adapter=self.adapter(rate))
        logits = self.logits(output.y_hat, rate=rate)
        assert output.x_hat is not None
        return replace(output, x_hat=images.crop(output.x_hat, *x.shape[2:])), logits

    def plain(self, x: Tensor, *, rate: int) -> tuple[TrainingOutput, Tensor]:
        """The same without quantisation, and no rate."""
        adapter = self.adapter(rate)
        y = self.codec.to_latents(images.pad(x, STRIDE), adapter)
        none = x.new_zeros(())
        x_hat = images.crop(self.codec.to_picture(y, adapter), *x.shape[2:])
        output = TrainingOutput(x_hat=x_hat, y_bits=none, z_bits=none, room_bits=none, y_hat=y)
        return output, self.logits(y, rate=rate)

    def logits(self, y_hat: Tensor, *, rate: int) -> Tensor:
        """The head on latents of a rate."""
        lmbda = y_hat.new_full((len(y_hat),), self.adapters[rate].config.lmbda)
        return self.head(y_hat, lmbda)

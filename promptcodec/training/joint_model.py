"""Codec and classifier as one module, at any rate of a ladder, with task prompts or without."""

from __future__ import annotations

from torch import Tensor, nn

from promptcodec.adapters.store import RateAdapter
from promptcodec.adapters.task import TaskPrompts, WithTask
from promptcodec.codec.model import Adapter, CodecModel, TrainingOutput


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
        """What the codec gives and the head's logits, (B, classes); z is rounded."""
        output = self.codec(x, round_z=True, adapter=self.adapter(rate))
        return output, self.logits(output.y_hat, rate=rate)

    def plain(self, x: Tensor, *, rate: int) -> tuple[TrainingOutput, Tensor]:
        """The same without quantisation, and no rate."""
        adapter = self.adapter(rate)
        y = self.codec.to_latents(x, adapter)
        none = x.new_zeros(())
        x_hat = self.codec.to_picture(y, adapter)
        output = TrainingOutput(x_hat=x_hat, y_bits=none, z_bits=none, room_bits=none, y_hat=y)
        return output, self.logits(y, rate=rate)

    def logits(self, y_hat: Tensor, *, rate: int) -> Tensor:
        """The head on latents of a rate."""
        lmbda = y_hat.new_full((len(y_hat),), self.adapters[rate].config.lmbda)
        return self.head(y_hat, lmbda)

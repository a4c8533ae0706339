"""Codec and head as one module, at any rate of a ladder, with task prompts or without."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from promptcodec.coding.adapter import RateAdapter
from promptcodec.coding.latents import inside
from promptcodec.config import TILE_STRIDE
from promptcodec.models.adapters.task_prompts import RateAndTask, TaskPrompts
from promptcodec.models.codec_model import Adapter, CodecModel, TrainingOutput
from promptcodec.models.heads.network import HeadNetwork
from promptcodec.models.tensors import crop, pad
from promptcodec.training.frozen import WithFrozen


@dataclass(frozen=True)
class HeadOutput:
    """Output of a head.

    Args:
        levels: features, (B, C, H, W), by px between two of them.
        scores: logits, (B, classes), or (B, classes, H/8, W/8) of a segmentation head.
    """

    levels: dict[int, Tensor]
    scores: Tensor


@dataclass(frozen=True)
class JointOutput:
    """Output of a forward pass.

    Args:
        codec: output of the codec, x_hat of the size of x.
        head: output of the head; None if it has not run.
    """

    codec: TrainingOutput
    head: HeadOutput | None


class JointModel(WithFrozen):
    """Codec, head and task prompts, with frozen adapters of the rates.

    Args:
        codec: model of a base.
        head: head on latents.
        task: task prompts; None has none.
        adapters: adapters by rate index.
    """

    def __init__(
        self,
        codec: CodecModel,
        head: HeadNetwork,
        task: TaskPrompts | None,
        *,
        adapters: dict[int, RateAdapter],
    ) -> None:
        super().__init__([adapter.network for adapter in adapters.values()])
        self.codec, self.head = codec, head
        self.task = nn.Identity() if task is None else task
        self.adapters = adapters

    def adapter(self, rate: int) -> Adapter:
        """Adapter of a rate, with the task prompts."""
        own: Adapter = self.adapters[rate].network
        return RateAndTask(own, self.task) if isinstance(self.task, TaskPrompts) else own

    def forward(
        self,
        x: Tensor,
        *,
        rate: int,
        plain: bool = False,
        synthesise: bool = True,
        read: bool = True,
    ) -> JointOutput:
        """Run codec and head, with z rounded.

        Args:
            x: RGB in [0, 1], (B, 3, H, W), of any size: padded to multiples of 64 px as in coding.
            rate: rate index.
            plain: whether to leave out quantisation and rate.
            synthesise: whether to run g_s.
            read: whether to run the head.
        """
        adapter, padded = self.adapter(rate), pad(x, TILE_STRIDE)
        if plain:
            y, none = self.codec.to_latents(padded, adapter), x.new_zeros(())
            x_hat = self.codec.to_picture(y, adapter) if synthesise else None
            output = TrainingOutput(
                x_hat=x_hat, y_bits=none, z_bits=none, random_gain_bits=none, y_hat=y
            )
        else:
            output = self.codec(padded, round_z=True, synthesise=synthesise, adapter=adapter)
        height, width = x.shape[2:]
        if output.x_hat is not None:
            output = replace(output, x_hat=crop(output.x_hat, height, width))
        if not read:
            return JointOutput(codec=output, head=None)
        y_hat = output.y_hat
        if not plain:
            y_hat = y_hat + (self.transmitted(padded, rate=rate) - y_hat.detach())
        found = self.read(y_hat, rate=rate, height=height, width=width)
        return JointOutput(codec=output, head=found)

    def transmitted(self, x: Tensor, *, rate: int) -> Tensor:
        """y_hat as decoded from a stream, without a gradient.

        In a training pass means come from noisy latents; a head trained on those is less accurate
        on decoded latents.
        """
        self.codec.freeze_scale_path()
        gains, adapter = self.adapters[rate].gains, self.adapter(rate)
        return self.codec.analyse(x, gains=gains, adapter=adapter).y_hat.clone()

    def read(self, y_hat: Tensor, *, rate: int, height: int, width: int) -> HeadOutput:
        """Output of the head for latents of padded pictures of a rate.

        Args:
            y_hat: latents, (B, M, h, w).
            rate: rate index.
            height: rows of the pictures in px.
            width: columns of the pictures in px.
        """
        y_hat = inside(y_hat, height=height, width=width)
        lmbda = y_hat.new_full((len(y_hat),), self.adapters[rate].config.lmbda)
        levels = self.head.levels(y_hat, lmbda)
        return HeadOutput(levels, self.head.judge(levels))

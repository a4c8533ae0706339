"""Codec and classifier as one module, at any rate of a ladder, with task prompts or without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from promptcodec.coding.adapter import RateAdapter
from promptcodec.coding.trunk import COARSE
from promptcodec.config import TILE_STRIDE
from promptcodec.models.adapters.task_prompts import RateAndTask, TaskPrompts
from promptcodec.models.codec_model import Adapter, CodecModel, TrainingOutput
from promptcodec.models.heads.classifier import LatentClassifier
from promptcodec.models.heads.trunk_heads import TrunkClassifier
from promptcodec.models.tensors import crop, pad
from promptcodec.training.distillation import FeatureProjection, split_pass
from promptcodec.training.frozen import WithFrozen


@dataclass(frozen=True)
class JointOutput:
    """Output of a forward pass.

    Args:
        codec: output of the codec.
        logits: logits of the head, (B, classes).
        features: features of the head, at 1/16 those of a Swin head, (B, width, h, w).
        apart: mean squared error of features to a teacher's, scalar; 0 without a teacher.
    """

    codec: TrainingOutput
    logits: Tensor
    features: Tensor
    apart: Tensor


class JointModel(WithFrozen):
    """Codec, head and task prompts, with frozen adapters of the rates and a teacher.

    Args:
        codec: model of a base.
        head: classifier on latents.
        task: task prompts; None has none.
        compared: px between the features of a head with stages of a trained network.
        hint: `FeatureProjection` to a teacher's features; None has no teacher.
        adapters: adapters by rate index.
        teacher: network of the teacher; None has no teacher.
    """

    def __init__(
        self,
        codec: CodecModel,
        head: LatentClassifier | TrunkClassifier,
        task: TaskPrompts | None,
        *,
        compared: int = COARSE,
        hint: FeatureProjection | None = None,
        adapters: dict[int, RateAdapter],
        teacher: nn.Module | None = None,
    ) -> None:
        networks = [adapter.network for adapter in adapters.values()]
        super().__init__(networks if teacher is None else [*networks, teacher])
        self.codec, self.head, self.compared = codec, head, compared
        self.task = nn.Identity() if task is None else task
        self.hint = nn.Identity() if hint is None else hint
        self.adapters = adapters

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules but the head's batch norms, which stay in eval mode.

        A batch is of one rate, whose statistics differ from those over all rates.
        """
        super().train(mode)
        for module in self.head.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def adapter(self, rate: int) -> Adapter:
        """Adapter of a rate, with the task prompts."""
        own: Adapter = self.adapters[rate].network
        return RateAndTask(own, self.task) if isinstance(self.task, TaskPrompts) else own

    def forward(
        self, x: Tensor, *, rate: int, plain: bool = False, features: Tensor | None = None
    ) -> JointOutput:
        """Run codec and head, with z rounded.

        Args:
            x: RGB in [0, 1], (B, 3, H, W), of any size: padded to multiples of 64 px as in coding,
                and x_hat cropped.
            rate: rate index.
            plain: whether to leave out quantisation and rate.
            features: features of a teacher, (B, channels, h, w); None has no teacher.
        """
        adapter, padded = self.adapter(rate), pad(x, TILE_STRIDE)
        if plain:
            y, none = self.codec.to_latents(padded, adapter), x.new_zeros(())
            x_hat = self.codec.to_picture(y, adapter)
            output = TrainingOutput(
                x_hat=x_hat, y_bits=none, z_bits=none, random_gain_bits=none, y_hat=y
            )
            y_hat = y
        else:
            output = self.codec(padded, round_z=True, adapter=adapter)
            y_hat = output.y_hat + (self.transmitted(padded, rate=rate) - output.y_hat.detach())
        assert output.x_hat is not None
        found, logits = self.judge(y_hat, rate=rate)
        output = replace(output, x_hat=crop(output.x_hat, *x.shape[2:]))
        apart = x.new_zeros(())
        if features is not None and isinstance(self.hint, FeatureProjection):
            with torch.autocast(x.device.type, enabled=False):
                apart = self.hint(found.float(), features.float())
        return JointOutput(codec=output, logits=logits, features=found, apart=apart)

    def transmitted(self, x: Tensor, *, rate: int) -> Tensor:
        """y_hat as decoded from a stream, without a gradient.

        In a training pass means come from noisy latents; a head trained on those is less accurate
        on decoded latents.
        """
        self.codec.freeze_scale_path()
        gains, adapter = self.adapters[rate].gains, self.adapter(rate)
        return self.codec.analyse(x, gains=gains, adapter=adapter).y_hat.clone()

    def judge(self, y_hat: Tensor, *, rate: int) -> tuple[Tensor, Tensor]:
        """Features, (B, C, h', w'), and logits, (B, classes), of y_hat (B, M, h, w) of a rate."""
        lmbda = y_hat.new_full((len(y_hat),), self.adapters[rate].config.lmbda)
        if isinstance(self.head, TrunkClassifier):
            levels = self.head.levels(y_hat, lmbda)
            return levels[self.compared], self.head.judge(levels)
        return split_pass(self.head, self.head.tokens(y_hat, lmbda))

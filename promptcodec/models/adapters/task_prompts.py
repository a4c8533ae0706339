"""Task prompts, which adapt the frozen encoder to a task, beside the prompts of a rate.

    x -> trunk -> a head for each Swin block of g_a -> prompt tokens, gates
    a low-rank update of each linear map of g_a

They change latents, not their coding: hyperprior, context, gains and g_s are those of the rate. A
stream written with them is an ordinary one of its rate, and decoding does not need them.

Source: Chen et al. 2023, arXiv:2306.05085 (prompts that adapt a transformer codec to a task).
Differs: no prompts in the decoder; composes with a rate's prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from promptcodec.coding.architecture import analysis_maps, encoder_stages
from promptcodec.config import CodecConfig
from promptcodec.errors import RateError
from promptcodec.models.adapters.lowrank import LowRankUpdates
from promptcodec.models.adapters.prompts import PIXELS, PromptNetwork, prompted
from promptcodec.models.codec_model import Adapter
from promptcodec.models.linear_maps import NO_UPDATES, Updates
from promptcodec.models.swin import PromptTokens


class TaskPrompts(nn.Module):
    """Prompts and updates of one task for a frozen encoder.

    Args:
        config: architecture of the base.
        width: channels of the trunk.
        rank: rank of the updates of linear maps; 0 has none.
    """

    def __init__(self, config: CodecConfig, *, width: int = 32, rank: int = 10) -> None:
        super().__init__()
        self.encoder = PromptNetwork(
            3 * PIXELS**2, stride=PIXELS, blocks=prompted(encoder_stages(config)), width=width
        )
        self.maps = LowRankUpdates(analysis_maps(config), rank=rank)


@dataclass(frozen=True, eq=False)
class RateAndTask:
    """A rate and a task together, as an adapter of the codec's model.

    Args:
        rate: adapter of the rate.
        task: prompts of the task.
    """

    rate: Adapter
    task: TaskPrompts

    def encoder_prompts(self, x: Tensor) -> Sequence[PromptTokens | None]:
        """Prompts of the task and of the rate, with separate softmaxes."""
        own, others = self.task.encoder(x - 0.5), self.rate.encoder_prompts(x)
        return [
            other if prompts is None else replace(prompts, more=other)
            for prompts, other in zip(own, others, strict=True)
        ]

    def decoder_prompts(self, y_hat: Tensor) -> Sequence[PromptTokens | None]:
        """Those of the rate."""
        return self.rate.decoder_prompts(y_hat)

    def encoder_updates(self) -> Updates:
        """Updates of the task and of the rate, added."""
        own, rate = self.task.maps(), self.rate.encoder_updates() or NO_UPDATES
        if own is None or rate.maps is None:
            return replace(rate, maps=rate.maps if own is None else own)
        return replace(rate, maps=[a + b for a, b in zip(own, rate.maps, strict=True)])

    def decoder_updates(self) -> Updates | None:
        """Those of the rate."""
        return self.rate.decoder_updates()

    def gain_steps(self) -> Tensor:
        """Those of the rate."""
        return self.rate.gain_steps()

    def modulate_means(self, features: Tensor) -> Tensor:
        """That of the rate."""
        return self.rate.modulate_means(features)


def with_task(network: Adapter | None, task: TaskPrompts) -> RateAndTask:
    """Combine a rate and a task; streams have the hashes of the rate alone.

    Raises:
        RateError: `network` is None, the base alone.
    """
    if network is None:
        raise RateError("task prompts go with the prompts of a rate: load a ladder")
    return RateAndTask(network, task)

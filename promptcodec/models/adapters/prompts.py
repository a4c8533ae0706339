"""Layer-adaptive prompt module: the networks and gains of one rate for a frozen base.

    x     -> trunk at 1/8, 1/16, 1/32 -> a head for each Swin block of g_a -> prompt tokens, gates
    y_hat -> trunk at 1/16, 1/32      -> a head for each Swin block of g_s -> prompt tokens, gates
    log-gain of each channel of y; scale and bias of each feature of the means
    a low-rank update of each linear map of g_a and g_s, and of each layer of blocks (`lowrank`)

Prompts join the keys and values of every window (`PromptTokens`). A grid of them has half the
resolution of its block, so a window of 8x8 tokens attends to 16 prompts of its own. Prompts of g_a
are computed from the picture, those of g_s from transmitted latents alone. All gates start at zero:
a fresh module equals the base, bit for bit, and still has a gradient.

Source: Qin et al. 2023, arXiv:2311.13846 (prompts for each layer of a frozen codec). Differs: a
separate, gated softmax over the prompts; gains, a modulation of the means and low-rank updates
are added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.architecture import (
    StageSpec,
    analysis_maps,
    block_layers,
    decoder_stages,
    encoder_stages,
    synthesis_maps,
)
from promptcodec.coding.gains import FRACTION_BITS, LEAST, MOST, Gains
from promptcodec.config import TILE_STRIDE, CodecConfig
from promptcodec.models.adapters.lowrank import LowRankUpdates
from promptcodec.models.linear_maps import Updates
from promptcodec.models.swin import PromptTokens

REDUCTION = 2  # tokens of a block for each prompt, along an edge
PIXELS = 8  # edge in px of the squares that the encoder's trunk folds into channels


def prompted(stages: Sequence[StageSpec]) -> list[StageSpec]:
    """The stage of each Swin block, in the order of the blocks."""
    return [stage for stage in stages for _ in range(stage.swin_blocks)]


class PromptNetwork(nn.Module):
    """A small convolutional trunk and a head for each Swin block of one transform.

    Args:
        channels: channels of the input after the stem has folded its elements into channels.
        stride: px between two elements of the folded input.
        blocks: stage of each Swin block of the transform, in order.
        width: channels of the trunk.
    """

    def __init__(
        self, channels: int, *, stride: int, blocks: Sequence[StageSpec], width: int
    ) -> None:
        super().__init__()
        self.stride, self.blocks = stride, tuple(blocks)
        deepest = max((REDUCTION * block.stride for block in blocks), default=stride)
        self.stem = nn.Conv2d(channels, width, 1)
        self.down = nn.ModuleList()
        while stride < deepest:
            self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            stride *= 2
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(nn.Linear(width, block.channels) for block in blocks)
        self.gates = nn.ParameterList(nn.Parameter(torch.zeros(block.heads)) for block in blocks)

    def forward(self, x: Tensor) -> list[PromptTokens] | list[None]:
        """Prompts for each block, from (B, channels / f^2, f H / stride, f W / stride), any f.

        None for each block if every gate is zero and none is trained, which saves their cost.
        """
        if not any(gate.requires_grad or bool(gate.any()) for gate in self.gates):
            return [None] * len(self.blocks)
        x = F.relu(self._fold(x))
        grids = {self.stride: x}
        stride = self.stride
        for layer in self.down:
            x = F.relu(layer(x))
            stride *= 2
            grids[stride] = x
        tokens = {s: self.norm(grid.permute(0, 2, 3, 1)) for s, grid in grids.items()}
        return [
            PromptTokens(
                tokens=tokens[REDUCTION * block.stride],
                gate=gate,
                head=(head.weight, head.bias),  # type: ignore[arg-type]
            )
            for block, head, gate in zip(self.blocks, self.heads, self.gates, strict=True)
        ]

    def _fold(self, x: Tensor) -> Tensor:
        """The stem on squares of f px: a pixel unshuffle and its 1x1 convolution in one."""
        edge = math.isqrt(self.stem.in_channels // x.shape[1])
        weight = self.stem.weight.view(self.stem.out_channels, x.shape[1], edge, edge)
        return F.conv2d(x, weight, self.stem.bias, stride=edge)


class LayerAdaptivePrompts(nn.Module):
    """Networks and gains of one rate for a frozen base.

    Args:
        config: architecture of the base.
        width: channels of both trunks.
        rank: rank of the updates of linear maps; 0 has none.
        block_rank: rank of the updates of the layers of blocks; 0 has none.
    """

    def __init__(
        self, config: CodecConfig, *, width: int = 32, rank: int = 10, block_rank: int = 0
    ) -> None:
        super().__init__()
        self.config, self.width, self.rank, self.block_rank = config, width, rank, block_rank
        self.encoder = PromptNetwork(
            3 * PIXELS**2, stride=PIXELS, blocks=prompted(encoder_stages(config)), width=width
        )
        self.decoder = PromptNetwork(
            config.latent_channels, stride=16, blocks=prompted(decoder_stages(config)), width=width
        )
        self.encoder_maps = LowRankUpdates(analysis_maps(config), rank=rank)
        self.decoder_maps = LowRankUpdates(synthesis_maps(config), rank=rank)
        self.encoder_blocks, self.decoder_blocks = (
            LowRankUpdates(block_layers(config, stages), rank=block_rank)
            for stages in (encoder_stages(config), decoder_stages(config))
        )
        self.log_gains = nn.Parameter(torch.zeros(config.latent_channels))
        self.mean_scale = nn.Parameter(torch.zeros(config.hyper_channels))
        self.mean_bias = nn.Parameter(torch.zeros(config.hyper_channels))

    def empty_like(self) -> LayerAdaptivePrompts:
        """A fresh module of the same shape."""
        return LayerAdaptivePrompts(
            self.config, width=self.width, rank=self.rank, block_rank=self.block_rank
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Width and both ranks; adapters of one base and shape have tensors of the same shapes."""
        return self.width, self.rank, self.block_rank

    def encoder_prompts(self, x: Tensor) -> list[PromptTokens] | list[None]:
        """Prompts of g_a from a padded picture, RGB in [0, 1], (B, 3, H, W)."""
        if x.shape[2] % TILE_STRIDE or x.shape[3] % TILE_STRIDE:
            raise ValueError(f"x is {tuple(x.shape)}; pad it to multiples of {TILE_STRIDE} first")
        return self.encoder(x - 0.5)

    def decoder_prompts(self, y_hat: Tensor) -> list[PromptTokens] | list[None]:
        """Prompts of g_s from transmitted latents, (B, M, h, w)."""
        return self.decoder(y_hat)

    def encoder_updates(self) -> Updates:
        """Updates of the weights of g_a."""
        return Updates(self.encoder_maps(), self.encoder_blocks())

    def decoder_updates(self) -> Updates:
        """Updates of the weights of g_s."""
        return Updates(self.decoder_maps(), self.decoder_blocks())

    def gain_steps(self) -> Tensor:
        """Log-gain of each channel in steps of the scale tables, real, (1, M, 1, 1)."""
        return self.log_gains[None, :, None, None]

    def gains(self) -> Gains:
        """Log-gains as the integers of streams."""
        fixed = np.rint(self.log_gains.detach().cpu().double().numpy() * (1 << FRACTION_BITS))
        return Gains(fixed.clip(LEAST, MOST).astype(np.int16))

    def modulate_means(self, features: Tensor) -> Tensor:
        """Features of the means, (B, N, h, w), scaled and shifted channel by channel."""
        scale, bias = (v[None, :, None, None] for v in (self.mean_scale, self.mean_bias))
        return features * (1.0 + scale) + bias

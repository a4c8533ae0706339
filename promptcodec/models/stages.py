"""Stages of the transforms: blocks at one resolution.

Features are in steps of quantisation, as latents are: from the mean level to the finest detail they
differ a hundredfold. The input of a layer is therefore divided by the deviation of its channel
(`units`); its output is not, so that a small change of any weight moves every latent, and every
pixel, by about as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from promptcodec.coding.architecture import LAYERS, StageSpec
from promptcodec.config import CodecConfig
from promptcodec.models.linear_maps import weights_of
from promptcodec.models.swin import PromptTokens, SwinBlock, swin_blocks


class ConvolutionBranch(nn.Module):
    """conv3x3(relu(conv3x3(x))), half the width inside.

    Args:
        channels: width of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.last = nn.Conv2d(channels // 2, channels, 3, padding=1)

    def forward(self, x: Tensor, units: Tensor, updates: Sequence[Tensor] | None = None) -> Tensor:
        """Map (B, C, H, W) to the same shape.

        Args:
            x: features.
            units: divisor of each channel of the input, (C,).
            updates: updates of both weights; None is the base.
        """
        first, second = updates or (None, None)
        hidden = torch.relu(weights_of(self.conv1, first, units)(x))
        return weights_of(self.last, second, None)(hidden)


class Stage(nn.Module):
    """Blocks of one stage in their order, each x + branch(x / units); what follows divides too.

    Args:
        config: architecture of the base.
        spec: stage; a block is "s", Swin, or "c", convolutions.
    """

    def __init__(self, config: CodecConfig, spec: StageSpec) -> None:
        super().__init__()
        swin = swin_of(config, spec)
        self.blocks = nn.ModuleList(
            next(swin) if kind == "s" else ConvolutionBranch(spec.channels) for kind in spec.blocks
        )
        self.spec = spec
        self.units: Tensor
        self.register_buffer("units", torch.ones(spec.channels))

    def forward(
        self,
        x: Tensor,
        prompts: Sequence[PromptTokens | None] | None = None,
        updates: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Map (B, C, H, W) to the same shape.

        Args:
            x: features.
            prompts: one entry for each Swin block; None is the base.
            updates: updates of the weights of the layers of its blocks; None is the base.
        """
        own = iter(prompts or [None] * self.spec.swin_blocks)
        for block, share in zip(self.blocks, by_block(self.spec, updates), strict=True):
            if isinstance(block, SwinBlock):
                grid = x.permute(0, 2, 3, 1)
                grid = block(grid, prompts=next(own), units=self.units, updates=share)
                x = grid.permute(0, 3, 1, 2)
            else:
                x = x + block(x, self.units, share)
        return x


def by_block(
    spec: StageSpec, updates: Sequence[Tensor] | None
) -> Iterator[Sequence[Tensor] | None]:
    """Updates of each block of a stage, in order; None for each where there are none."""
    first = 0
    for kind in spec.blocks:
        last = first + len(LAYERS[kind])
        yield None if updates is None else updates[first:last]
        first = last


def swin_of(config: CodecConfig, spec: StageSpec) -> Iterator[SwinBlock]:
    """Swin blocks of a stage, made one by one."""
    return swin_blocks(
        spec.swin_blocks,
        spec.channels,
        window=spec.window,
        head_channels=config.head_channels,
        mlp_ratio=config.mlp_ratio,
    )

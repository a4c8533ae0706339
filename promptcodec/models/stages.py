"""Stages of the transforms: blocks at one resolution.

The first shape of the transforms has residual convolutions, then Swin blocks (`Stage`). The second
one has both in any order (`Blocks`), and its features are in steps of quantisation, as latents are:
from the mean level to the finest detail they differ a hundredfold. The input of a layer is
therefore divided by the deviation of its channel (`units`); its output is not, so that a small
change of any weight moves every latent, and every pixel, by about as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from promptcodec.coding.architecture import LAYERS, StageSpec
from promptcodec.config import CodecConfig
from promptcodec.models.linear_maps import weights_of
from promptcodec.models.swin import PromptTokens, SwinBlock, swin_blocks


def halved_convolutions(channels: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Two 3x3 convolutions from and to a width, half of it between them."""
    hidden = channels // 2
    return (
        nn.Conv2d(channels, hidden, 3, padding=1),
        nn.Conv2d(hidden, channels, 3, padding=1),
    )


class ResidualBlock(nn.Module):
    """x + conv3x3(relu(conv3x3(x))), half the width inside.

    Args:
        channels: width of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = halved_convolutions(channels)

    def forward(self, x: Tensor, updates: Sequence[Tensor] | None = None) -> Tensor:
        """Map (B, C, H, W) to the same shape; `updates` are those of both weights."""
        first, second = updates or (None, None)
        hidden = torch.relu(weights_of(self.conv1, first, None)(x))
        return x + weights_of(self.conv2, second, None)(hidden)


class ConvolutionBranch(nn.Module):
    """conv3x3(relu(conv3x3(x))), half the width inside.

    Args:
        channels: width of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.last = halved_convolutions(channels)

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
    """Residual convolutions ("r" of a spec), then Swin blocks ("s").

    Args:
        config: architecture of the base.
        spec: stage.
    """

    def __init__(self, config: CodecConfig, spec: StageSpec) -> None:
        super().__init__()
        count = spec.blocks.count("r")
        self.spec = spec
        self.units: Tensor | None = None
        self.residual = nn.Sequential(*(ResidualBlock(spec.channels) for _ in range(count)))
        self.swin = nn.ModuleList(swin_of(config, spec))

    def forward(
        self,
        x: Tensor,
        prompts: Sequence[PromptTokens | None] | None = None,
        updates: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Map (B, C, H, W) to the same shape; arguments as those of `Blocks`."""
        shares = by_block(self.spec, updates)
        for block in self.residual:
            x = block(x, next(shares))
        if not self.swin:
            return x
        x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        for block, prompt in zip(self.swin, prompts or [None] * len(self.swin), strict=True):
            x = block(x, prompts=prompt, updates=next(shares))
        return x.permute(0, 3, 1, 2)


class Blocks(nn.Module):
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


def build_stage(config: CodecConfig, spec: StageSpec) -> Stage | Blocks:
    """A stage of the shape that a config describes."""
    return Blocks(config, spec) if config.in_units else Stage(config, spec)

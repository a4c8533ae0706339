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

from promptcodec.coding.architecture import StageSpec
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

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + self.conv2(torch.relu(self.conv1(x)))


class ConvolutionBranch(nn.Module):
    """conv3x3(relu(conv3x3(x))), half the width inside.

    Args:
        channels: width of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.last = halved_convolutions(channels)

    def forward(self, x: Tensor, units: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape.

        Args:
            x: features.
            units: divisor of each channel of the input, (C,).
        """
        return self.last(torch.relu(weights_of(self.conv1, None, units)(x)))


class Stage(nn.Module):
    """Residual convolutions ("r" of a spec), then Swin blocks ("s").

    Args:
        config: architecture of the base.
        spec: stage.
    """

    def __init__(self, config: CodecConfig, spec: StageSpec) -> None:
        super().__init__()
        count = spec.blocks.count("r")
        self.units: Tensor | None = None
        self.residual = nn.Sequential(*(ResidualBlock(spec.channels) for _ in range(count)))
        self.swin = nn.ModuleList(swin_of(config, spec))

    def forward(self, x: Tensor, prompts: Sequence[PromptTokens | None] | None = None) -> Tensor:
        """Map (B, C, H, W) to the same shape; one entry of `prompts` for each Swin block."""
        x = self.residual(x)
        if not self.swin:
            return x
        x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        for block, prompt in zip(self.swin, prompts or [None] * len(self.swin), strict=True):
            x = block(x, prompts=prompt)
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
        self.swin_blocks = spec.swin_blocks
        self.units: Tensor
        self.register_buffer("units", torch.ones(spec.channels))

    def forward(self, x: Tensor, prompts: Sequence[PromptTokens | None] | None = None) -> Tensor:
        """Map (B, C, H, W) to the same shape.

        Args:
            x: features.
            prompts: one entry for each Swin block; None is the base.
        """
        own = iter(prompts or [None] * self.swin_blocks)
        for block in self.blocks:
            if isinstance(block, SwinBlock):
                grid = block(x.permute(0, 2, 3, 1), prompts=next(own), units=self.units)
                x = grid.permute(0, 3, 1, 2)
            else:
                x = x + block(x, self.units)
        return x


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

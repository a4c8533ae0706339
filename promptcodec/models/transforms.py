"""Analysis and synthesis transforms.

    g_a: x (3, H, W)      -> [down, Swin] at 1/2, 1/4, 1/8, 1/16 -> y (M, H/16, W/16)
                                       the last channels of y straight from 1/8: detail
    g_s: y_hat (M, H/16)  -> [Swin, residual convolutions, up]   at 1/16, 1/8, 1/4, 1/2 -> x_hat

Attention costs what its resolution costs, so Swin blocks stand at 1/8 and 1/16 only in the small
sizes. Upsampling is a 1x1 convolution and a pixel shuffle: cheaper than a transposed convolution
and free of its checkerboard pattern. No activation stands between the stages: a ReLU on so few
channels loses what no later layer brings back.
Source of the layout: Lu et al. 2022, arXiv:2111.06707 (TIC).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.config import CodecConfig
from promptcodec.models.swin import PromptTokens, SwinBlock


class ResidualBlock(nn.Module):
    """x + conv3x3(relu(conv3x3(x))), half the width inside.

    Args:
        channels: width of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = nn.Conv2d(channels, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + self.conv2(torch.relu(self.conv1(x)))


class Stage(nn.Module):
    """Residual convolutions, then Swin blocks, all at one resolution.

    Args:
        config: the architecture.
        index: stage number; 0 stands at 1/2, 3 at 1/16.
        residual_blocks: residual convolutions before the Swin blocks.
    """

    def __init__(self, config: CodecConfig, index: int, *, residual_blocks: int = 0) -> None:
        super().__init__()
        channels = config.channels[index]
        self.residual = nn.Sequential(*(ResidualBlock(channels) for _ in range(residual_blocks)))
        self.swin = nn.ModuleList(
            SwinBlock(
                channels,
                window=config.windows[index],
                shifted=bool(block % 2),
                head_channels=config.head_channels,
                mlp_ratio=config.mlp_ratio,
            )
            for block in range(config.swin_blocks[index])
        )

    def forward(self, x: Tensor, prompts: Sequence[PromptTokens | None] | None = None) -> Tensor:
        """Map (B, C, H, W) to the same shape; one entry of `prompts` for each Swin block."""
        x = self.residual(x)
        if not self.swin:
            return x
        x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        for block, prompt in zip(self.swin, prompts or [None] * len(self.swin), strict=True):
            x = block(x, prompts=prompt)
        return x.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class LinearMap:
    """A convolution between two stages, or at an end, of a transform.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: edge.
    """

    inputs: int
    outputs: int
    kernel: int


def analysis_maps(config: CodecConfig) -> list[LinearMap]:
    """Linear maps of g_a: one down to each stage, to the deep latents, to the detail latents."""
    widths = (3, *config.channels)
    return [
        *(LinearMap(widths[i], widths[i + 1], 3) for i in range(4)),
        LinearMap(widths[4], config.latent_channels - config.detail_channels, 1),
        LinearMap(widths[3], config.detail_channels, 2),
    ]


def synthesis_maps(config: CodecConfig) -> list[LinearMap]:
    """Linear maps of g_s: from the deep latents, then one up from each stage, deepest first."""
    widths = (*config.channels[::-1], 3)
    return [
        LinearMap(config.latent_channels - config.detail_channels, widths[0], 1),
        LinearMap(widths[0] + config.detail_channels, 4 * widths[1], 1),
        *(LinearMap(widths[i], 4 * widths[i + 1], 1 if i < 3 else 3) for i in (1, 2, 3)),
    ]


def build_map(shape: LinearMap, *, stride: int = 1) -> nn.Conv2d:
    """The convolution of a linear map."""
    padding = int(shape.kernel == 3)
    return nn.Conv2d(shape.inputs, shape.outputs, shape.kernel, stride=stride, padding=padding)


def apply_map(layer: nn.Module, x: Tensor, update: Tensor | None) -> Tensor:
    """Convolve, with an update of the weights, (outputs, inputs, k, k), where there is one."""
    conv = cast("nn.Conv2d", layer)
    if update is None:
        return conv(x)
    return F.conv2d(x, conv.weight + update, conv.bias, conv.stride, conv.padding)


class Analysis(nn.Module):
    """g_a, from a picture to its latents."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        *down, head, detail = analysis_maps(config)
        self.blocks = list(config.swin_blocks)
        self.down = nn.ModuleList(build_map(shape, stride=2) for shape in down)
        self.stages = nn.ModuleList(Stage(config, i) for i in range(4))
        self.head = build_map(head)
        self.detail = build_map(detail, stride=2)
        keep_variance([*self.down, self.head, self.detail])
        with torch.no_grad():
            self.head.weight.mul_(2.0)  # latents well above the quantisation noise

    def forward(
        self,
        x: Tensor,
        prompts: Sequence[PromptTokens | None] | None = None,
        updates: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Analyse a padded picture.

        Args:
            x: RGB in [0, 1], (B, 3, H, W); H and W multiples of 64 px.
            prompts: one entry for each Swin block, first stage first; None is the base.
            updates: of the weights of `analysis_maps`, in their order; None is the base.
        Returns:
            y, (B, M, H/16, W/16).
        """
        *deltas, head, detail = updates or [None] * 6
        below = x = x - 0.5
        shares = split_prompts(prompts, self.blocks)
        for down, stage, own, delta in zip(self.down, self.stages, shares, deltas, strict=True):
            below, x = x, stage(apply_map(down, x, delta), own)
        return torch.cat(
            [apply_map(self.head, x, head), apply_map(self.detail, below, detail)], dim=1
        )


class Synthesis(nn.Module):
    """g_s, from latents to a picture."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        stem, *up = synthesis_maps(config)
        self.blocks = list(config.swin_blocks[::-1])
        self.detail_channels = config.detail_channels
        self.stem = build_map(stem)
        self.stages = nn.ModuleList(
            Stage(config, i, residual_blocks=config.residual_blocks[i]) for i in (3, 2, 1, 0)
        )
        self.up = nn.ModuleList(build_map(shape) for shape in up)
        self.shuffle = nn.PixelShuffle(2)
        keep_variance([self.stem, *self.up])
        with torch.no_grad():
            cast("Tensor", self.up[-1].weight).mul_(0.1)  # start from a nearly grey picture

    def forward(
        self,
        y_hat: Tensor,
        prompts: Sequence[PromptTokens | None] | None = None,
        updates: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Synthesise.

        Args:
            y_hat: (B, M, h, w); h and w multiples of 4.
            prompts: one entry for each Swin block, deepest stage first; None is the base.
            updates: of the weights of `synthesis_maps`, in their order; None is the base.
        Returns:
            RGB, not clamped, (B, 3, 16 h, 16 w).
        """
        deep = y_hat.shape[1] - self.detail_channels
        stem, *deltas = updates or [None] * 5
        x, detail = apply_map(self.stem, y_hat[:, :deep], stem), y_hat[:, deep:]
        shares = split_prompts(prompts, self.blocks)
        for up, stage, own, delta in zip(self.up, self.stages, shares, deltas, strict=True):
            x = stage(x, own)
            if detail is not None:
                x, detail = torch.cat([x, detail], dim=1), None
            x = self.shuffle(apply_map(up, x, delta))
        return x + 0.5


def keep_variance(layers: Sequence[nn.Module]) -> None:
    """Initialise linear convolutions so that a signal neither grows nor fades on its way."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            nn.init.zeros_(cast("Tensor", layer.bias))


def split_prompts(prompts: Sequence[PromptTokens | None] | None, counts: list[int]) -> list:
    """Hand a flat sequence of per-block prompts out to stages with `counts` Swin blocks each."""
    if prompts is None:
        return [None] * len(counts)
    ends = list(accumulate(counts, initial=0))
    if len(prompts) != ends[-1]:
        raise ValueError(f"{len(prompts)} prompts for {ends[-1]} Swin blocks; need one each")
    return [prompts[a:b] for a, b in pairwise(ends)]

"""Analysis and synthesis transforms of few, wide stages.

    g_a: x (3, H, W)   -> patches -> blocks at 1/8 -> 2x2 -> blocks at 1/16 -> deep latents
                                          '-> 2x2 -> detail latents
    g_s: y_hat (M, ..) -> blocks at 1/16 -> shuffle -> blocks at 1/8 [-> 1/4] -> shuffle -> x_hat

A dense product of wide layers at low resolution costs a processor its arithmetic and little else;
narrow layers at high resolution cost memory traffic. A stage may stand at 1/2, 1/4, 1/8 or 1/16; a
width of 0 leaves it out, and the map across it is a patch embedding or a larger pixel shuffle.

Features are in steps of quantisation, as latents are: from a level's mean to its finest detail they
differ a hundredfold. What a layer looks at is therefore divided by the deviation of its channel
(`units`); what it gives is not, so that a change of any weight by a little moves every latent, and
every pixel, by about as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.config import CodecConfig
from promptcodec.models.swin import PromptTokens, SwinBlock
from promptcodec.models.transforms import (
    LinearMap,
    analysis_maps,
    apply_map,
    keep_variance,
    split_prompts,
    synthesis_maps,
)


class BottleneckBranch(nn.Module):
    """conv1x1(relu(conv3x3(relu(conv1x1(x))))), half the width inside.

    Args:
        channels: width of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = nn.Conv2d(channels, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.last = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.last(torch.relu(self.conv2(torch.relu(self.conv1(x)))))


class DepthwiseBranch(nn.Module):
    """conv1x1(a * silu(b)), where a and b are halves of depthwise3x3(conv1x1(x)).

    Args:
        channels: width of input and output, and of a and b.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.last = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        a, b = self.depthwise(self.conv1(x)).chunk(2, dim=1)
        return self.last(a * F.silu(b))


class PointwiseBranch(nn.Module):
    """conv1x1(a * silu(b)), where a and b are halves of conv1x1(x).

    Args:
        channels: width of input and output; a and b have twice as much.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4 * channels, 1)
        self.last = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        a, b = self.conv1(x).chunk(2, dim=1)
        return self.last(a * F.silu(b))


class ConvolutionBranch(nn.Module):
    """conv3x3(relu(conv3x3(x))), half the width inside.

    Args:
        channels: width of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = nn.Conv2d(channels, hidden, 3, padding=1)
        self.last = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.last(torch.relu(self.conv1(x)))


BRANCHES = {
    "b": BottleneckBranch,
    "c": ConvolutionBranch,
    "d": DepthwiseBranch,
    "p": PointwiseBranch,
}


class Blocks(nn.Module):
    """Blocks of one stage in their order, each x + branch(x / units).

    Args:
        config: the architecture.
        kinds: one letter a block: "s" Swin, otherwise of `BRANCHES`.
        channels: width of the stage.
        window: edge of a Swin block's window.
    """

    def __init__(self, config: CodecConfig, kinds: str, *, channels: int, window: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        swin = 0
        for kind in kinds:
            if kind == "s":
                block: nn.Module = SwinBlock(
                    channels,
                    window=window,
                    shifted=bool(swin % 2),
                    head_channels=config.head_channels,
                    mlp_ratio=config.mlp_ratio,
                )
                swin += 1
            else:
                block = BRANCHES[kind](channels)
            self.blocks.append(block)
        self.swin_blocks = swin
        self.units: Tensor
        self.register_buffer("units", torch.ones(channels))

    def forward(self, x: Tensor, prompts: Sequence[PromptTokens | None] | None = None) -> Tensor:
        """Map (B, C, H, W) to the same shape; one entry of `prompts` for each Swin block."""
        own = iter(prompts or [None] * self.swin_blocks)
        for block in self.blocks:
            if isinstance(block, SwinBlock):
                grid = block(x.permute(0, 2, 3, 1), prompts=next(own), units=self.units)
                x = grid.permute(0, 3, 1, 2)
            else:
                x = x + block(self.seen(x))
        return x

    def seen(self, x: Tensor) -> Tensor:
        """Features in units of their channel, as layers look at them, (B, C, H, W)."""
        return x / self.units[:, None, None]


@dataclass(frozen=True)
class StageSpec:
    """A stage that is not left out.

    Args:
        ratio: stride of the map between it and the next finer stage or the picture.
        channels: width.
        blocks: their kinds.
        window: edge of a window of its Swin blocks.
    """

    ratio: int
    channels: int
    blocks: str
    window: int


def stages(
    channels: Sequence[int], blocks: Sequence[str], windows: Sequence[int]
) -> list[StageSpec]:
    """Stages with a width, finest first."""
    found, ratio = [], 1
    for width, kinds, window in zip(channels, blocks, windows, strict=True):
        ratio *= 2
        if width:
            found.append(StageSpec(ratio, width, kinds, window))
            ratio = 1
    return found


def wide_analysis_maps(config: CodecConfig) -> list[LinearMap]:
    """Linear maps of g_a: down to each stage, to the deep latents, to the detail latents."""
    specs = stages(config.encoder_channels, config.encoder_blocks, config.windows)
    inputs = [3, *(s.channels for s in specs)]
    down = [LinearMap(i, s.channels, s.ratio) for i, s in zip(inputs, specs, strict=False)]
    deep = config.latent_channels - config.detail_channels
    maps = [*down, LinearMap(specs[-1].channels, deep, 1)]
    if config.detail_channels:
        maps.append(LinearMap(specs[-2].channels, config.detail_channels, 2))
    return maps


def wide_synthesis_maps(config: CodecConfig) -> list[LinearMap]:
    """Linear maps of g_s: from the deep latents, then up from each stage, deepest first."""
    specs = stages(config.decoder_channels, config.decoder_blocks, config.windows)[::-1]
    outputs = [*(s.channels for s in specs[1:]), 3]
    extra = [config.detail_channels, *(0 for _ in specs[1:])]
    up = [
        LinearMap(s.channels + e, s.ratio**2 * out, 1)
        for s, e, out in zip(specs, extra, outputs, strict=True)
    ]
    up[-1] = LinearMap(up[-1].inputs, up[-1].outputs, config.render_kernel)
    deep = config.latent_channels - config.detail_channels
    return [LinearMap(deep, specs[0].channels, 1), *up]


def maps_of_g_a(config: CodecConfig) -> list[LinearMap]:
    """Linear maps of g_a, in the order that updates of them come in."""
    return wide_analysis_maps(config) if config.wide else analysis_maps(config)


def maps_of_g_s(config: CodecConfig) -> list[LinearMap]:
    """Linear maps of g_s, in the order that updates of them come in."""
    return wide_synthesis_maps(config) if config.wide else synthesis_maps(config)


class WideAnalysis(nn.Module):
    """g_a, from a picture to its latents.

    Args:
        config: the architecture.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        specs = stages(config.encoder_channels, config.encoder_blocks, config.windows)
        maps = wide_analysis_maps(config)
        self.ratios = [s.ratio for s in specs]
        self.down = nn.ModuleList(
            nn.Conv2d(m.inputs, m.outputs, m.kernel, stride=m.kernel) for m in maps[: len(specs)]
        )
        self.stages = nn.ModuleList(
            Blocks(config, s.blocks, channels=s.channels, window=s.window) for s in specs
        )
        self.counts = [s.blocks.count("s") for s in specs]
        head = maps[len(specs)]
        self.head = nn.Conv2d(head.inputs, head.outputs, 1)
        self.detail = None
        if config.detail_channels:
            self.detail = nn.Conv2d(specs[-2].channels, config.detail_channels, 2, stride=2)
        self.shortcut = None
        if config.shortcut:
            self.shortcut = nn.Conv2d(3, config.latent_channels, 16, stride=16)
        keep_variance([*self.down, self.head, *filter(None, [self.detail, self.shortcut])])

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
            updates: of the weights of `wide_analysis_maps`, in their order; None is the base.
        Returns:
            y, (B, M, H/16, W/16).
        """
        count = len(self.down)
        deltas = list(updates) if updates else [None] * (count + 2)
        picture = below = x = x - 0.5
        shares = split_prompts(prompts, self.counts)
        for down, module, own, delta in zip(
            self.down, self.stages, shares, deltas[:count], strict=True
        ):
            stage = cast("Blocks", module)
            below, x = x, stage.seen(stage(apply_map(down, x, delta), own))
        y = apply_map(self.head, x, deltas[count])
        if self.detail is not None:
            y = torch.cat([y, apply_map(self.detail, below, deltas[count + 1])], dim=1)
        if self.shortcut is not None:
            y = y + self.shortcut(picture)
        return y


class WideSynthesis(nn.Module):
    """g_s, from latents to a picture.

    Args:
        config: the architecture.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        specs = stages(config.decoder_channels, config.decoder_blocks, config.windows)[::-1]
        stem, *up = wide_synthesis_maps(config)
        self.ratios = [s.ratio for s in specs]
        self.detail_channels = config.detail_channels
        self.stem = nn.Conv2d(stem.inputs, stem.outputs, 1)
        self.stages = nn.ModuleList(
            Blocks(config, s.blocks, channels=s.channels, window=s.window) for s in specs
        )
        self.counts = [s.blocks.count("s") for s in specs]
        self.up = nn.ModuleList(
            nn.Conv2d(m.inputs, m.outputs, m.kernel, padding=m.kernel // 2) for m in up
        )
        self.shortcut = None
        if config.shortcut:
            self.shortcut = nn.Conv2d(config.latent_channels, 768, 1)
        self.units: Tensor  # of latents
        self.register_buffer("units", torch.ones(config.latent_channels))
        self.step: Tensor  # of quantisation, in pixels
        self.register_buffer("step", torch.ones(()))
        keep_variance([self.stem, *self.up, *filter(None, [self.shortcut])])

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
            updates: of the weights of `wide_synthesis_maps`, in their order; None is the base.
        Returns:
            RGB, not clamped, (B, 3, 16 h, 16 w).
        """
        y = y_hat / self.units[:, None, None]
        deep = y.shape[1] - self.detail_channels
        stem, *deltas = updates or [None] * (len(self.up) + 1)
        x, detail = apply_map(self.stem, y[:, :deep], stem), y[:, deep:]
        shares = split_prompts(prompts, self.counts)
        for number, (up, module, own, delta) in enumerate(
            zip(self.up, self.stages, shares, deltas, strict=True)
        ):
            stage = cast("Blocks", module)
            x = stage.seen(stage(x, own))
            if number == 0 and self.detail_channels:
                x = torch.cat([x, detail], dim=1)
            x = F.pixel_shuffle(apply_map(up, x, delta), self.ratios[number])
        if self.shortcut is not None:
            x = x + F.pixel_shuffle(self.shortcut(y), 16)
        return x * self.step + 0.5

"""Analysis and synthesis transforms.

    g_a: x (3, H, W)      -> [down, blocks] at 1/2, 1/4, 1/8, 1/16 -> y (M, H/16, W/16)
                                       the last channels of y straight from 1/8: detail
    g_s: y_hat (M, H/16)  -> [blocks, up]   at 1/16, 1/8, 1/4, 1/2 -> x_hat

Attention costs what its resolution costs, so Swin blocks are at 1/8 and 1/16 only in the small
sizes. Upsampling is a convolution and a pixel shuffle: cheaper than a transposed convolution
and free of its checkerboard pattern. No activation lies between the stages: a ReLU on so few
channels removes what no later layer can restore.
Source of the layout: Lu et al. 2022, arXiv:2111.06707 (TIC).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.architecture import (
    RATIO,
    LinearMap,
    analysis_maps,
    decoder_stages,
    encoder_stages,
    synthesis_maps,
)
from promptcodec.config import CodecConfig
from promptcodec.models.stages import build_stage
from promptcodec.models.swin import PromptTokens


def build_map(shape: LinearMap) -> nn.Conv2d:
    """The convolution of a linear map."""
    padding = int(shape.kernel == 3)
    return nn.Conv2d(
        shape.inputs, shape.outputs, shape.kernel, stride=shape.stride, padding=padding
    )


def apply_map(layer: nn.Module, x: Tensor, update: Tensor | None) -> Tensor:
    """Convolve, with an update of the weights, (outputs, inputs, k, k), where there is one."""
    conv = cast("nn.Conv2d", layer)
    if update is None:
        return conv(x)
    return F.conv2d(x, conv.weight + update, conv.bias, conv.stride, conv.padding)


class Analysis(nn.Module):
    """g_a, from a picture to its latents.

    Args:
        config: architecture of the base.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        stages, maps = encoder_stages(config), analysis_maps(config)
        self.counts = [stage.swin_blocks for stage in stages]
        self.down = nn.ModuleList(build_map(shape) for shape in maps[: len(stages)])
        self.stages = nn.ModuleList(build_stage(config, stage) for stage in stages)
        self.head = build_map(maps[len(stages)])
        self.detail = build_map(maps[-1]) if config.detail_channels else None
        keep_variance([*self.down, self.head, self.detail])
        if not config.in_units:
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
            updates: updates of the weights of `analysis_maps`, in their order; None is the base.
        Returns:
            y, (B, M, H/16, W/16).
        """
        count = len(self.down)
        deltas = updates or [None] * (count + 2)
        below = x = x - 0.5
        shares = split_prompts(prompts, self.counts)
        for down, stage, own, delta in zip(
            self.down, self.stages, shares, deltas[:count], strict=True
        ):
            below, x = x, stage(apply_map(down, x, delta), own)
        y = apply_map(self.head, x, deltas[count])
        if self.detail is None:
            return y
        return torch.cat([y, apply_map(self.detail, below, deltas[count + 1])], dim=1)


class Synthesis(nn.Module):
    """g_s, from latents to a picture.

    Args:
        config: architecture of the base.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        stages, (stem, *up) = decoder_stages(config), synthesis_maps(config)
        latents = config.latent_channels
        self.counts = [stage.swin_blocks for stage in stages]
        self.detail_channels = config.detail_channels
        self.stem = build_map(stem)
        self.stages = nn.ModuleList(build_stage(config, stage) for stage in stages)
        self.up = nn.ModuleList(build_map(shape) for shape in up)
        self.units: Tensor | None  # deviation of each channel of y
        self.register_buffer("units", torch.ones(latents) if config.in_units else None)
        self.step: Tensor | None  # step of quantisation in pixels
        self.register_buffer("step", torch.ones(()) if config.in_units else None)
        keep_variance([self.stem, *self.up])
        if not config.in_units:
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
            y_hat: latents, (B, M, h, w); h and w multiples of 4.
            prompts: one entry for each Swin block, deepest stage first; None is the base.
            updates: updates of the weights of `synthesis_maps`, in their order; None is the base.
        Returns:
            RGB, not clamped, (B, 3, 16 h, 16 w).
        """
        y = y_hat if self.units is None else y_hat / self.units[:, None, None]
        deep = y.shape[1] - self.detail_channels
        stem, *deltas = updates or [None] * (len(self.up) + 1)
        x, detail = apply_map(self.stem, y[:, :deep], stem), y[:, deep:]
        shares = split_prompts(prompts, self.counts)
        levels = zip(self.up, self.stages, shares, deltas, strict=True)
        for number, (up, stage, own, delta) in enumerate(levels):
            x = stage(x, own)
            if number == 0 and self.detail_channels:
                x = torch.cat([x, detail], dim=1)
            x = F.pixel_shuffle(apply_map(up, x, delta), RATIO)
        return (x if self.step is None else x * self.step) + 0.5


def keep_variance(layers: Sequence[nn.Module | None]) -> None:
    """Initialise linear convolutions so that the variance of a signal stays what it is."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            nn.init.zeros_(cast("Tensor", layer.bias))


def split_prompts(prompts: Sequence[PromptTokens | None] | None, counts: list[int]) -> list:
    """Split a sequence with one entry for each Swin block by stages of `counts` blocks.

    Args:
        prompts: entries of all stages; None is the base.
        counts: number of Swin blocks of each stage.
    Returns:
        The entries of each stage; None for each stage of the base.
    Raises:
        ValueError: not one entry for each block.
    """
    if prompts is None:
        return [None] * len(counts)
    ends = list(accumulate(counts, initial=0))
    if len(prompts) != ends[-1]:
        raise ValueError(f"{len(prompts)} prompts for {ends[-1]} Swin blocks; need one each")
    return [prompts[a:b] for a, b in pairwise(ends)]

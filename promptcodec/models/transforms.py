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
from torch import Tensor, nn

from promptcodec.coding.architecture import (
    RATIO,
    analysis_maps,
    block_layers,
    decoder_stages,
    encoder_stages,
    synthesis_maps,
)
from promptcodec.config import CodecConfig
from promptcodec.models.linear_maps import (
    NO_UPDATES,
    Updates,
    Weights,
    build_map,
    joined_patches,
    render,
    shuffle,
    weights_of,
)
from promptcodec.models.stages import Stage
from promptcodec.models.swin import PromptTokens


class Analysis(nn.Module):
    """g_a, from a picture to its latents.

    Args:
        config: architecture of the base.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        stages, maps = encoder_stages(config), analysis_maps(config)
        self.counts = [stage.swin_blocks for stage in stages]
        self.layers = [len(block_layers(config, [stage])) for stage in stages]
        ends = len(stages) - (2 if config.detail_channels else 1)  # where latents come from
        self.joined = [not stage.blocks and number < ends for number, stage in enumerate(stages)]
        self.down = nn.ModuleList(build_map(shape) for shape in maps[: len(stages)])
        self.stages = nn.ModuleList(Stage(config, stage) for stage in stages)
        self.head = build_map(maps[len(stages)])
        self.detail = build_map(maps[-1]) if config.detail_channels else None
        keep_variance([*self.down, self.head, self.detail])

    def forward(
        self,
        x: Tensor,
        prompts: Sequence[PromptTokens | None] | None = None,
        updates: Updates | None = None,
    ) -> Tensor:
        """Analyse a padded picture.

        Args:
            x: RGB in [0, 1], (B, 3, H, W); H and W multiples of 64 px.
            prompts: one entry for each Swin block, first stage first; None is the base.
            updates: updates of the weights of `analysis_maps` and of the blocks; None is the base.
        Returns:
            y, (B, M, H/16, W/16).
        """
        count = len(self.down)
        updates = updates or NO_UPDATES
        deltas = updates.maps or [None] * (count + 2)
        below = x = x - 0.5
        below_units: Tensor | None = None
        units: Tensor | None = None
        entering: Weights | None = None
        shares = split_prompts(prompts, self.counts)
        layers = updates.by_stage(self.layers)
        for number, (down, stage, own, of_blocks) in enumerate(
            zip(self.down, self.stages, shares, layers, strict=True)
        ):
            weights = weights_of(down, deltas[number], units)
            if entering is not None:
                weights = joined_patches(entering, weights)
            below_units, units = units, cast("Tensor", stage.units)
            entering = weights if self.joined[number] else None
            if entering is None:
                below, x = x, stage(weights(x), own, of_blocks)
        y = weights_of(self.head, deltas[count], units)(x)
        if self.detail is None:
            return y
        detail = weights_of(self.detail, deltas[count + 1], below_units)
        return torch.cat([y, detail(below)], dim=1)


class Synthesis(nn.Module):
    """g_s, from latents to a picture.

    Args:
        config: architecture of the base.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        stages, (stem, *up) = decoder_stages(config), synthesis_maps(config)
        self.counts = [stage.swin_blocks for stage in stages]
        self.layers = [len(block_layers(config, [stage])) for stage in stages]
        self.joined = not stages[-1].blocks  # the last two maps
        self.detail_channels = config.detail_channels
        self.stem = build_map(stem)
        self.stages = nn.ModuleList(Stage(config, stage) for stage in stages)
        self.up = nn.ModuleList(build_map(shape) for shape in up)
        self.units: Tensor  # deviation of each channel of y
        self.register_buffer("units", torch.ones(config.latent_channels))
        self.step: Tensor  # step of quantisation in pixels
        self.register_buffer("step", torch.ones(()))
        keep_variance([self.stem, *self.up])

    def forward(
        self,
        y_hat: Tensor,
        prompts: Sequence[PromptTokens | None] | None = None,
        updates: Updates | None = None,
    ) -> Tensor:
        """Synthesise.

        Args:
            y_hat: latents, (B, M, h, w); h and w multiples of 4.
            prompts: one entry for each Swin block, deepest stage first; None is the base.
            updates: updates of the weights of `synthesis_maps` and of the blocks; None is the base.
        Returns:
            RGB, not clamped, (B, 3, 16 h, 16 w).
        """
        deep = y_hat.shape[1] - self.detail_channels
        y, detail = y_hat[:, :deep], y_hat[:, deep:]
        updates = updates or NO_UPDATES
        delta, *deltas = updates.maps or [None] * (len(self.up) + 1)
        x = weights_of(self.stem, delta, self.units[:deep])(y)
        shares = split_prompts(prompts, self.counts)
        layers = updates.by_stage(self.layers)
        levels = zip(self.up, self.stages, shares, deltas, layers, strict=True)
        squares: Weights | None = None
        for number, (up, stage, own, delta, of_blocks) in enumerate(levels):
            units = cast("Tensor", stage.units)
            if squares is None:
                x = stage(x, own, of_blocks)
            if number == 0 and self.detail_channels:
                x = torch.cat([x, detail], dim=1)
                units = torch.cat([units, self.units[deep:]])
            weights = weights_of(up, delta, units)
            if self.joined and number == len(self.up) - 2:
                squares = weights
            elif squares is None:
                x = shuffle(weights.by_square(RATIO)(x), RATIO)
            else:
                x = render(x, squares, weights)
        return x.float() * self.step + 0.5


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

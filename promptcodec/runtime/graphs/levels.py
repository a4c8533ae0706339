"""Stages of a transform without those that have no blocks: their maps become one with the next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from promptcodec.config import CodecConfig
from promptcodec.models.stages import StageSpec, decoder_stages, encoder_stages
from promptcodec.runtime.graphs.layout import Layout


@dataclass(frozen=True)
class Block:
    """A block of a stage.

    Args:
        kind: its letter, see `models.stages`.
        name: prefix of its tensors.
        layout: order of the tokens that it needs; raster for convolutions.
    """

    kind: str
    name: str
    layout: Layout


@dataclass(frozen=True)
class Level:
    """A stage and the maps before it.

    Args:
        spec: the stage; None is the picture behind the last stage of g_s.
        name: prefix of the stage's tensors.
        maps: names of the maps, first one first.
        ratios: stride of each, or of its pixel shuffle.
        blocks: blocks of the stage, in order.
    """

    spec: StageSpec | None
    name: str
    maps: tuple[str, ...]
    ratios: tuple[int, ...]
    blocks: tuple[Block, ...] = ()

    @property
    def ratio(self) -> int:
        """Resolution behind the maps over that before them, or the other way round."""
        return math.prod(self.ratios)

    @property
    def layout(self) -> Layout:
        """Order of the tokens at its start."""
        if self.blocks:
            return self.blocks[0].layout
        return Layout(self.spec.stride if self.spec else 1)


def encoder_levels(config: CodecConfig) -> list[Level]:
    """Levels of g_a, finest first. Maps with overlapping kernels are not joined."""
    levels: list[Level] = []
    maps: tuple[str, ...] = ()
    ratios: tuple[int, ...] = ()
    stages = encoder_stages(config)
    for number, spec in enumerate(stages):
        maps, ratios = (*maps, f"g_a.down.{number}"), (*ratios, spec.ratio)
        if spec.blocks or not config.wide or number == len(stages) - 1:
            name = f"g_a.stages.{number}"
            blocks = tuple(_blocks(spec, name, wide=config.wide))
            levels.append(Level(spec, name, maps, ratios, blocks))
            maps, ratios = (), ()
    return levels


def decoder_levels(config: CodecConfig) -> list[Level]:
    """Levels of g_s, deepest first; the last one is the picture."""
    levels: list[Level] = []
    maps: tuple[str, ...] = ("g_s.stem",)
    ratios: tuple[int, ...] = (1,)
    for number, spec in enumerate(decoder_stages(config)):
        if spec.blocks or not number:  # detail latents join behind the first stage
            name = f"g_s.stages.{number}"
            blocks = tuple(_blocks(spec, name, wide=config.wide))
            levels.append(Level(spec, name, maps, ratios, blocks))
            maps, ratios = (), ()
        maps, ratios = (*maps, f"g_s.up.{number}"), (*ratios, spec.ratio)
    return [*levels, Level(None, "", maps, ratios)]


def _blocks(spec: StageSpec, stage: str, *, wide: bool) -> Iterator[Block]:
    swin = residual = 0
    for place, kind in enumerate(spec.blocks):
        layout = Layout(spec.stride)
        own = f"blocks.{place}"
        if kind == "s":
            layout = Layout(spec.stride, spec.window, spec.window // 2 * (swin % 2))
            own = own if wide else f"swin.{swin}"
            swin += 1
        elif not wide:
            own, residual = f"residual.{residual}", residual + 1
        yield Block(kind, f"{stage}.{own}", layout)


def prompted(levels: Sequence[Level]) -> list[Block]:
    """Swin blocks in order: those that have prompts."""
    return [block for level in levels for block in level.blocks if block.kind == "s"]

"""Stages of a transform without those that have no blocks: their maps become one with the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from promptcodec.coding.architecture import LAYERS, StageSpec, decoder_stages, encoder_stages
from promptcodec.config import CodecConfig
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
        spec: the stage.
        name: prefix of the stage's tensors.
        maps: prefixes of the tensors of the linear maps between it and the level before, first one
            first; nothing lies between them, so that they become one.
        blocks: blocks of the stage, in order.
    """

    spec: StageSpec
    name: str
    maps: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def layout(self) -> Layout:
        """Order of the tokens at its start."""
        return self.blocks[0].layout if self.blocks else Layout(self.spec.stride)


def encoder_levels(config: CodecConfig) -> list[Level]:
    """Levels of g_a, finest first; latents need those that they are made from."""
    levels: list[Level] = []
    maps: tuple[str, ...] = ()
    stages = encoder_stages(config)
    ends = len(stages) - (2 if config.detail_channels else 1)
    for number, spec in enumerate(stages):
        maps = (*maps, f"g_a.down.{number}")
        if spec.blocks or number >= ends:
            name = f"g_a.stages.{number}"
            levels.append(Level(spec, name, maps, tuple(_blocks(spec, name))))
            maps = ()
    return levels


def decoder_levels(config: CodecConfig) -> tuple[list[Level], tuple[str, ...]]:
    """Levels of g_s, deepest first, and the maps from the last one to the picture."""
    levels: list[Level] = []
    maps = ("g_s.stem",)
    for number, spec in enumerate(decoder_stages(config)):
        if spec.blocks or not number:  # detail latents join behind the first stage
            name = f"g_s.stages.{number}"
            levels.append(Level(spec, name, maps, tuple(_blocks(spec, name))))
            maps = ()
        maps = (*maps, f"g_s.up.{number}")
    return levels, maps


def _blocks(spec: StageSpec, stage: str) -> Iterator[Block]:
    swin = 0
    for place, kind in enumerate(spec.blocks):
        layout = Layout(spec.stride)
        if kind == "s":
            layout = Layout(spec.stride, spec.window, spec.window // 2 * (swin % 2))
            swin += 1
        yield Block(kind, f"{stage}.blocks.{place}", layout)


def swin_blocks(levels: Sequence[Level]) -> list[Block]:
    """Swin blocks in order: those that have prompts."""
    return [block for level in levels for block in level.blocks if block.kind == "s"]


def layer_names(levels: Sequence[Level]) -> list[str]:
    """Prefixes of the tensors of the layers of blocks, in the order of their updates."""
    blocks = [block for level in levels for block in level.blocks]
    return [f"{block.name}.{layer}" for block in blocks for layer in LAYERS[block.kind]]

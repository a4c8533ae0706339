"""Prompt tokens of one transform: a small trunk of convolutions, one norm.

patches of pixels, or y_hat -> stem -> [3x3, half the resolution] -> norm -> tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptcodec.runtime.graphs.features import Features
from promptcodec.runtime.graphs.graph import Array, Graph, Parameters
from promptcodec.runtime.graphs.layout import Layout
from promptcodec.runtime.graphs.levels import Block

REDUCTION = 2  # tokens of a block for each prompt, along an edge


def of_block(block: Block) -> Layout:
    """Order of the prompts of a block."""
    layout = block.layout
    return Layout(REDUCTION * layout.stride, layout.window // REDUCTION, layout.shift // REDUCTION)


def build_prompts(
    graph: Graph, source: str, *, stride: int, blocks: Sequence[Block]
) -> dict[str, str]:
    """Add the trunk; returns prompt tokens by the name of their block.

    Args:
        graph: graph that it is added to.
        source: tokens that prompts are made from, in raster order, (B, n, C).
        stride: px between two of them.
        blocks: Swin blocks of the transform.
    """
    stem = graph.op("Relu", graph.linear(source, "prompts.stem"))
    x = Features(graph, stem, stride, Layout(stride))
    found: dict[str, str] = {}
    deepest = max(of_block(block).stride for block in blocks)
    number = 0
    while True:
        for block in blocks:
            layout = of_block(block)
            if layout.stride == x.stride:
                raster = graph.norm(x.tokens(Layout(x.stride)), "prompts.norm")
                normed = Features(graph, raster, x.stride, Layout(x.stride))
                found[block.name] = normed.tokens(layout)
        if x.stride == deepest:
            return found
        grid = graph.conv(x.grid(), f"prompts.down.{number}", kernel=3, stride=2)
        x = Features(graph, graph.op("Relu", grid), 2 * x.stride, None)
        number += 1


@dataclass(frozen=True)
class PromptWeights:
    """What an adapter has for one Swin block.

    Args:
        weight: of its head, (C, D).
        bias: of its head, (C,).
        gate: weight of the prompt branch, (heads,).
    """

    weight: Array
    bias: Array
    gate: Array


def fold_prompts(
    adapter: Parameters, side: str, *, blocks: Sequence[Block], inputs: int
) -> tuple[dict[str, Array], dict[str, PromptWeights]]:
    """Parameters of the trunk, and heads and gates by the name of their block.

    Args:
        adapter: tensors of a rate, by name.
        side: "encoder" or "decoder".
        blocks: Swin blocks of the transform.
        inputs: channels of what the prompts are made from: 3 of a picture, or those of y_hat.
    """
    stem, bias = adapter[f"{side}.stem.weight"], adapter[f"{side}.stem.bias"]
    edge = round((stem.shape[1] / inputs) ** 0.5)
    weight = stem.reshape(len(stem), inputs, edge, edge).transpose(2, 3, 1, 0)
    weight = weight.reshape(-1, len(stem))
    if inputs == 3:  # levels from 0 to 255
        weight, bias = weight / 255, bias - 0.5 * weight.sum(axis=0)
    found = {"prompts.stem.weight": weight, "prompts.stem.bias": bias}
    for name, value in adapter.items():
        for part in ("down.", "norm."):
            if name.startswith(f"{side}.{part}"):
                found[f"prompts.{name.removeprefix(f'{side}.')}"] = value
    heads = {
        block.name: PromptWeights(
            adapter[f"{side}.heads.{number}.weight"],
            adapter[f"{side}.heads.{number}.bias"],
            adapter[f"{side}.gates.{number}"],
        )
        for number, block in enumerate(blocks)
    }
    return {name: np.asarray(value) for name, value in found.items()}, heads

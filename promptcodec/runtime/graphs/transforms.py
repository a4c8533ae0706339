"""Graphs of g_a and g_s, and their weights folded.

    analyse     patches of pixels -> tokens -> [blocks, patches] -> y
    synthesise  y_hat -> tokens -> [blocks, pixel shuffle] -> grid -> levels of pixels

Maps with nothing between them are linear and become one: without blocks at 1/2 and 1/4 the whole
way from pixels to 1/8 is one product, and the last two maps of g_s are one 3x3 convolution at 1/4.
The units of features are folded into the maps before and after a block.
"""

from __future__ import annotations

import numpy as np

from promptcodec.coding.architecture import LAYERS
from promptcodec.config import LATENT_STRIDE, CodecConfig
from promptcodec.runtime.graphs.features import Features
from promptcodec.runtime.graphs.graph import Graph
from promptcodec.runtime.graphs.layout import Layout, grid_input
from promptcodec.runtime.graphs.levels import Level, decoder_levels, encoder_levels, swin_blocks
from promptcodec.runtime.graphs.prompts import build_prompts
from promptcodec.runtime.graphs.swin import Heads, build_block

PROMPT_PIXELS = 8  # px that the encoder's prompts are made from


def build_analysis(config: CodecConfig, *, prompted: bool) -> Graph:
    """g_a: patches (B, n, 3 r^2) of uint8 pixels to y (B, h w, M) in raster order.

    Args:
        config: architecture of the base.
        prompted: whether a rate's prompts are part of it.
    """
    graph = Graph("analyse")
    levels = encoder_levels(config)
    edge = levels[0].spec.stride
    x = Features(graph, _patches(graph, edge), edge, Layout(edge))
    prompts: dict[str, str] = {}
    if prompted and swin_blocks(levels):
        source = _patches(graph, PROMPT_PIXELS)
        prompts = build_prompts(graph, source, stride=PROMPT_PIXELS, blocks=swin_blocks(levels))
    below, channels = x, [3, *(level.spec.channels for level in levels)]
    for level, inputs in zip(levels, channels, strict=False):
        below, x = x, _down(graph, x, level, inputs)
        x = _blocks(graph, x, level, config=config, prompts=prompts)
    layout = x.layout or Layout(LATENT_STRIDE)
    y = graph.linear(x.tokens(layout), "head")
    if config.detail_channels:
        y = graph.op(
            "Concat", y, graph.linear(below.patches(layout, channels[-2]), "detail"), axis=-1
        )
    y = Features(graph, y, LATENT_STRIDE, layout).tokens(Layout(LATENT_STRIDE))
    graph.output(y, "y", np.float32, "batch", "latents", config.latent_channels)
    return graph


def build_synthesis(config: CodecConfig, *, prompted: bool) -> Graph:
    """g_s: y_hat (B, h w, M) in raster order to levels, uint8 (B, 3 r^2, H / r, W / r).

    Args:
        config: architecture of the base.
        prompted: whether a rate's prompts are part of it.
    """
    graph = Graph("synthesise")
    levels, render = decoder_levels(config)
    raster = Layout(LATENT_STRIDE)
    y = graph.input("y_hat", np.float32, "batch", "latents", config.latent_channels)
    prompts: dict[str, str] = {}
    if prompted and swin_blocks(levels):
        prompts = build_prompts(graph, y, stride=LATENT_STRIDE, blocks=swin_blocks(levels))
    first, *others = levels
    y = Features(graph, y, LATENT_STRIDE, raster).tokens(first.layout)
    detail = config.detail_channels
    deep, fine = y, ""
    if detail:
        deep, fine = graph.split(y, [config.latent_channels - detail, detail], axis=2)
    x = Features(graph, graph.linear(deep, "level.0"), LATENT_STRIDE, first.layout)
    x = _blocks(graph, x, first, config=config, prompts=prompts)
    if detail:
        layout = x.layout or raster
        fine = Features(graph, fine, LATENT_STRIDE, first.layout).tokens(layout)
        both = graph.op("Concat", x.tokens(layout), fine, axis=-1)
        x = Features(graph, both, LATENT_STRIDE, layout)
    for number, level in enumerate(others, start=1):
        x = _up(graph, x, level, f"level.{number}")
        x = _blocks(graph, x, level, config=config, prompts=prompts)
    grid = graph.conv(x.grid(), "render", kernel=3)
    if len(render) > 1:
        size = graph.op("Concat", graph.ints(1, 1), grid_input(graph, x.stride), axis=0)
        ones = graph.op("Expand", graph.float(1.0), size)
        grid = graph.op("Add", grid, graph.conv(ones, "render_border", kernel=3))
    grid = graph.op("Round", graph.op("Clip", grid, graph.float(0.0), graph.float(255.0)))
    pixels = graph.op("Cast", grid, to=np.uint8)
    graph.output(pixels, "pixels", np.uint8, "batch", 3 * x.stride**2, "rows", "columns")
    return graph


def _patches(graph: Graph, edge: int) -> str:
    """Squares of pixels as numbers, (B, n, 3 edge^2)."""
    name = graph.input(f"pixels.{edge}", np.uint8, "batch", f"pixels_{edge}", 3 * edge**2)
    return graph.op("Cast", name, to=np.float32)


def _down(graph: Graph, x: Features, level: Level, channels: int) -> Features:
    """The maps before a level of g_a."""
    spec = level.spec
    if x.stride == spec.stride:  # pixels, as patches already
        tokens = x.tokens(level.layout)
    else:
        tokens = x.patches(level.layout, channels)
    return Features(graph, graph.linear(tokens, f"level.{level.name}"), spec.stride, level.layout)


def _up(graph: Graph, x: Features, level: Level, name: str) -> Features:
    """The maps before a level of g_s: a product and a pixel shuffle."""
    spec = level.spec
    layout = x.layout or Layout(x.stride)
    squares = graph.linear(x.tokens(layout), name)
    tokens = graph.op("Reshape", squares, graph.ints(0, -1, spec.channels))
    return Features(graph, tokens, spec.stride, layout, brothers=(x.stride // spec.stride) ** 2)


def _blocks(
    graph: Graph, x: Features, level: Level, *, config: CodecConfig, prompts: dict[str, str]
) -> Features:
    spec = level.spec
    for block in level.blocks:
        if block.kind == "s":
            tokens = build_block(
                graph,
                x.tokens(block.layout),
                block.name,
                layout=block.layout,
                heads=Heads(spec.heads, config.head_channels),
                prompts=prompts.get(block.name),
            )
            x = Features(graph, tokens, spec.stride, block.layout)
        else:
            first, second = LAYERS[block.kind]
            grid = x.grid()
            hidden = graph.op("Relu", graph.conv(grid, f"{block.name}.{first}", kernel=3))
            branch = graph.conv(hidden, f"{block.name}.{second}", kernel=3)
            x = Features(graph, graph.op("Add", grid, branch), spec.stride, None)
    return x

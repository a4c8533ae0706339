"""Graphs of heads, and their weights folded.

    classify  y_hat -> embed, norm, + rate -> stages -> norm, mean, linear -> logits
    segment   y_hat -> embed, norm, + rate -> blocks at 1/16 -> norm, linear, GELU -> pixel shuffle
              -> dilated convolutions, summed -> logits at 1/8

Heads with stages of a trained network are in `trunk`.
Folded into the weights: the order of channels before a pixel shuffle. Latents are tokens in raster
order, of a grid that is padded to whole windows.
"""

from __future__ import annotations

import numpy as np

from promptcodec.coding.head_config import DILATIONS, LATENTS, RESNET, HeadConfig
from promptcodec.config import CLASSIFY, LATENT_STRIDE
from promptcodec.errors import UsageError
from promptcodec.runtime.graphs.features import Features
from promptcodec.runtime.graphs.graph import Array, Graph, Parameters
from promptcodec.runtime.graphs.head_stages import (
    build_residual_stages,
    build_swin_stages,
    fold_residual_stages,
    fold_swin_stages,
)
from promptcodec.runtime.graphs.head_stem import (
    build_stem,
    fold_stem,
    linear,
    norm,
    squares_first,
)
from promptcodec.runtime.graphs.layout import Layout
from promptcodec.runtime.graphs.trunk import build_trunk_head, fold_trunk_head

RASTER = Layout(LATENT_STRIDE)
FINER = 2  # scores for each latent of a segmentation head, along an axis


def build_head(config: HeadConfig) -> Graph:
    """A head: y_hat (B, h w, M) to logits (B, classes), or to (B, classes, 2 h, 2 w).

    Inputs beside y_hat: `rate`, log of lambda above that of the middle rate, (B, 1, 1); of a
    segmentation head `inside`, rows and columns of scores without the padding of the grid.

    Args:
        config: configuration of the head.
    Raises:
        UsageError: the head reads pixels, or has a network of timm.
    """
    if config.reads != LATENTS:
        raise UsageError(
            f"a head on {config.reads} has no graph: it serves comparisons, with torch alone: pip "
            "install 'promptcodec[train]'; train one on latents with `promptcodec train-head`"
        )
    graph = Graph(config.task)
    if config.trunk is not None:
        build_trunk_head(graph, config, config.trunk)
        return graph
    _, tokens = build_stem(graph, config.latent_channels, film=config.film)
    if config.task == CLASSIFY:
        _classify(graph, config, tokens)
    else:
        _segment(graph, config, tokens)
    return graph


def fold_head(weights: Parameters, config: HeadConfig) -> dict[str, Array]:
    """Parameters of the graph of a head.

    Args:
        weights: float32 arrays of the head, by name.
        config: configuration of the head.
    """
    if config.stem is not None:
        return fold_trunk_head(weights, config.stem)
    if config.task == CLASSIFY:
        found = fold_stem(weights, film=config.film, finer=config.finer)
        found |= norm(weights, "norm") | linear(weights, "out")
        if config.body == RESNET:
            return found | fold_residual_stages(weights)
        return found | fold_swin_stages(weights, config, stages=len(config.widths))
    found = fold_stem(weights, film=config.film)
    found |= norm(weights, "pyramid.norm")
    found |= linear(weights, "pyramid.up", order=squares_first(FINER, 4 * config.widths[0]))
    found |= {name: weights[name] for name in weights if name.startswith("pyramid.dilated.")}
    return found | fold_swin_stages(weights, config, stages=1)


def _classify(graph: Graph, config: HeadConfig, tokens: str) -> None:
    x = Features(graph, tokens, LATENT_STRIDE, RASTER)
    if config.finer > 1:
        x = _shuffled(graph, tokens, RASTER, width=config.widths[0], stride=config.stride)
    if config.body == RESNET:
        x = build_residual_stages(x, config)
    else:
        x = build_swin_stages(x, config, stages=len(config.widths))
    tokens = graph.norm(x.tokens(x.layout or Layout(x.stride)), "norm")
    mean = graph.op("ReduceMean", tokens, graph.ints(1), keepdims=0)
    scores = graph.linear(mean, "out")
    graph.output(scores, "scores", np.float32, "batch", len(config.labels))


def _segment(graph: Graph, config: HeadConfig, tokens: str) -> None:
    x = build_swin_stages(Features(graph, tokens, LATENT_STRIDE, RASTER), config, stages=1)
    layout = x.layout or RASTER
    hidden = graph.linear(graph.norm(x.name, "pyramid.norm"), "pyramid.up")
    hidden = graph.op("Gelu", hidden)
    stride = LATENT_STRIDE // FINER
    grid = _shuffled(graph, hidden, layout, width=config.widths[0], stride=stride).grid()
    inside = graph.input("inside", np.int64, 2)
    grid = graph.op("Slice", grid, graph.ints(0, 0), inside, graph.ints(2, 3))
    scores = ""
    for number, dilation in enumerate(DILATIONS):
        own = graph.conv(grid, f"pyramid.dilated.{number}", kernel=3, dilation=dilation)
        scores = graph.op("Add", scores, own) if scores else own
    classes = len(config.labels)
    graph.output(scores, "scores", np.float32, "batch", classes, "rows", "columns")


def _shuffled(graph: Graph, squares: str, layout: Layout, *, width: int, stride: int) -> Features:
    """Squares of tokens, (B, n, r * r * width), as tokens of their own."""
    tokens = graph.op("Reshape", squares, graph.ints(0, -1, width))
    brothers = (layout.stride // stride) ** 2
    return Features(graph, tokens, stride, layout, brothers=brothers)

"""Graphs of heads, and their weights folded.

    classify  y_hat -> embed, norm, + rate -> stages -> norm, mean, linear -> logits
    segment   y_hat -> embed, norm, + rate -> blocks at 1/16 -> norm, linear, GELU -> pixel shuffle
              -> dilated convolutions, summed -> logits at 1/8

Folded into the weights: mean and deviation of the latents, also through the scale and shift of a
rate, the order of channels before a pixel shuffle. Latents are tokens in raster order, of a grid
that is padded to whole windows.
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
from promptcodec.runtime.graphs.layout import Layout

RASTER = Layout(LATENT_STRIDE)
FINER = 2  # scores for each latent of a segmentation head, along an axis


def build_head(config: HeadConfig) -> Graph:
    """A head: y_hat (B, h w, M) to logits (B, classes), or to (B, classes, 2 h, 2 w).

    Inputs beside y_hat: `rate`, log of lambda above that of the middle rate, (B, 1, 1); of a
    segmentation head `inside`, rows and columns of scores without the padding of the grid.

    Args:
        config: configuration of the head.
    Raises:
        UsageError: the head reads pixels.
    """
    if config.reads != LATENTS:
        raise UsageError(
            f"a head on {config.reads} has no graph: it serves comparisons, with torch alone: pip "
            "install 'promptcodec[train]'; train one on latents with `promptcodec train-head`"
        )
    graph = Graph(config.task)
    if config.task == CLASSIFY:
        _classify(graph, config, _stem(graph, config))
    else:
        _segment(graph, config, _stem(graph, config))
    return graph


def fold_head(weights: Parameters, config: HeadConfig) -> dict[str, Array]:
    """Parameters of the graph of a head.

    Args:
        weights: float32 arrays of the head, by name.
        config: configuration of the head.
    """
    if config.task == CLASSIFY:
        found = _fold_stem(weights, config, finer=config.finer)
        found |= _norm(weights, "norm") | _linear(weights, "out")
        if config.body == RESNET:
            return found | fold_residual_stages(weights)
        return found | fold_swin_stages(weights, config, stages=len(config.widths))
    found = _fold_stem(weights, config, finer=1)
    found |= _norm(weights, "pyramid.norm")
    found |= _linear(weights, "pyramid.up", order=_squares_first(FINER, 4 * config.widths[0]))
    found |= {name: weights[name] for name in weights if name.startswith("pyramid.dilated.")}
    return found | fold_swin_stages(weights, config, stages=1)


def _stem(graph: Graph, config: HeadConfig) -> str:
    """Tokens in raster order."""
    x = graph.input("y_hat", np.float32, "batch", "latents", config.latent_channels)
    rate = graph.input("rate", np.float32, "batch", 1, 1)
    if config.film:
        hidden = graph.op("Gelu", graph.linear(rate, "stem.film"))
        x = graph.op("Mul", x, graph.linear(hidden, "stem.scale"))
        x = graph.op("Add", x, graph.linear(hidden, "stem.shift"))
    x = graph.norm(graph.linear(x, "stem.embed"), "stem.norm")
    return graph.op("Add", x, graph.linear(rate, "stem.rate"))


def _fold_stem(weights: Parameters, config: HeadConfig, *, finer: int) -> dict[str, Array]:
    center, spread = weights["stem.center"], weights["stem.spread"]
    order = _squares_first(finer, len(weights["stem.embed.bias"]))
    found = _linear(weights, "stem.embed", order=order) | _norm(weights, "stem.norm", order=order)
    found |= _linear(weights, "stem.rate", order=order)
    if not config.film:
        embed = found["stem.embed.weight"] / spread[:, None]
        found["stem.embed.weight"] = embed
        found["stem.embed.bias"] = found["stem.embed.bias"] - center @ embed
        return found
    hidden, film = _linear(weights, "stem.film.0"), _linear(weights, "stem.film.2")
    for part in ("weight", "bias"):
        scale, shift = np.split(film[f"stem.film.2.{part}"], 2, axis=-1)
        scale = (scale + (part == "bias")) / spread
        found[f"stem.film.{part}"] = hidden[f"stem.film.0.{part}"]
        found[f"stem.scale.{part}"] = scale
        found[f"stem.shift.{part}"] = shift - center * scale
    return found


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


def _squares_first(ratio: int, channels: int) -> Array:
    """Places of channels before a pixel shuffle such that each token of a square has its own."""
    return np.arange(channels).reshape(-1, ratio**2).T.ravel()


def _linear(weights: Parameters, name: str, *, order: Array | None = None) -> dict[str, Array]:
    """Parameters of a linear map, its outputs in another order."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if order is not None:
        weight, bias = weight[order], bias[order]
    return {f"{name}.weight": weight.T, f"{name}.bias": bias}


def _norm(weights: Parameters, name: str, *, order: Array | None = None) -> dict[str, Array]:
    """Parameters of a normalisation, its channels in another order."""
    names = (f"{name}.weight", f"{name}.bias")
    return {own: weights[own] if order is None else weights[own][order] for own in names}

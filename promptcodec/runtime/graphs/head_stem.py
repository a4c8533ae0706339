"""Stem of a head as a graph, and its weights folded.

    y_hat -> scale and shift by the rate
          -+-> linear ---------------------------------------------+-> pixel shuffle
           '-> linear, norm, + rate -> blocks -> norm, linear ------'

Folded into the weights: mean and deviation of the latents, through scale and shift.
"""

from __future__ import annotations

import numpy as np

from promptcodec.coding.head_config import HeadConfig
from promptcodec.coding.trunk import COARSE, STEM_KERNEL, StemConfig
from promptcodec.config import LATENT_STRIDE
from promptcodec.runtime.graphs.graph import Array, Graph, Parameters
from promptcodec.runtime.graphs.layout import grid_input


def build_stem(graph: Graph, config: HeadConfig) -> str:
    """Add the stem; returns a grid (B, C, H, W) at the resolution where the trunk begins.

    Inputs: `y_hat`, tokens in raster order, (B, h w, M); `rate`, log of lambda above that of the
    middle rate, (B, 1, 1).

    Args:
        graph: graph that it is added to.
        config: configuration of a head on latents.
    """
    stem = config.stem
    assert stem is not None
    x = graph.input("y_hat", np.float32, "batch", "latents", config.latent_channels)
    rate = graph.input("rate", np.float32, "batch", 1, 1)
    hidden = graph.op("Gelu", graph.linear(rate, "stem.film"))
    x = graph.op("Mul", x, graph.linear(hidden, "stem.scale"))
    x = graph.op("Add", x, graph.linear(hidden, "stem.shift"))
    tokens = graph.norm(graph.linear(x, "stem.embed"), "stem.norm")
    tokens = graph.op("Add", tokens, graph.linear(rate, "stem.rate"))
    size = grid_input(graph, LATENT_STRIDE)
    for number in range(stem.blocks):
        tokens = _block(graph, tokens, f"stem.blocks.{number}", size=size, width=stem.width)
    own = graph.linear(graph.norm(tokens, "stem.last_norm"), "stem.last")
    grid = graph.to_grid(graph.op("Add", graph.linear(x, "stem.direct"), own), size)
    finer = COARSE // config.trunk.begins
    return shuffled(graph, grid, finer) if finer > 1 else grid


def _block(graph: Graph, tokens: str, name: str, *, size: str, width: int) -> str:
    half = STEM_KERNEL // 2
    grid = graph.conv(
        graph.to_grid(tokens, size),
        f"{name}.depthwise",
        kernel=STEM_KERNEL,
        groups=width,
        borders=(half, half),
    )
    own = graph.norm(graph.to_tokens(grid), f"{name}.norm")
    own = graph.op("Gelu", graph.linear(own, f"{name}.mlp.0"))
    return graph.op("Add", tokens, graph.linear(own, f"{name}.mlp.2"))


def fold_stem(weights: Parameters, stem: StemConfig) -> dict[str, Array]:
    """Parameters of the stem."""
    found: dict[str, Array] = {}
    for name in ("stem.norm", "stem.last_norm"):
        found |= _norm(weights, name)
    for name in ("stem.embed", "stem.rate", "stem.direct", "stem.last"):
        found |= linear(weights, name)
    for number in range(stem.blocks):
        name = f"stem.blocks.{number}"
        found |= _norm(weights, f"{name}.norm")
        found |= linear(weights, f"{name}.mlp.0") | linear(weights, f"{name}.mlp.2")
        for part in ("weight", "bias"):
            found[f"{name}.depthwise.{part}"] = weights[f"{name}.depthwise.{part}"]
    center, spread = weights["stem.center"], weights["stem.spread"]
    hidden, last = linear(weights, "stem.film.0"), linear(weights, "stem.film.2")
    for part in ("weight", "bias"):
        scale, shift = np.split(last[f"stem.film.2.{part}"], 2, axis=-1)
        scale = (scale + (part == "bias")) / spread
        found[f"stem.film.{part}"] = hidden[f"stem.film.0.{part}"]
        found[f"stem.scale.{part}"] = scale
        found[f"stem.shift.{part}"] = shift - center * scale
    return found


def linear(weights: Parameters, name: str) -> dict[str, Array]:
    """Parameters of a linear map."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return {f"{name}.weight": weight.T, f"{name}.bias": bias}


def _norm(weights: Parameters, name: str) -> dict[str, Array]:
    return {own: weights[own] for own in (f"{name}.weight", f"{name}.bias")}


def shuffled(graph: Graph, grid: str, finer: int) -> str:
    """A pixel shuffle: (B, C r r, H, W) to (B, C, r H, r W)."""
    return graph.op("DepthToSpace", grid, blocksize=finer, mode="CRD")

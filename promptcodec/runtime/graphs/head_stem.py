"""First layers of a head on latents, and what other parts of its graph are folded by.

    y_hat -> scale and shift by the rate -> linear, norm, + rate

Folded into the weights: mean and deviation of the latents, also through scale and shift.
"""

from __future__ import annotations

import numpy as np

from promptcodec.runtime.graphs.graph import Array, Graph, Parameters


def build_stem(graph: Graph, channels: int, *, film: bool) -> tuple[str, str]:
    """Add the layers; returns what they read, and tokens, both in raster order, (B, n, C).

    Args:
        graph: graph that they are added to.
        channels: channels of y_hat.
        film: whether the rate scales and shifts every channel.
    """
    x = graph.input("y_hat", np.float32, "batch", "latents", channels)
    rate = graph.input("rate", np.float32, "batch", 1, 1)
    if film:
        hidden = graph.op("Gelu", graph.linear(rate, "stem.film"))
        x = graph.op("Mul", x, graph.linear(hidden, "stem.scale"))
        x = graph.op("Add", x, graph.linear(hidden, "stem.shift"))
    tokens = graph.norm(graph.linear(x, "stem.embed"), "stem.norm")
    return x, graph.op("Add", tokens, graph.linear(rate, "stem.rate"))


def fold_stem(weights: Parameters, *, film: bool, finer: int = 1) -> dict[str, Array]:
    """Parameters of the layers; `finer` tokens of a square along an axis come from one latent."""
    center, spread = weights["stem.center"], weights["stem.spread"]
    order = squares_first(finer, len(weights["stem.embed.bias"]))
    found = linear(weights, "stem.embed", order=order) | norm(weights, "stem.norm", order=order)
    found |= linear(weights, "stem.rate", order=order)
    if not film:
        embed = found["stem.embed.weight"] / spread[:, None]
        found["stem.embed.weight"] = embed
        found["stem.embed.bias"] = found["stem.embed.bias"] - center @ embed
        return found
    hidden, last = linear(weights, "stem.film.0"), linear(weights, "stem.film.2")
    for part in ("weight", "bias"):
        scale, shift = np.split(last[f"stem.film.2.{part}"], 2, axis=-1)
        scale = (scale + (part == "bias")) / spread
        found[f"stem.film.{part}"] = hidden[f"stem.film.0.{part}"]
        found[f"stem.scale.{part}"] = scale
        found[f"stem.shift.{part}"] = shift - center * scale
    return found


def squares_first(ratio: int, channels: int) -> Array:
    """Places of channels before a pixel shuffle such that each token of a square has its own."""
    return np.arange(channels).reshape(-1, ratio**2).T.ravel()


def linear(weights: Parameters, name: str, *, order: Array | None = None) -> dict[str, Array]:
    """Parameters of a linear map, its outputs in another order."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if order is not None:
        weight, bias = weight[order], bias[order]
    return {f"{name}.weight": weight.T, f"{name}.bias": bias}


def norm(weights: Parameters, name: str, *, order: Array | None = None) -> dict[str, Array]:
    """Parameters of a normalisation, its channels in another order."""
    names = (f"{name}.weight", f"{name}.bias")
    return {own: weights[own] if order is None else weights[own][order] for own in names}

"""The walk of a context model through groups of latents, when encoding and when decoding.

    quantise     y, table indexes -> r = round((y - mu) * gain), 0 where the index is 0 -> y_hat
    reconstruct  residuals without their means -> y_hat = residual + mu

Latents are tokens in raster order, (B, h w, M); a group is a half of a checkerboard, or all tokens,
of a segment of the channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from promptcodec.coding.entropy import golomb
from promptcodec.coding.entropy.tables import NUM_SCALES
from promptcodec.config import CodecConfig
from promptcodec.runtime.graphs.checkerboard import build_checkerboard, fold_checkerboard
from promptcodec.runtime.graphs.econtext import build_econtext, fold_econtext
from promptcodec.runtime.graphs.graph import Array, Graph, Parameters
from promptcodec.runtime.graphs.halves import index_input
from promptcodec.runtime.graphs.hyperprior import build_mean_features, fold_mean_features

Reconstruct = Callable[[int, str], str]  # (group, means) -> y_hat of the group


def segments(config: CodecConfig) -> tuple[int, ...]:
    """Channels of each segment; only econtext has several."""
    return config.context_segments if config.context == "econtext" else (config.latent_channels,)


def build_quantise(config: CodecConfig) -> Graph:
    """The encoder's walk."""
    graph = Graph("quantise")
    targets = _groups(graph, config, _latents(graph, config, "y", np.float32))
    indexes = _groups(graph, config, _latents(graph, config, "indexes", np.uint8))
    gain = graph.input("gain", np.float32, config.latent_channels)
    gains = _segments(graph, config, gain, axis=0)
    symbols: dict[int, str] = {}
    halves = len(targets) // len(gains)

    def reconstruct(group: int, means: str) -> str:
        own = gains[group // halves]
        residual = graph.op("Mul", graph.op("Sub", targets[group], means), own)
        limit = float(golomb.LIMIT)
        residual = graph.op("Round", residual)
        residual = graph.op("Clip", residual, graph.float(-limit), graph.float(limit))
        index = graph.op("Cast", indexes[group], to=np.int32)
        live = graph.op("Cast", graph.op("Cast", index, to=np.bool_), to=np.float32)
        symbols[group] = residual = graph.op("Mul", residual, live)
        rebuilt = residual
        if config.reconstruction == "centroid":
            more = graph.op("Greater", graph.op("Abs", residual), graph.float(1.5))
            more = graph.op("Mul", graph.op("Cast", more, to=np.int32), graph.int32(NUM_SCALES))
            place = graph.op("Add", index, more)
            pull = graph.op("Gather", graph.parameter("pull"), place, axis=0)
            unit = graph.op("Clip", residual, graph.float(-1.0), graph.float(1.0))
            rebuilt = graph.op("Sub", residual, graph.op("Mul", unit, pull))
        return graph.op("Add", graph.op("Div", rebuilt, own), means)

    groups = _walk(graph, config, reconstruct)
    _output(graph, config, [symbols[group] for group in range(len(groups))], "symbols", np.int32)
    _output(graph, config, groups, "y_hat", np.float32)
    return graph


def build_reconstruct(config: CodecConfig) -> Graph:
    """The decoder's walk."""
    graph = Graph("reconstruct")
    residuals = _groups(graph, config, _latents(graph, config, "residuals", np.float32))
    groups = _walk(graph, config, lambda group, mu: graph.op("Add", residuals[group], mu))
    _output(graph, config, groups, "y_hat", np.float32)
    return graph


def fold_walk(
    weights: Parameters, config: CodecConfig, adapter: Parameters | None
) -> dict[str, Array]:
    """Parameters of both walks, and for encoding the pull of the centroids.

    Args:
        weights: tensors of the base, by name.
        config: architecture of the base.
        adapter: tensors of a rate, by name; None is the base alone.
    """
    found = fold_mean_features(weights, adapter)
    if config.context == "econtext":
        found |= fold_econtext(weights, config)
    elif config.context == "checkerboard":
        found |= fold_checkerboard(weights)
    else:
        weight = weights["context.means.weight"]
        found |= {"means.weight": weight[:, :, 0, 0].T, "means.bias": weights["context.means.bias"]}
    if config.reconstruction == "centroid":
        found["pull"] = weights["centroids.pull"].ravel()
    return found


def _walk(graph: Graph, config: CodecConfig, reconstruct: Reconstruct) -> list[str]:
    features = graph.to_tokens(build_mean_features(graph, config))
    if config.context == "econtext":
        return build_econtext(graph, config, features, reconstruct)
    if config.context == "checkerboard":
        return build_checkerboard(graph, config, features, reconstruct)
    return [reconstruct(0, graph.linear(features, "means"))]


def _latents(graph: Graph, config: CodecConfig, name: str, dtype: type[np.generic]) -> str:
    return graph.input(name, dtype, "batch", "latents", config.latent_channels)


def _groups(graph: Graph, config: CodecConfig, x: str) -> list[str]:
    """Tokens (B, n, M) by group."""
    if config.context == "none":
        return [x]
    halves = [graph.gather(x, index_input(graph, f"half.{half}")) for half in (0, 1)]
    cut = [_segments(graph, config, half, axis=2) for half in halves]
    return [half[segment] for segment in range(len(cut[0])) for half in cut]


def _segments(graph: Graph, config: CodecConfig, x: str, *, axis: int) -> list[str]:
    sizes = segments(config)
    return [x] if len(sizes) == 1 else graph.split(x, sizes, axis=axis)


def _output(
    graph: Graph, config: CodecConfig, groups: Sequence[str], name: str, dtype: type[np.generic]
) -> None:
    """Declare groups an output, in raster order."""
    x = groups[0]
    if config.context != "none":
        halves = [list(groups[half::2]) for half in (0, 1)]
        joined = [h[0] if len(h) == 1 else graph.op("Concat", *h, axis=2) for h in halves]
        both = graph.op("Concat", *joined, axis=1)
        x = graph.gather(both, index_input(graph, "join"))
    if dtype != np.float32:
        x = graph.op("Cast", x, to=dtype)
    graph.output(x, name, dtype, "batch", "latents", config.latent_channels)

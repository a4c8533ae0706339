"""Means of the checkerboard's two groups; see `models.context.CheckerboardContext`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from promptcodec.config import CodecConfig
from promptcodec.runtime.graphs.graph import Array, Graph, Parameters
from promptcodec.runtime.graphs.halves import index_input

TAPS = ((0, 1), (1, 0), (1, 2), (2, 1))  # of a 3x3 kernel: up, left, right, down


def build_checkerboard(
    graph: Graph, config: CodecConfig, features: str, reconstruct: Callable[[int, str], str]
) -> list[str]:
    """Add the walk; returns y_hat of both groups.

    Args:
        graph: graph that it is added to.
        config: architecture of the base.
        features: of the means, in raster order, (B, n, N).
        reconstruct: y_hat of a group from its number and its means.
    """
    x = graph.linear(features, "fuse")
    first, second = (graph.gather(x, index_input(graph, f"half.{half}")) for half in (0, 1))
    anchors = reconstruct(0, graph.linear(graph.op("Relu", first), "means"))
    # Each anchor's part in what its four neighbours see, then their sums.
    width = config.context_channels
    parts = graph.op("MatMul", anchors, graph.parameter("neighbours.weight"))
    parts = graph.op("Pad", parts, graph.ints(0, 0, 0, 0, 1, 0))  # what lies outside is zero
    parts = graph.op("Reshape", parts, graph.ints(0, -1, width))
    parts = graph.gather(parts, index_input(graph, "taps"))
    parts = graph.op("Reshape", parts, graph.ints(0, -1, 4, width))
    seen = graph.op("ReduceSum", parts, graph.ints(2), keepdims=0)
    second = graph.op("Add", second, graph.linear(seen, "seen"))
    return [anchors, reconstruct(1, graph.linear(graph.op("Relu", second), "means"))]


def fold_checkerboard(weights: Parameters) -> dict[str, Array]:
    """Parameters of the walk."""
    fuse, bias = weights["context.fuse.weight"][:, :, 0, 0], weights["context.fuse.bias"]
    near = weights["context.neighbours.weight"]
    split = fuse.shape[0] - near.shape[0]
    taps = np.concatenate([near[:, :, y, x] for y, x in TAPS])
    scale = weights["context.y_scale"]
    context = fuse[:, split:].T
    means = weights["context.means.weight"][:, :, 0, 0]
    return {
        "fuse.weight": fuse[:, :split].T,
        "fuse.bias": bias,
        "neighbours.weight": (taps / scale).T,
        "seen.weight": context,
        "seen.bias": weights["context.neighbours.bias"] @ context,
        "means.weight": means.T,
        "means.bias": weights["context.means.bias"],
    }

"""Graph of h_a, and the features that the means are made of; see `models.hyperprior`.

hyper_analyse  y -> [units folded] conv, ReLU, conv, ReLU, conv -> z before rounding
mean features  z_hat -> [3x3, pixel shuffle, ReLU] twice -> features, modulated by a rate
"""

from __future__ import annotations

import numpy as np

from promptcodec.config import CodecConfig
from promptcodec.runtime.graphs.graph import Array, Graph, Parameters

Z_STRIDES = (1, 2, 2)  # of the layers of h_a


def build_hyper_analysis(config: CodecConfig) -> Graph:
    """h_a: y (B, M, h, w) to z before rounding, (B, Cz, h / 4, w / 4)."""
    graph = Graph("hyper_analyse")
    x = graph.input("y", np.float32, "batch", config.latent_channels, "rows", "columns")
    for number, stride in enumerate(Z_STRIDES):
        if number:
            x = graph.op("Relu", x)
        kernel = 3 if number else config.hyper_kernel
        x = graph.conv(x, f"h_a.{number}", kernel=kernel, stride=stride, edge=True)
    graph.output(x, "z", np.float32, "batch", config.z_channels, "z_rows", "z_columns")
    return graph


def fold_hyper_analysis(weights: Parameters) -> dict[str, Array]:
    """Parameters of the graph of h_a."""
    found = {}
    for number in range(len(Z_STRIDES)):
        own = f"hyperprior.h_a.{1 + 2 * number}"  # the units come first
        found[f"h_a.{number}.weight"] = weights[f"{own}.weight"]
        found[f"h_a.{number}.bias"] = weights[f"{own}.bias"]
    found["h_a.0.weight"] = found["h_a.0.weight"] / weights["hyperprior.h_a.0.units"][:, None, None]
    return found


def build_mean_features(graph: Graph, config: CodecConfig) -> str:
    """Add h_means: input z_hat (B, Cz, h, w) to a grid (B, N, 4 h, 4 w)."""
    x = graph.input("z_hat", np.float32, "batch", config.z_channels, "z_rows", "z_columns")
    for number in range(2):
        x = graph.conv(x, f"h_means.{number}", kernel=3, edge=True)
        x = graph.op("Relu", graph.op("DepthToSpace", x, blocksize=2, mode="CRD"))
    scaled = graph.op("Mul", x, graph.parameter("mean_scale"))
    return graph.op("Add", scaled, graph.parameter("mean_bias"))


def fold_mean_features(weights: Parameters, adapter: Parameters | None) -> dict[str, Array]:
    """Parameters of h_means; a rate scales and moves each feature."""
    found = {}
    for number, layer in enumerate((0, 3)):
        own = f"hyperprior.h_means.{layer}"
        found[f"h_means.{number}.weight"] = weights[f"{own}.weight"]
        found[f"h_means.{number}.bias"] = weights[f"{own}.bias"]
    width = len(found["h_means.1.bias"]) // 4
    scale, bias = np.ones(width, np.float32), np.zeros(width, np.float32)
    if adapter is not None:
        scale, bias = scale + adapter["mean_scale"], bias + adapter["mean_bias"]
    return found | {"mean_scale": scale[:, None, None], "mean_bias": bias[:, None, None]}

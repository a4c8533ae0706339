"""Graphs of heads, and their weights folded.

y_hat -> stem -> inverted residuals -> 1x1 -> mean -> linear -> logits
                 '-> features at 1/8 and 1/16, summed at 1/8 -> dilated 3x3 -> logits
"""

from __future__ import annotations

import numpy as np

from promptcodec.coding.head_config import DILATIONS, LATENTS, HeadConfig
from promptcodec.coding.trunk import (
    COARSE,
    ENTRY_KERNEL,
    ENTRY_STRIDE,
    FINE,
    StageConfig,
    TrunkConfig,
    borders,
)
from promptcodec.config import CLASSIFY
from promptcodec.errors import UsageError
from promptcodec.runtime.graphs.graph import Array, Graph, Parameters
from promptcodec.runtime.graphs.head_stem import build_stem, fold_stem, linear, shuffled


def build_head(config: HeadConfig) -> Graph:
    """A head: y_hat (B, h w, M) to logits (B, classes), or to (B, classes, 2 h, 2 w).

    Inputs are those of `build_stem`.

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
    if config.trunk.is_timm:
        raise UsageError(
            f"a head with {config.trunk.network} has no graph: it runs in torch alone: pip install "
            "'promptcodec[train]'"
        )
    graph, classes = Graph(config.task), len(config.labels)
    levels = _levels(graph, build_stem(graph, config), config.trunk)
    if config.task == CLASSIFY:
        x = levels[max(levels)]
        hidden = _relu6(graph, graph.conv(x, "trunk.last", kernel=1))
        mean = graph.op("ReduceMean", hidden, graph.ints(2, 3), keepdims=0)
        graph.output(graph.linear(mean, "trunk.out"), "scores", np.float32, "batch", classes)
        return graph
    scores = _pyramid(graph, {s: levels[s] for s in config.trunk.channels_by_stride})
    graph.output(scores, "scores", np.float32, "batch", classes, "rows", "columns")
    return graph


def fold_head(weights: Parameters, config: HeadConfig) -> dict[str, Array]:
    """Parameters of the graph of a head.

    Args:
        weights: float32 arrays of the head, by name.
        config: configuration of the head.
    """
    assert config.stem is not None
    as_they_are = [n for n in weights if n.startswith(("trunk.", "pyramid."))]
    found = fold_stem(weights, config.stem) | {name: weights[name] for name in as_they_are}
    if config.task == CLASSIFY:
        found |= linear(weights, "trunk.out")
    return found


def _levels(graph: Graph, x: str, trunk: TrunkConfig) -> dict[int, str]:
    """Grids by px between two features, the last of each resolution."""
    levels, inputs = {trunk.begins: x}, trunk.channels
    if trunk.entry:
        around = borders(ENTRY_KERNEL, ENTRY_STRIDE)
        x = graph.conv(x, "trunk.entry", kernel=ENTRY_KERNEL, stride=ENTRY_STRIDE, borders=around)
        x, inputs = _relu6(graph, x), trunk.entry
    for number, (stage, stride) in enumerate(zip(trunk.stages, trunk.strides, strict=True)):
        for block in range(stage.blocks):
            name = f"trunk.stages.{number}.{block}"
            x = _residual(graph, x, name, stage, inputs=inputs, first=block == 0)
            inputs = stage.width
        levels[stride] = x
    return levels


def _residual(
    graph: Graph, x: str, name: str, stage: StageConfig, *, inputs: int, first: bool
) -> str:
    hidden, stride = inputs * stage.expansion, stage.stride if first else 1
    y = x
    if stage.expansion > 1:
        y = _relu6(graph, graph.conv(x, f"{name}.expand", kernel=1))
    y = graph.conv(
        y,
        f"{name}.depthwise",
        kernel=stage.kernel,
        stride=stride,
        groups=hidden,
        borders=borders(stage.kernel, stride),
    )
    y = graph.conv(_relu6(graph, y), f"{name}.project", kernel=1)
    return graph.op("Add", x, y) if stride == 1 and inputs == stage.width else y


def _pyramid(graph: Graph, levels: dict[int, str]) -> str:
    total = ""
    for number, (stride, features) in enumerate(levels.items()):
        x = graph.conv(features, f"pyramid.lateral.{number}", kernel=1)
        if stride == COARSE:
            x = shuffled(graph, x, COARSE // FINE)
        total = graph.op("Add", total, x) if total else x
    x, scores = graph.op("Gelu", total), ""
    for number, dilation in enumerate(DILATIONS):
        own = graph.conv(x, f"pyramid.dilated.{number}", kernel=3, dilation=dilation)
        scores = graph.op("Add", scores, own) if scores else own
    return scores


def _relu6(graph: Graph, x: str) -> str:
    return graph.op("Clip", x, graph.float(0.0), graph.float(6.0))

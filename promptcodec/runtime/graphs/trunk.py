"""Graphs of heads with stages of a trained network, and their weights folded.

y_hat -> linear + (first layers -> blocks at 1/16 -> norm, linear) -> pixel shuffle
-> inverted residuals -> 1x1 -> mean -> linear -> logits
'-> each resolution to 1/8, summed -> dilated 3x3 -> logits
"""

from __future__ import annotations

import numpy as np

from promptcodec.coding.head_config import DILATIONS, HeadConfig
from promptcodec.coding.trunk import (
    COARSE,
    ENTRY_KERNEL,
    ENTRY_STRIDE,
    FINE,
    STEM_KERNEL,
    StageConfig,
    StemConfig,
    TrunkConfig,
    borders,
)
from promptcodec.config import CLASSIFY, LATENT_STRIDE
from promptcodec.errors import UsageError
from promptcodec.runtime.graphs.graph import Array, Graph, Parameters
from promptcodec.runtime.graphs.head_stem import build_stem, fold_stem, linear, norm
from promptcodec.runtime.graphs.layout import grid_input


def build_trunk_head(graph: Graph, config: HeadConfig, trunk: TrunkConfig) -> None:
    """Add the networks and the output of a head.

    Raises:
        UsageError: the network is one of timm.
    """
    if trunk.is_timm:
        raise UsageError(
            f"a head with {trunk.network} has no graph: it runs in torch alone: pip install "
            "'promptcodec[train]'"
        )
    assert config.stem is not None
    x = _features(graph, config, config.stem, trunk)
    levels = [x] if trunk.begins >= FINE else []
    inputs = trunk.channels
    if trunk.entry:
        around = borders(ENTRY_KERNEL, ENTRY_STRIDE)
        x = graph.conv(x, "trunk.entry", kernel=ENTRY_KERNEL, stride=ENTRY_STRIDE, borders=around)
        x, inputs = _relu6(graph, x), trunk.entry
    for number, stage in enumerate(trunk.stages):
        for block in range(stage.blocks):
            name = f"trunk.stages.{number}.{block}"
            x = _residual(graph, x, name, stage, inputs=inputs, first=block == 0)
            inputs = stage.width
        if number in trunk.levels:
            levels.append(x)
    if config.task == CLASSIFY:
        hidden = _relu6(graph, graph.conv(x, "trunk.last", kernel=1))
        mean = graph.op("ReduceMean", hidden, graph.ints(2, 3), keepdims=0)
        scores = graph.linear(mean, "trunk.out")
        graph.output(scores, "scores", np.float32, "batch", len(config.labels))
        return
    scores = _pyramid(graph, dict(zip(trunk.channels_by_stride, levels, strict=True)))
    classes = len(config.labels)
    graph.output(scores, "scores", np.float32, "batch", classes, "rows", "columns")


def fold_trunk_head(weights: Parameters, stem: StemConfig) -> dict[str, Array]:
    """Parameters of the graph of a head."""
    found = fold_stem(weights, film=True)
    found |= norm(weights, "stem.last_norm") | linear(weights, "stem.last")
    found |= linear(weights, "stem.direct")
    for number in range(stem.blocks):
        name = f"stem.blocks.{number}"
        found |= norm(weights, f"{name}.norm")
        found |= linear(weights, f"{name}.mlp.0") | linear(weights, f"{name}.mlp.2")
        for part in ("weight", "bias"):
            found[f"{name}.depthwise.{part}"] = weights[f"{name}.depthwise.{part}"]
    as_they_are = [n for n in weights if n.startswith(("trunk.", "pyramid."))]
    found |= {name: weights[name] for name in as_they_are}
    if "trunk.out.weight" in found:
        found |= linear(weights, "trunk.out")
    return found


def _features(graph: Graph, config: HeadConfig, stem: StemConfig, trunk: TrunkConfig) -> str:
    """The stem: a grid at the resolution where the trunk begins."""
    x, tokens = build_stem(graph, config.latent_channels, film=True)
    size = grid_input(graph, LATENT_STRIDE)
    half = STEM_KERNEL // 2
    for number in range(stem.blocks):
        name = f"stem.blocks.{number}"
        grid = graph.conv(
            graph.to_grid(tokens, size),
            f"{name}.depthwise",
            kernel=STEM_KERNEL,
            groups=stem.width,
            borders=(half, half),
        )
        own = graph.norm(graph.to_tokens(grid), f"{name}.norm")
        own = graph.op("Gelu", graph.linear(own, f"{name}.mlp.0"))
        tokens = graph.op("Add", tokens, graph.linear(own, f"{name}.mlp.2"))
    own = graph.linear(graph.norm(tokens, "stem.last_norm"), "stem.last")
    grid = graph.to_grid(graph.op("Add", graph.linear(x, "stem.direct"), own), size)
    finer = COARSE // trunk.begins
    return _shuffled(graph, grid, finer) if finer > 1 else grid


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
            x = _shuffled(graph, x, COARSE // FINE)
        elif stride > COARSE:
            ratio = stride // FINE
            x = graph.op("Resize", x, "", graph.floats(1, 1, ratio, ratio), mode="linear")
            inside = graph.input("inside", np.int64, 2)
            x = graph.op("Slice", x, graph.ints(0, 0), inside, graph.ints(2, 3))
        total = graph.op("Add", total, x) if total else x
    x, scores = graph.op("Gelu", total), ""
    for number, dilation in enumerate(DILATIONS):
        own = graph.conv(x, f"pyramid.dilated.{number}", kernel=3, dilation=dilation)
        scores = graph.op("Add", scores, own) if scores else own
    return scores


def _relu6(graph: Graph, x: str) -> str:
    return graph.op("Clip", x, graph.float(0.0), graph.float(6.0))


def _shuffled(graph: Graph, grid: str, finer: int) -> str:
    return graph.op("DepthToSpace", grid, blocksize=finer, mode="CRD")

"""Stages of heads: Swin blocks with merging between them, or residual bottlenecks.

Folded into the weights: the order of the four tokens that are merged, normalisation over batches.
"""

from __future__ import annotations

import numpy as np

from promptcodec.coding.head_config import HeadConfig
from promptcodec.runtime.graphs.features import Features
from promptcodec.runtime.graphs.graph import Array, Parameters
from promptcodec.runtime.graphs.layout import Layout
from promptcodec.runtime.graphs.swin import Heads, build_block, fold_block

EPSILON = 1e-5  # of batch normalisation


def build_swin_stages(x: Features, config: HeadConfig, *, stages: int) -> Features:
    """Add Swin stages.

    Args:
        x: tokens of the first stage.
        config: configuration of the head.
        stages: number of stages.
    """
    graph, stride = x.graph, x.stride
    for stage in range(stages):
        layout = Layout(stride << stage, config.window)
        if stage:
            patches = x.patches(layout, config.widths[stage - 1])
            name = f"body.merging.{stage - 1}"
            weight = graph.parameter(f"{name}.reduction")
            merged = graph.op("MatMul", graph.norm(patches, f"{name}.norm"), weight)
            x = Features(graph, merged, layout.stride, layout)
        for block in range(config.depths[stage]):
            layout = Layout(stride << stage, config.window, config.window // 2 * (block % 2))
            tokens = build_block(
                graph,
                x.tokens(layout),
                f"body.stages.{stage}.{block}",
                layout=layout,
                heads=_heads(config, stage),
            )
            x = Features(graph, tokens, layout.stride, layout)
    return x


def fold_swin_stages(weights: Parameters, config: HeadConfig, *, stages: int) -> dict[str, Array]:
    """Parameters of Swin stages."""
    found: dict[str, Array] = {}
    for stage in range(stages):
        if stage:
            name, below = f"body.merging.{stage - 1}", config.widths[stage - 1]
            # Columns before rows in torch, rows before columns in the graph.
            order = np.arange(4 * below).reshape(2, 2, below).transpose(1, 0, 2).ravel()
            for part in ("weight", "bias"):
                found[f"{name}.norm.{part}"] = weights[f"{name}.norm.{part}"][order]
            found[f"{name}.reduction"] = weights[f"{name}.reduction.weight"][:, order].T
        for block in range(config.depths[stage]):
            name = f"body.stages.{stage}.{block}"
            units = np.ones(config.widths[stage], np.float32)
            own = fold_block(weights, name, heads=_heads(config, stage), units=units, prompts=None)
            found |= {f"{name}.{part}": value for part, value in own.items()}
    return found


def build_residual_stages(x: Features, config: HeadConfig) -> Features:
    """Add stages of bottlenecks."""
    graph, stride, inputs, grid = x.graph, x.stride, config.widths[0], x.grid()
    for stage, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
        for block in range(depth):
            name, step = f"body.stages.{stage}.{block}", 2 if stage and not block else 1
            inner = graph.op("Relu", graph.conv(grid, f"{name}.conv1", kernel=1))
            inner = graph.op("Relu", graph.conv(inner, f"{name}.conv2", kernel=3, stride=step))
            outer = graph.conv(inner, f"{name}.conv3", kernel=1)
            if step > 1 or inputs != width:
                grid = graph.conv(grid, f"{name}.downsample", kernel=1, stride=step)
            grid, inputs = graph.op("Relu", graph.op("Add", outer, grid)), width
    return Features(graph, grid, stride << (len(config.widths) - 1), None)


def fold_residual_stages(weights: Parameters) -> dict[str, Array]:
    """Parameters of stages of bottlenecks."""
    found: dict[str, Array] = {}
    for name in weights:
        block, _, layer = name.removesuffix(".weight").rpartition(".")
        if not name.startswith("body.") or not name.endswith(".weight"):
            continue
        if layer.startswith("conv"):
            norm, own = f"{block}.bn{layer[-1]}", f"{block}.{layer}"
        elif name.endswith(".downsample.0.weight"):
            norm, own = f"{block}.1", block
        else:
            continue
        spread = np.sqrt(weights[f"{norm}.running_var"] + np.float32(EPSILON))
        scale = weights[f"{norm}.weight"] / spread
        found[f"{own}.weight"] = weights[name] * scale[:, None, None, None]
        found[f"{own}.bias"] = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return found


def _heads(config: HeadConfig, stage: int) -> Heads:
    return Heads(config.widths[stage] // config.head_channels, config.head_channels)

"""Swin blocks on tokens that lie window by window, with and without prompts.

    x (B, n, C) -> norm -> attention in windows (+ prompts) -> + x -> norm -> MLP -> + x

Folded into the weights: the scale of the queries, the units of the stream, head and gate of the
prompts. Relative positions become one bias for each pair of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from promptcodec.runtime.graphs.graph import Array, Graph, Parameters
from promptcodec.runtime.graphs.layout import Layout, mask_of
from promptcodec.runtime.graphs.prompts import PromptWeights


@dataclass(frozen=True)
class Heads:
    """Attention heads of a block.

    Args:
        count: number of heads.
        channels: channels of one head.
    """

    count: int
    channels: int

    def cut(self, graph: Graph, x: str, tokens: int, *, turned: bool = False) -> str:
        """Split features by window and head.

        Args:
            graph: graph that it is added to.
            x: features, (B, n, C).
            tokens: number of tokens of a window.
            turned: whether the last two axes change places, as keys need it.
        Returns:
            (B, windows, heads, tokens, channels of a head).
        """
        x = graph.op("Reshape", x, graph.ints(0, -1, tokens, self.count, self.channels))
        return graph.op("Transpose", x, perm=[0, 1, 3, 4, 2] if turned else [0, 1, 3, 2, 4])

    def join(self, graph: Graph, x: str) -> str:
        """Undo `cut`."""
        x = graph.op("Transpose", x, perm=[0, 1, 3, 2, 4])
        return graph.op("Reshape", x, graph.ints(0, -1, self.count * self.channels))


def build_block(
    graph: Graph, x: str, name: str, *, layout: Layout, heads: Heads, prompts: str | None = None
) -> str:
    """Add a block.

    Args:
        graph: graph that it is added to.
        x: tokens, (B, n, C).
        name: prefix of its parameters.
        layout: order of the tokens.
        heads: attention heads.
        prompts: prompt tokens in the same windows, (B, n / 4, D); None is the base.
    """
    tokens = layout.window**2
    y = graph.norm(x, f"{name}.norm1")
    queries = heads.cut(graph, graph.linear(y, f"{name}.query"), tokens)
    keys = heads.cut(graph, graph.linear(y, f"{name}.key"), tokens, turned=True)
    values = heads.cut(graph, graph.linear(y, f"{name}.value"), tokens)
    logits = graph.op("MatMul", queries, keys)
    logits = graph.op("Add", logits, graph.parameter(f"{name}.position_bias"))
    if layout.shift:
        logits = graph.op("Add", logits, mask_of(graph, layout))
    out = graph.op("MatMul", graph.op("Softmax", logits, axis=-1), values)
    if prompts is not None:
        own = tokens // 4
        keys = heads.cut(graph, graph.linear(prompts, f"{name}.prompt_key"), own, turned=True)
        values = heads.cut(graph, graph.linear(prompts, f"{name}.prompt_value"), own)
        weights = graph.op("Softmax", graph.op("MatMul", queries, keys), axis=-1)
        out = graph.op("Add", out, graph.op("MatMul", weights, values))
    x = graph.op("Add", x, graph.linear(heads.join(graph, out), f"{name}.proj"))
    hidden = graph.linear(graph.norm(x, f"{name}.norm2"), f"{name}.mlp.0")
    return graph.op("Add", x, graph.linear(graph.op("Gelu", hidden), f"{name}.mlp.2"))


def fold_block(
    weights: Parameters, name: str, *, heads: Heads, units: Array, prompts: PromptWeights | None
) -> dict[str, Array]:
    """Parameters of a block.

    Args:
        weights: tensors of the base, by name.
        name: prefix of the block's tensors.
        heads: attention heads.
        units: divisor of each channel of the stream, (C,).
        prompts: what an adapter adds; None is the base.
    """

    def linear(own: str, scale: Array | float = 1.0) -> tuple[Array, Array]:
        weight, bias = weights[f"{name}.{own}.weight"], weights[f"{name}.{own}.bias"]
        scale = np.asarray(scale, np.float32)
        return weight * scale[..., None], bias * scale

    qkv, bias = linear("attention.qkv")
    (wq, wk, wv), (bq, bk, bv) = np.split(qkv, 3), np.split(bias, 3)
    scale = np.float32(heads.channels**-0.5)
    maps = {
        "query": (wq * scale, bq * scale),
        "key": (wk, bk),
        "value": (wv, bv),
        "proj": linear("attention.proj", 1.0 / units),
        "mlp.0": linear("mlp.0"),
        "mlp.2": linear("mlp.2", 1.0 / units),
    }
    if prompts is not None:
        gate = np.repeat(prompts.gate, heads.channels)
        maps["prompt_key"] = wk @ prompts.weight, wk @ prompts.bias + bk
        maps["prompt_value"] = (
            gate[:, None] * (wv @ prompts.weight),
            gate * (wv @ prompts.bias + bv),
        )
    found = {}
    for own, (weight, bias) in maps.items():
        found[f"{own}.weight"], found[f"{own}.bias"] = weight.T, bias
    for norm in ("norm1", "norm2"):
        for part in ("weight", "bias"):
            found[f"{norm}.{part}"] = weights[f"{name}.{norm}.{part}"]
    table = weights[f"{name}.attention.position_bias"]
    edge = (round(len(table) ** 0.5) + 1) // 2
    found["position_bias"] = table[relative_positions(edge)].transpose(2, 0, 1)
    return found


def relative_positions(window: int) -> Array:
    """Row of the table of biases for each pair of tokens of a window, (w * w, w * w)."""
    y, x = np.divmod(np.arange(window * window), window)
    down, right = y[:, None] - y + window - 1, x[:, None] - x + window - 1
    return down * (2 * window - 1) + right

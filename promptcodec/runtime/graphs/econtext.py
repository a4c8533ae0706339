"""Means of the efficient context transformer's groups; see `models.econtext`.

The walk is written out: keys and values of earlier slots are joined to those of the next one. Units
of the latents, the scale of the queries and the linear part of the means are folded into the
weights; what padding holds in a window is kept apart by the mask.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from promptcodec.config import CodecConfig
from promptcodec.runtime.graphs.checkerboard import TAPS
from promptcodec.runtime.graphs.graph import Array, Graph, Parameters
from promptcodec.runtime.graphs.halves import index_input, mask_of
from promptcodec.runtime.graphs.swin import Heads


class _Walk:
    """The walk under construction.

    Args:
        graph: graph that it is added to.
        config: architecture of the base.
        features: of the means, in raster order, (B, n, N).
    """

    def __init__(self, graph: Graph, config: CodecConfig, features: str) -> None:
        self.graph, self.config = graph, config
        self.heads = Heads(config.context_channels // config.head_channels, config.head_channels)
        self.tokens = config.context_window**2 // 2
        halves = [graph.gather(features, index_input(graph, f"half.{half}")) for half in (0, 1)]
        self.queried = [
            graph.op("MatMul", half, graph.parameter("of_features.weight")) for half in halves
        ]
        self.fused = [graph.linear(half, "fuse_features") for half in halves]
        self.first = graph.op("Gelu", graph.linear(halves[0], "first"))
        self.keys: dict[int, str] = {}
        self.values: dict[int, str] = {}

    def means(self, group: int, coded: list[str]) -> str:
        """Means of a group, (B, n / 2, channels), from y_hat of the earlier ones."""
        graph, (segment, half) = self.graph, divmod(group, 2)
        if not group:
            return graph.linear(self.first, "out.0.hidden")
        x = self._slot(group - 1, coded[-1])
        hidden = graph.op("MatMul", x, graph.parameter("fuse.weight"))
        hidden = graph.op("Gelu", graph.op("Add", hidden, self.fused[half]))
        means = graph.linear(hidden, f"out.{segment}.hidden")
        more = graph.op("MatMul", x, graph.parameter(f"out.{segment}.slot"))
        means = graph.op("Add", means, more)
        if half:
            near = graph.op("Pad", coded[group - 1], graph.ints(0, 0, 0, 0, 1, 0))
            near = graph.gather(near, index_input(graph, "near"))
            width = 4 * self.config.context_segments[segment]
            near = graph.op("Reshape", near, graph.ints(0, -1, width))
            near = graph.op("MatMul", near, graph.parameter(f"neighbours.{segment}"))
            means = graph.op("Add", means, near)
        if segment:
            lower = [coded[2 * below + half] for below in range(segment)]
            both = lower[0] if len(lower) == 1 else graph.op("Concat", *lower, axis=2)
            below = graph.op("MatMul", both, graph.parameter(f"below.{segment}"))
            means = graph.op("Add", means, below)
        return means

    def _slot(self, slot: int, latents: str) -> str:
        """The slot of the group that was coded last, after all layers, as a packed half."""
        graph, config = self.graph, self.config
        x = graph.op("MatMul", latents, graph.parameter(f"embed.{slot // 2}"))
        x = graph.op("Add", x, self.queried[(slot + 1) % 2])
        x = graph.op("Add", x, graph.parameter(f"slot.{slot}"))
        order = "slots.0"
        for layer in range(config.context_layers):
            x = graph.gather(x, index_input(graph, order))
            x = self._layer(layer, slot, x)
            order = f"slots.{layer % 2}.{(layer + 1) % 2}"
        last = (config.context_layers - 1) % 2
        return graph.gather(x, index_input(graph, f"unslot.{last}"))

    def _layer(self, layer: int, slot: int, x: str) -> str:
        graph, name, heads = self.graph, f"layers.{layer}", self.heads
        y = graph.norm(x, f"{name}.norm1")
        queries = heads.cut(graph, graph.linear(y, f"{name}.query"), self.tokens)
        keys = heads.cut(graph, graph.linear(y, f"{name}.key"), self.tokens, turned=True)
        values = graph.op("MatMul", x, graph.parameter(f"{name}.value"))  # not normalised
        values = heads.cut(graph, values, self.tokens)
        if slot:
            keys = graph.op("Concat", self.keys[layer], keys, axis=4)
            values = graph.op("Concat", self.values[layer], values, axis=3)
        self.keys[layer], self.values[layer] = keys, values
        logits = graph.op("MatMul", queries, keys)
        logits = graph.op("Add", logits, graph.parameter(f"{name}.position_bias.{slot}"))
        mask = mask_of(graph, layer % 2, self.tokens)
        if slot:
            mask = graph.op("Concat", *[mask] * (slot + 1), axis=3)
        weights = graph.op("Softmax", graph.op("Add", logits, mask), axis=-1)
        out = heads.join(graph, graph.op("MatMul", weights, values))
        x = graph.op("Add", x, graph.linear(out, f"{name}.proj"))
        hidden = graph.linear(graph.norm(x, f"{name}.norm2"), f"{name}.mlp.0")
        return graph.op("Add", x, graph.linear(graph.op("Gelu", hidden), f"{name}.mlp.2"))


def build_econtext(
    graph: Graph, config: CodecConfig, features: str, reconstruct: Callable[[int, str], str]
) -> list[str]:
    """Add the walk; arguments and result as `build_checkerboard`."""
    walk = _Walk(graph, config, features)
    coded: list[str] = []
    for group in range(2 * len(config.context_segments)):
        coded.append(reconstruct(group, walk.means(group, coded)))
    return coded


def fold_econtext(weights: Parameters, config: CodecConfig) -> dict[str, Array]:
    """Parameters of the walk."""
    own = {
        name.removeprefix("context."): value
        for name, value in weights.items()
        if name.startswith("context.")
    }
    sizes = config.context_segments
    ends = np.cumsum(sizes)
    scales = np.split(own["y_scale"], ends[:-1])
    width = config.context_channels
    fuse = own["fuse.weight"]
    found = {
        "of_features.weight": own["of_features.weight"].T,
        "fuse.weight": fuse[:, :width].T,
        "fuse_features.weight": fuse[:, width:].T,
        "fuse_features.bias": own["fuse.bias"],
        "first.weight": own["first.weight"].T,
        "first.bias": own["first.bias"],
    }
    for segment, scale in enumerate(scales):
        out = own[f"out.{segment}.weight"] * scale[:, None]
        found[f"out.{segment}.hidden.weight"] = out[:, width:].T
        found[f"out.{segment}.hidden.bias"] = own[f"out.{segment}.bias"] * scale
        found[f"out.{segment}.slot"] = out[:, :width].T
        found[f"embed.{segment}"] = (own[f"embed.{segment}.weight"] / scale).T
        near = own[f"neighbours.{segment}.weight"]
        taps = np.concatenate([near[:, :, y, x] * scale[:, None] / scale for y, x in TAPS], axis=1)
        found[f"neighbours.{segment}"] = taps.T
        if segment:
            below = own[f"below.{segment - 1}.weight"][:, :, 0, 0]
            lower = np.concatenate(scales[:segment])
            found[f"below.{segment}"] = (below * scale[:, None] / lower).T
    for slot, vector in enumerate(own["slot"]):
        bias = own[f"embed.{slot // 2}.bias"] + own["of_features.bias"]
        found[f"slot.{slot}"] = vector + bias
    for layer in range(config.context_layers):
        found |= _fold_layer(own, f"layers.{layer}", config)
    return found


def _fold_layer(own: Parameters, name: str, config: CodecConfig) -> dict[str, Array]:
    query, key = np.split(own[f"{name}.query_key.weight"], 2)
    query_bias, key_bias = np.split(own[f"{name}.query_key.bias"], 2)
    scale = np.float32(config.head_channels**-0.5)
    found = {
        f"{name}.query.weight": query.T * scale,
        f"{name}.query.bias": query_bias * scale,
        f"{name}.key.weight": key.T,
        f"{name}.key.bias": key_bias,
        f"{name}.value": own[f"{name}.value.weight"].T,
    }
    for linear in ("proj", "mlp.0", "mlp.2"):
        found[f"{name}.{linear}.weight"] = own[f"{name}.{linear}.weight"].T
        found[f"{name}.{linear}.bias"] = own[f"{name}.{linear}.bias"]
    for norm in ("norm1", "norm2"):
        for part in ("weight", "bias"):
            found[f"{name}.{norm}.{part}"] = own[f"{name}.{norm}.{part}"]
    table, slots = own[f"{name}.position_bias"], 2 * len(config.context_segments) - 1
    offsets = relative_offsets(config.context_window, slots)
    tokens = len(offsets) // slots
    for slot in range(slots):
        end = (slot + 1) * tokens
        rows = offsets[slot * tokens : end, :end]
        found[f"{name}.position_bias.{slot}"] = table[rows].transpose(2, 0, 1)
    return found


def relative_offsets(window: int, slots: int) -> Array:
    """Row of the table of biases for each pair of tokens of a window, (slots * P, slots * P).

    A key stands where its content lies, a query where the group that it predicts lies. Pairs whose
    key comes later than the query have no meaning.
    """
    row, packed = np.divmod(np.arange(window * window // 2), window // 2)

    def columns(half: int) -> Array:
        return 2 * packed + (row + 1 + half) % 2

    slot = np.repeat(np.arange(slots), len(row))
    rows = np.tile(row, slots)
    key = np.concatenate([columns(number % 2) for number in range(slots)])
    query = np.concatenate([columns((number + 1) % 2) for number in range(slots)])
    side = 2 * window - 1
    later = np.maximum(slot[:, None] - slot, 0)
    down, right = rows[:, None] - rows + window - 1, query[:, None] - key + window - 1
    return (later * side + down) * side + right

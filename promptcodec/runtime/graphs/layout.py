"""Order of tokens: windows of attention, patches and pixel shuffles as index vectors.

Tokens of a grid lie in memory in raster order or window by window. Rolls, partitions, patch
embeddings and pixel shuffles are then one gather each, by index vectors that depend on the size of
the picture alone. They are inputs of a graph, named by what they are:

    order.s8w0h0.s8w8h4     slots of one layout for each slot of another of the same grid
    patches.s8w8h0.s16w4h0  the r x r fine tokens of each coarse token, row by row
    children.s16w4h0.s8w8h0 fine tokens, where each coarse token holds its r x r ones in a row
    regions.s8w8h4          number of the region of each token of each window
    grid.s8                 rows and columns
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from promptcodec.runtime.graphs.graph import Graph

HIDDEN = -1e4  # addend of the logit of a forbidden pair: zero after the softmax

Indexes = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Order of the tokens of a grid.

    Args:
        stride: px between two tokens.
        window: edge of a window in tokens; 0 is raster order.
        shift: rows and columns that the grid is rolled by, towards its start; none along an axis
            of a single window.
    """

    stride: int
    window: int = 0
    shift: int = 0

    def __str__(self) -> str:
        return f"s{self.stride}w{self.window}h{self.shift}"

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Undo `str`."""
        stride, rest = text[1:].split("w")
        window, shift = rest.split("h")
        return cls(int(stride), int(window), int(shift))

    def positions(self, height: int, width: int) -> Indexes:
        """Place in raster order of each token, (n,).

        Args:
            height: rows of the picture, px.
            width: columns of the picture, px.
        """
        rows, columns = height // self.stride, width // self.stride
        places = np.arange(rows * columns).reshape(rows, columns)
        edge = self.window
        if not edge:
            return places.ravel()
        places = np.roll(places, (-self._shift(rows), -self._shift(columns)), axis=(0, 1))
        cut = places.reshape(rows // edge, edge, columns // edge, edge)
        return cut.transpose(0, 2, 1, 3).ravel()

    def regions(self, height: int, width: int) -> NDArray[np.int32]:
        """What came round from the start, by a number, (windows, tokens).

        Tokens of different regions do not attend to each other. Arguments are those of `positions`.
        """
        rows, columns = height // self.stride, width // self.stride
        down, right = self._came_round(rows), self._came_round(columns)
        edge = self.window
        regions = (2 * down[:, None] + right).reshape(rows // edge, edge, columns // edge, edge)
        return regions.transpose(0, 2, 1, 3).reshape(-1, edge * edge).astype(np.int32)

    def _shift(self, size: int) -> int:
        return self.shift if size > self.window else 0

    def _came_round(self, size: int) -> NDArray[np.bool_]:
        """True where a row or column came round from the start."""
        return np.arange(size) + self._shift(size) >= size


def index_input(graph: Graph, kind: str, source: Layout, target: Layout) -> str:
    """Declare an index vector; `kind` is "order", "patches" or "children"."""
    name = f"{kind}.{source}.{target}"
    return graph.input(name, np.int64, name.replace(".", "_"))


def build_mask(graph: Graph, regions: str) -> str:
    """Addend of the logits, (windows, 1, tokens, tokens), from regions (windows, tokens)."""
    queries = graph.op("Unsqueeze", regions, graph.ints(1, 3))
    keys = graph.op("Unsqueeze", regions, graph.ints(1, 2))
    apart = graph.op("Not", graph.op("Equal", queries, keys))
    return graph.op("Mul", graph.op("Cast", apart, to=np.float32), graph.float(HIDDEN))


def mask_of(graph: Graph, layout: Layout) -> str:
    """The mask of a layout whose regions are an input."""
    tokens = layout.window**2
    name = graph.input(f"regions.{layout}", np.int32, f"windows_{layout}", tokens)
    return build_mask(graph, name)


def grid_input(graph: Graph, stride: int) -> str:
    """Declare the rows and columns of a grid."""
    return graph.input(f"grid.s{stride}", np.int64, 2)


@lru_cache(maxsize=64)
def feed(name: str, height: int, width: int) -> NDArray:
    """The value of an input of a graph that depends on the size of the picture alone.

    Args:
        name: name of the input.
        height: rows of the padded picture, px.
        width: columns of the padded picture, px.
    """
    kind, _, rest = name.partition(".")
    if kind == "grid":
        stride = int(rest[1:])
        return np.array([height // stride, width // stride], np.int64)
    if kind == "regions":
        return Layout.parse(rest).regions(height, width)
    source, target = map(Layout.parse, rest.split("."))
    there = source.positions(height, width)
    slots = np.empty_like(there)
    slots[there] = np.arange(len(there))
    wanted = target.positions(height, width)
    if kind == "order":
        return slots[wanted]
    columns = width // target.stride
    if kind == "patches":
        ratio = target.stride // source.stride
        down, right = np.divmod(np.arange(ratio * ratio), ratio)
        y, x = (axis[:, None] * ratio for axis in np.divmod(wanted, columns))
        return slots[((y + down) * columns * ratio + x + right).ravel()]
    ratio = source.stride // target.stride
    y, x = np.divmod(wanted, columns)
    coarse = slots[y // ratio * (columns // ratio) + x // ratio]
    return coarse * ratio**2 + y % ratio * ratio + x % ratio

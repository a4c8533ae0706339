"""Features between two layers of a transform, as tokens in some order or as a grid."""

from __future__ import annotations

from dataclasses import dataclass

from promptcodec.runtime.graphs.graph import Graph
from promptcodec.runtime.graphs.layout import Layout, grid_input, index_input


@dataclass(frozen=True)
class Features:
    """Features of one resolution.

    Args:
        graph: graph that they are in.
        name: name of the value, (B, n, C) tokens or a grid (B, C, H, W).
        stride: px between two elements.
        layout: order of the tokens; None is a grid.
        brothers: tokens of a square that lie in a row before the next square, r * r; the layout is
            that of the squares, r times as coarse.
    """

    graph: Graph
    name: str
    stride: int
    layout: Layout | None
    brothers: int = 1

    def tokens(self, layout: Layout) -> str:
        """Tokens in an order."""
        graph = self.graph
        if self.layout is None:
            tokens = graph.to_tokens(self.name)
            raster = Layout(self.stride)
            if layout == raster:
                return tokens
            return graph.gather(tokens, index_input(graph, "order", raster, layout))
        if self.brothers > 1:
            order = index_input(graph, "children", self.layout, layout)
        elif layout == self.layout:
            return self.name
        else:
            order = index_input(graph, "order", self.layout, layout)
        return graph.gather(self.name, order)

    def grid(self) -> str:
        """A grid."""
        if self.layout is None:
            return self.name
        tokens = self.tokens(Layout(self.stride))
        return self.graph.to_grid(tokens, grid_input(self.graph, self.stride))

    def patches(self, layout: Layout, channels: int) -> str:
        """Squares of r x r elements for each token of a coarser layout, (B, n, r * r * C).

        Args:
            layout: order of the squares.
            channels: C.
        """
        graph, ratio = self.graph, layout.stride // self.stride
        source = self.layout or Layout(self.stride)
        order = index_input(graph, "patches", source, layout)
        patches = graph.gather(self.tokens(source), order)
        return graph.op("Reshape", patches, graph.ints(0, -1, ratio**2 * channels))

"""Halves of a checkerboard as tokens, packed row by row, and what lies where between them.

    half.0, half.1   place in raster order of each token of the anchors and of the rest
    join             places in (anchors, rest) of each token in raster order
    near             places in the anchors, and behind the last one for what lies outside, of the
                     four around each token of the rest: up, left, right, down
    taps             the same in rows of the anchors that hold a part for each direction
    slots.k          places in a packed half of the tokens of its windows, shifted where k is 1
    slots.k.m        the same, from the order of layer k to that of layer m
    unslot.k         places in the windows of each token of a packed half
    apart.k          number of the region of each token of its windows

Anchors are the odd columns of even rows and the even columns of odd rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from promptcodec.config import LATENT_STRIDE
from promptcodec.runtime.graphs.graph import Graph
from promptcodec.runtime.graphs.layout import Indexes, build_mask

KINDS = ("half", "join", "near", "taps", "slots", "unslot", "apart")


def index_input(graph: Graph, name: str) -> str:
    """Declare an index vector."""
    return graph.input(name, np.int64, name.replace(".", "_"))


def mask_of(graph: Graph, shifted: int, tokens: int) -> str:
    """The mask of the windows of a packed half, whose regions are an input."""
    name = graph.input(f"apart.{shifted}", np.int32, f"windows_{shifted}", tokens)
    return build_mask(graph, name)


@lru_cache(maxsize=64)
def feed(name: str, height: int, width: int, *, window: int) -> NDArray:
    """The value of such an input.

    Args:
        name: name of the input.
        height: rows of the padded picture, px.
        width: columns of the padded picture, px.
        window: edge of a window of the context in latents.
    """
    rows, columns = height // LATENT_STRIDE, width // LATENT_STRIDE
    kind, *numbers = name.split(".")
    values = [int(number) for number in numbers]
    if kind == "half":
        return _places(rows, columns, half=values[0])
    if kind == "join":
        both = np.concatenate([_places(rows, columns, half=half) for half in (0, 1)])
        return np.argsort(both)
    if kind == "near":
        return _near(rows, columns)
    if kind == "taps":
        return (4 * _near(rows, columns).reshape(-1, 4) + np.arange(4)).ravel()
    first, *others = (_Windows.of(rows, columns // 2, window, shifted) for shifted in values)
    if kind == "apart":
        return first.regions.astype(np.int32)
    slots = np.empty_like(first.places)
    slots[first.places] = np.arange(len(slots))
    if kind == "slots" and others:
        return slots[others[0].places]
    row, column = np.divmod(first.places, first.columns)
    if kind == "slots":  # padding is apart from the rest, so any token may stand there
        inside = (row < rows) & (column < columns // 2)
        return np.where(inside, row * (columns // 2) + column, 0)
    row, column = np.divmod(np.arange(rows * columns // 2), columns // 2)
    return slots[row * first.columns + column]


def _places(rows: int, columns: int, *, half: int) -> Indexes:
    row, packed = np.divmod(np.arange(rows * columns // 2), columns // 2)
    return row * columns + 2 * packed + (row + 1 + half) % 2


def _near(rows: int, columns: int) -> Indexes:
    row, packed = np.divmod(np.arange(rows * columns // 2), columns // 2)
    column = 2 * packed + row % 2
    y = row[:, None] + np.array([-1, 0, 0, 1])
    x = column[:, None] + np.array([0, -1, 1, 0])
    inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    return np.where(inside, y * (columns // 2) + x // 2, rows * columns // 2).ravel()


@dataclass(frozen=True)
class _Windows:
    """Windows of a packed half, w rows and w / 2 columns each, padded to whole ones.

    Args:
        places: place in the padded grid, in raster order, of each token of the windows.
        regions: number for what came round, what is padding and the rest, (windows, tokens).
        columns: columns of the padded grid.
    """

    places: Indexes
    regions: Indexes
    columns: int

    @classmethod
    def of(cls, rows: int, columns: int, window: int, shifted: int) -> _Windows:
        """Windows of a grid of `rows` and `columns`."""
        size, edges = (rows, columns), (window, window // 2)
        padded = tuple(-(-side // edge) * edge for side, edge in zip(size, edges, strict=True))
        shift = tuple(edge // 2 * shifted for edge in edges)
        down, right = (
            np.where((at := np.arange(whole) + by) % whole >= side, 2, at >= whole)
            for whole, by, side in zip(padded, shift, size, strict=True)
        )
        places = np.arange(padded[0] * padded[1]).reshape(padded)
        places = np.roll(places, tuple(-by for by in shift), axis=(0, 1))
        cut = (padded[0] // edges[0], edges[0], padded[1] // edges[1], edges[1])
        regions = (3 * down[:, None] + right).reshape(cut).transpose(0, 2, 1, 3)
        return cls(
            places.reshape(cut).transpose(0, 2, 1, 3).ravel(),
            regions.reshape(-1, edges[0] * edges[1]),
            padded[1],
        )

"""Choice of a ladder for a picture from samples of it, without coding it with every ladder.

activity of squares -> a few of them, drawn in proportion -> bits and error with each ladder

A square of the sample stands for as many others as its share of the activity is small, so that the
sums estimate those of the whole picture: Hansen and Hurwitz 1943, sampling in proportion to size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream import MAX_PIXELS
from promptcodec.coding.encoder import CodingPoint, PreparedPicture, encode_together, prepare
from promptcodec.coding.engine import Progress
from promptcodec.coding.graphics import ExactSearch
from promptcodec.coding.ladder import Ladder
from promptcodec.coding.packs import Attempt
from promptcodec.coding.tiling import Box
from promptcodec.errors import RateError

SIDE = 128  # px, of a square
SMALL_SIDE = 64  # px, of a square of a small picture
SHARE = 1 / 8  # of the picture that is sampled
FEW, MOST = 4, 16  # squares
MARGIN = 0.02  # of the cost, which a pack must save in the sample
STEP = 4  # rows of which one tells the activity
FLAT = 0.25  # activity of a flat square, levels


def likely(
    prepared: PreparedPicture, points: Sequence[CodingPoint], *, search: ExactSearch | None
) -> int:
    """Number of the point that codes a picture at the lowest cost, in all likelihood.

    Args:
        prepared: prepared picture.
        points: positions of one rate on several ladders; the first one is kept where none is
            better by `MARGIN`.
        search: search for exact tiles; what may become one is not sampled. If nothing else is
            left, the first one is kept.
    """
    squares, weights = _sample(prepared, search) if len(points) > 1 else ([], [])
    if not squares:
        return 0
    costs = [_cost(squares, weights, point, lmbda=points[0].lmbda) for point in points]
    best = int(np.argmin(costs))
    return best if costs[best] < (1.0 - MARGIN) * costs[0] else 0


def tried(
    ladders: Sequence[Ladder],
    attempt: Callable[[Ladder, Progress | None], Attempt],
    progress: Progress | None = None,
    *,
    among: Sequence[Attempt] = (),
) -> list[Attempt]:
    """Attempts with ladders; those that a target is out of reach for are left out.

    Args:
        ladders: ladders, of which each has the rate.
        attempt: function that codes a picture with one, and gives its progress.
        progress: function of (steps done, steps) of all.
        among: attempts that there are already.
    Raises:
        RateError: of the first one, if none is left.
    """
    found: list[Attempt] = []
    refusals: list[RateError] = []
    for number, ladder in enumerate(ladders):
        try:
            found.append(attempt(ladder, _part_of(progress, number, len(ladders))))
        except RateError as error:
            refusals.append(error)
    if not found and not among:
        raise refusals[0]
    return found


def _part_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Progress of one of several encodings as that of all."""
    if progress is None or count == 1:
        return progress
    return lambda done, total: progress(number * total + done, count * total)


def _sample(
    prepared: PreparedPicture, search: ExactSearch | None
) -> tuple[list[PreparedPicture], list[float]]:
    """Squares of a picture as pictures of one tile, and how many squares each one stands for."""
    height, width = prepared.picture.height, prepared.picture.width
    side = SIDE if height * width * SHARE >= FEW * SIDE**2 else SMALL_SIDE
    boxes = _squares(height, width, min(side, height), min(side, width))
    count = round(height * width * SHARE / boxes[0].area)
    if search is not None:
        flat = _flat_cells(search)
        boxes = [box for box in boxes if not flat[_cells_of(box, search.cells.size)].any()]
        if not boxes:
            return [], []
    activity = np.array([_activity(prepared, box) for box in boxes])
    order = np.argsort(activity, kind="stable")  # quiet and busy ones are both drawn
    count = min(MOST, len(boxes), max(1, count))
    ends = np.cumsum(activity[order])
    places = (np.arange(count) + 0.5) / count * ends[-1]
    drawn, times = np.unique(order[np.searchsorted(ends, places)], return_counts=True)
    squares = [_square(prepared, boxes[n]) for n in drawn]
    return squares, list(times * ends[-1] / activity[drawn] / count)


def _flat_cells(search: ExactSearch) -> NDArray[np.bool_]:
    """Which cells may become exact, (rows, columns)."""
    rows, columns = search.cells.grid
    flat = np.zeros(rows * columns, bool)
    flat[list(search.flat)] = True
    return flat.reshape(rows, columns)


def _cells_of(box: Box, size: int) -> tuple[slice, slice]:
    """Rows and columns of the cells of that size that a box touches; a size of 0 is one cell."""
    if not size:
        return slice(0, 1), slice(0, 1)
    ends = -(-box.bottom // size), -(-box.right // size)
    return slice(box.top // size, ends[0]), slice(box.left // size, ends[1])


def _squares(height: int, width: int, rows: int, columns: int) -> list[Box]:
    """Boxes of rows x columns px that cover a picture; the last ones overlap those before."""
    tops = [*range(0, height - rows, rows), height - rows]
    lefts = [*range(0, width - columns, columns), width - columns]
    return [Box(top, left, top + rows, left + columns) for top in tops for left in lefts]


def _activity(prepared: PreparedPicture, box: Box) -> float:
    """Mean absolute difference of visible neighbours in a row, and a little for flat colours."""
    rows, columns = box.slices(prepared.tiling.picture)
    rgb = prepared.picture.pixels[rows, columns][::STEP].astype(np.int16)
    differences, alpha = np.abs(np.diff(rgb, axis=1)), prepared.picture.alpha
    if alpha is not None:
        seen = alpha[rows, columns][::STEP] > 0
        differences = differences * (seen[:, 1:] & seen[:, :-1])[..., None]
    return FLAT + (float(differences.mean()) if differences.size else 0.0)


def _square(prepared: PreparedPicture, box: Box) -> PreparedPicture:
    rows, columns = box.slices(prepared.tiling.picture)
    whole = prepared.picture
    alpha = None if whole.alpha is None else whole.alpha[rows, columns]
    part = replace(whole, pixels=whole.pixels[rows, columns], alpha=alpha)
    return prepare(prepared.engine, part, tile_size=0, effort=0, max_pixels=MAX_PIXELS)


def _cost(
    squares: list[PreparedPicture], weights: list[float], point: CodingPoint, *, lmbda: float
) -> float:
    """Estimate of the rate-distortion cost of the picture, bits without headers."""
    engine, network = squares[0].engine, point.rate_point.network
    candidates = encode_together(squares, point)
    y_hat = [each.latents.y_hat for each in candidates]
    shown: NDArray[np.uint8] = engine.synthesise(np.concatenate(y_hat), network=network)
    total = 0.0
    for candidate, weight, pixels in zip(candidates, weights, shown, strict=True):
        box: Box = candidate.prepared.tiling.picture
        error = candidate.error_of(pixels[: box.height, : box.width], box)
        total += weight * (candidate.bits() + lmbda * error / 3)
    return total

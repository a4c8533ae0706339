"""Labels and masks from the scores of a head."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SCORE_STRIDE = 8  # px of an element of a segmentation head's scores
BAND = 64  # rows of scores that are interpolated together


class Label(NamedTuple):
    """A class and its probability.

    Args:
        label: name of the class.
        probability: number from 0 to 1.
    """

    label: str
    probability: float


def most_probable(logits: NDArray[np.float32], labels: tuple[str, ...], *, top: int) -> list[Label]:
    """The most probable classes of a picture, most probable first.

    Args:
        logits: calibrated scores (classes,).
        labels: names of the classes.
        top: number of classes, 1 or more.
    """
    power = np.exp(logits - logits.max())
    likely = power / power.sum()
    places = np.argsort(-likely, kind="stable")[:top]
    return [Label(labels[place], float(likely[place])) for place in places]


def classes_of(scores: NDArray[np.float32], *, height: int, width: int) -> NDArray[np.uint8]:
    """The class of each pixel, (height, width).

    Scores of all pixels at once would take 44 bytes a pixel; a band of rows at a time is in memory.

    Args:
        scores: scores at 1/8 of a padded picture, (classes, H / 8, W / 8); interpolated linearly
            between their centres.
        height: rows of the picture without its padding.
        width: columns of the picture without its padding.
    """
    mask = np.empty((height, width), np.uint8)
    left, right, across = _neighbours(width, scores.shape[2])
    vertical = _neighbours(height, scores.shape[1])
    for top in range(0, height, BAND * SCORE_STRIDE):
        rows = slice(top, min(top + BAND * SCORE_STRIDE, height))
        above, below, down = (each[rows] for each in vertical)
        best, classes = None, mask[rows]
        for number, plane in enumerate(scores):
            wide = plane[:, left] + (plane[:, right] - plane[:, left]) * across
            full = wide[above] + (wide[below] - wide[above]) * down[:, None]
            if best is None:
                best, classes[:] = full, 0
                continue
            better = full > best
            classes[better] = number
            np.maximum(best, full, out=best)
    return mask


def _neighbours(
    size: int, count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Elements on either side of each pixel, and the share of the second; ends are repeated."""
    place = ((np.arange(size) + 0.5) / SCORE_STRIDE - 0.5).clip(0.0, count - 1.0)
    low = place.astype(np.intp)
    return low, np.minimum(low + 1, count - 1), (place - low).astype(np.float32)

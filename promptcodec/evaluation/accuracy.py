"""Accuracy of classifiers on the same pictures: calibration, differences in pairs, equal sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from promptcodec.errors import UsageError
from promptcodec.evaluation.bootstrap import RESAMPLES, Estimate

BINS = 15  # of confidence, as wide as each other


def tally(right: np.ndarray) -> dict[str, Any]:
    """Mean over seeds, each seed, and right or wrong by picture, from (seeds, N)."""
    each = right.mean(axis=1)
    return {
        "accuracy": float(each.mean()),
        "seeds": [float(value) for value in each],
        "right": ["".join("01"[int(value)] for value in row) for row in right],
    }


def shares(right: Sequence[str]) -> np.ndarray:
    """Share of seeds with the right label of each picture, (N,), of a text of 1 and 0 a seed."""
    return np.mean([[int(c) for c in row] for row in right], axis=0)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error, 0 to 1: mean distance of accuracy from confidence over the bins.

    Args:
        confidence: probability of the most probable class of each picture, (N,).
        right: whether that class is the right one, (N,).
    Source:
        Guo et al. 2017, arXiv:1706.04599, with equal-width bins, open below.
    """
    places = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(int)
    error = 0.0
    for place in np.unique(places):
        own = places == place
        error += own.mean() * abs(right[own].mean() - confidence[own].mean())
    return float(error)


def paired_difference(ours: np.ndarray, others: np.ndarray) -> Estimate:
    """Lead of one reader over another in points of accuracy, with a 95 % interval.

    Pictures are resampled with replacement, for both readers alike.

    Args:
        ours: share of seeds with the right label of each picture, (N,), see `shares`.
        others: shares of the other reader, (N,), for the same pictures.
    """
    gaps = ours - others
    draws = np.random.default_rng(0).integers(0, len(gaps), (RESAMPLES, len(gaps)))
    return Estimate.of_draws(100.0 * gaps.mean(), 100.0 * gaps[draws].mean(axis=1))


def at_size(
    sizes: Sequence[float], values: Sequence[np.ndarray | float], size: float
) -> np.ndarray | None:
    """A quantity of a curve at a size of files, on a line over the logarithm of sizes.

    Args:
        sizes: size of the files of each point, in any unit, smallest first.
        values: quantity of each point, of any shape.
        size: size to read it at, in the same unit.
    Returns:
        The quantity; None outside of the curve.
    Raises:
        UsageError: the sizes do not increase.
    """
    if any(second <= first for first, second in pairwise(sizes)):
        listed = ", ".join(f"{each:.4f}" for each in sizes)
        raise UsageError(f"sizes are {listed}; need increasing ones: order the recipe's settings")
    if not sizes[0] <= size <= sizes[-1]:
        return None
    low = int(np.searchsorted(sizes, size, side="right")) - 1
    if sizes[low] == size:
        return np.asarray(values[low])
    weight = np.log(size / sizes[low]) / np.log(sizes[low + 1] / sizes[low])
    return (1.0 - weight) * np.asarray(values[low]) + weight * np.asarray(values[low + 1])

"""Agreement of masks: intersection over union of each class, and its mean.

Source: Everingham et al. 2010, doi:10.1007/s11263-009-0275-4.
"""

from __future__ import annotations

import numpy as np

from promptcodec.coding.head_config import IGNORE
from promptcodec.errors import ShapeError


def confusion_counts(found: np.ndarray, truth: np.ndarray, *, classes: int) -> np.ndarray:
    """Number of pixels for each pair of classes.

    Args:
        found: predicted classes, (H, W).
        truth: classes of the mask, (H, W); pixels of `IGNORE` are not counted.
        classes: number of classes.
    Returns:
        Confusion matrix, int64 (classes, classes): rows are the truth, columns the prediction.
    Raises:
        ShapeError: the masks differ in size.
    """
    if found.shape != truth.shape:
        raise ShapeError(f"masks are {found.shape} and {truth.shape}; need the same size")
    counted = truth != IGNORE
    pairs = classes * truth[counted].astype(np.int64) + found[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def class_iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, (..., classes); NaN for classes in neither mask.

    Args:
        counts: confusion matrices, (..., classes, classes), summed over pictures.
    """
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(axis=-1) + counts.sum(axis=-2) - both
    return np.divide(both, union, out=np.full(both.shape, np.nan), where=union > 0)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """Mean of `class_iou` over the classes that occur, (...)."""
    return np.nanmean(class_iou(counts), axis=-1)

"""Intersection over union against what is counted by hand."""

import numpy as np
import pytest

from promptcodec.coding.head_config import IGNORE
from promptcodec.errors import ShapeError
from promptcodec.models.heads.iou import class_iou, confusion_counts, mean_iou

TRUTH = np.array([[0, 0, 1, 1], [0, 0, 1, IGNORE]], np.uint8)
FOUND = np.array([[0, 1, 1, 1], [0, 0, 0, 2]], np.uint8)


def test_counts_by_hand() -> None:
    counts = confusion_counts(FOUND, TRUTH, classes=3)
    assert counts.tolist() == [[3, 1, 0], [1, 2, 0], [0, 0, 0]]
    overlap = class_iou(counts)
    assert overlap[:2] == pytest.approx([3 / 5, 2 / 4]) and np.isnan(overlap[2])
    assert mean_iou(counts) == pytest.approx((3 / 5 + 2 / 4) / 2)


def test_pictures_are_summed_before_the_ratio() -> None:
    counts = np.stack([confusion_counts(FOUND, TRUTH, classes=3)] * 2)
    assert mean_iou(counts).shape == (2,)
    assert mean_iou(counts.sum(axis=0)) == pytest.approx(mean_iou(counts[0]))
    assert mean_iou(confusion_counts(TRUTH % 2, TRUTH, classes=3)) == 1.0


def test_another_size() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(2, 4\)"):
        confusion_counts(FOUND[:, :3], TRUTH, classes=3)

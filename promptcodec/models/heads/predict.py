"""What a stream shows: labels and masks from its latents, without rebuilding pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from promptcodec.models.heads.checkpoint import Head
from promptcodec.models.heads.segmenter import STRIDE, upsample

PASS_PICTURES = 64  # that a classifier reads at once
BAND = 64  # rows of scores that become pixels together


class Label(NamedTuple):
    """A class and how sure the head is of it.

    Args:
        label: name of the class.
        probability: 0 to 1.
    """

    label: str
    probability: float


@torch.inference_mode()
def classify(
    head: Head, latents: Sequence[Tensor], *, lmbdas: Sequence[float], top: int
) -> list[list[Label]]:
    """The most probable classes of each picture, most probable first.

    Args:
        head: a classifier.
        latents: y_hat of each, (1, M, h, w); those of one size go through the head together.
        lmbdas: rate-distortion weights of their rates.
        top: how many classes, 1 or more.
    """
    groups: dict[torch.Size, list[int]] = {}
    for number, y_hat in enumerate(latents):
        groups.setdefault(y_hat.shape, []).append(number)
    found: dict[int, list[Label]] = {}
    passes = (
        alike[start : start + PASS_PICTURES]
        for alike in groups.values()
        for start in range(0, len(alike), PASS_PICTURES)
    )
    for numbers in passes:
        stack = torch.cat([latents[n] for n in numbers])
        logits = scores(head, stack, lmbda=[lmbdas[n] for n in numbers])
        likely = torch.softmax(logits / head.config.temperature, dim=1)
        values, places = likely.topk(min(top, likely.shape[1]))
        for number, own, classes in zip(numbers, values.tolist(), places.tolist(), strict=True):
            pairs = zip(classes, own, strict=True)
            found[number] = [Label(head.config.labels[place], value) for place, value in pairs]
    return [found[number] for number in range(len(latents))]


@torch.inference_mode()
def segment(head: Head, y_hat: Tensor, *, lmbda: float, height: int, width: int) -> np.ndarray:
    """The class of each pixel, uint8 (height, width)."""
    return classes_of(scores(head, y_hat, lmbda=[lmbda]), height=height, width=width)


def classes_of(scores: Tensor, *, height: int, width: int) -> np.ndarray:
    """The class of each pixel, uint8 (height, width), of scores (1, classes, H/8, W/8).

    Scores of all pixels at once would take 44 bytes for each; a band of rows is held instead.
    """
    mask = np.empty((height, width), np.uint8)
    for top in range(0, -(-height // STRIDE), BAND):
        above = min(top, 1)  # rows that bilinear interpolation reaches into
        part = scores[:, :, top - above : top + BAND + 1]
        rows = min(height - top * STRIDE, BAND * STRIDE)
        full = upsample(part, height=rows + above * STRIDE, width=width)[:, :, above * STRIDE :]
        mask[top * STRIDE : top * STRIDE + rows] = full[0].argmax(dim=0).cpu().numpy()
    return mask


def scores(head: Head, y_hat: Tensor, *, lmbda: Sequence[float]) -> Tensor:
    """What the head's network gives: logits (B, classes), or at 1/8 (B, classes, 2 h, 2 w).

    Args:
        head: of any task.
        y_hat: (B, M, h, w).
        lmbda: rate-distortion weight of each picture's rate.
    """
    weights = torch.tensor(lmbda, dtype=torch.float32, device=y_hat.device)
    return head.model(y_hat.float(), weights).float()

"""Inference of a head on latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from promptcodec.models.heads.checkpoint import Head


def scores(head: Head, y_hat: Tensor, *, lmbda: Sequence[float]) -> Tensor:
    """Logits (B, classes), or for segmentation logits at 1/8, (B, classes, 2 h, 2 w).

    Args:
        head: head of any task.
        y_hat: latents, (B, M, h, w).
        lmbda: rate-distortion weight of each picture's rate.
    """
    weights = torch.tensor(lmbda, dtype=torch.float32, device=y_hat.device)
    return head.model(y_hat.float(), weights).float()

"""Reconstruction points of quantised residuals in their intervals.

    r = round(u)  ->  r - sign(r) * pull[table index, |r| is 1 or more]

If the scale is small against the step, most values rounded to 1 are nearer to 1/2 than to 1. Their
mean depends on scale over step alone, that is, on the table index; so one table serves every gain,
and the input of g_s is the expected latent at any rate. Only the reconstruction changes: symbols
and their tables do not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from promptcodec.coding.entropy.tables import NUM_SCALES
from promptcodec.models.likelihood import index_to_scale


class Centroids(nn.Module):
    """Learned pull towards zero for each scale table, initialised for a Laplacian."""

    def __init__(self) -> None:
        super().__init__()
        self.pull = nn.Parameter(laplacian_pull().repeat(2, 1))  # of |r| = 1, of |r| > 1

    def forward(self, symbols: Tensor, index: Tensor) -> Tensor:
        """Rebuild residuals, in steps.

        Args:
            symbols: r, whole numbers or softly rounded ones, any shape.
            index: table index of each, same shape; real ones are rounded.
        """
        if not index.dtype.is_floating_point:
            place = index.long()
        else:
            rounded = torch.round(index.detach()).nan_to_num(0.0)  # a run may diverge
            place = rounded.clamp(0, NUM_SCALES - 1).long()
        one, more = self.pull[0][place], self.pull[1][place]
        pull = torch.where(symbols.detach().abs() < 1.5, one, more)
        return symbols - symbols.clamp(-1.0, 1.0) * pull


def laplacian_pull() -> Tensor:
    """Distance of the mean of a Laplacian in an interval of length 1 from its middle, (tables,).

    With mean absolute value b it is 1/2 - b + 1 / (exp(1/b) - 1), in every interval but that of
    zero.
    """
    spread = index_to_scale(torch.arange(NUM_SCALES).double()) / math.sqrt(2.0)
    return (0.5 - spread + 1.0 / torch.expm1(1.0 / spread)).float()

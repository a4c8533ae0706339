"""End of a segmentation head: features of several resolutions to scores at 1/8.

Source: Chen et al. 2016, arXiv:1606.00915 (dilated convolutions of several rates, summed). Differs:
features at 1/16 come to 1/8 by a pixel shuffle; rates of dilation are for smaller pictures.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.head_config import DILATIONS
from promptcodec.coding.trunk import COARSE, FINE, PYRAMID_WIDTH


class Pyramid(nn.Module):
    """Features at 1/8 and 1/16, summed at 1/8, then four dilated 3x3 convolutions, summed.

    Args:
        channels: channels by px between two features, 8 or 16.
        classes: number of classes.
    """

    def __init__(self, channels: dict[int, int], classes: int) -> None:
        super().__init__()
        self.strides = tuple(channels)
        shuffled = {COARSE: (COARSE // FINE) ** 2}
        self.lateral = nn.ModuleList(
            nn.Conv2d(own, PYRAMID_WIDTH * shuffled.get(stride, 1), 1)
            for stride, own in channels.items()
        )
        self.dilated = nn.ModuleList(
            nn.Conv2d(PYRAMID_WIDTH, classes, 3, padding=d, dilation=d) for d in DILATIONS
        )

    def forward(self, levels: dict[int, Tensor]) -> Tensor:
        """Scores, (B, classes, H, W) of the grid of the finest features, or twice that at 1/16.

        Args:
            levels: features, (B, C, H, W), by px between two of them.
        """
        total: Tensor | None = None
        for stride, lateral in zip(self.strides, self.lateral, strict=True):
            x = lateral(levels[stride])
            if stride == COARSE:
                x = F.pixel_shuffle(x, COARSE // FINE)
            # Pixels may end in half of a feature at 1/16.
            total = x if total is None else total + x[:, :, : total.shape[2], : total.shape[3]]
        assert total is not None
        x = F.gelu(total)
        return torch.stack([convolve(x) for convolve in self.dilated]).sum(dim=0)

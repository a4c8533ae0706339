"""Segmentation from y_hat: a class for every pixel, without decoding.

    y_hat (M, h, w) -> stem -> Swin blocks at 1/16 -> pixel shuffle to 1/8
                    -> four dilated 3x3 convolutions, summed (ASPP) -> bilinear up to 1/1

Sources: Torfason et al. 2018, arXiv:1803.06131; Chen et al. 2016, arXiv:1606.00915 (ASPP). Differs:
latents at stride 16 are shuffled to stride 8, rates of dilation fit smaller pictures.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.heads.classifier import LatentStem, pad_grid
from promptcodec.heads.config import HeadConfig
from promptcodec.heads.stages import SwinStages, initialise

DILATIONS = (1, 3, 6, 9)
STRIDE = 8  # px of one element of the scores


class LatentSegmenter(nn.Module):
    """Scores of every class at 1/8 of the picture's resolution.

    Args:
        config: of the head; its first stage is used.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        width = config.widths[0]
        self.stem = LatentStem(config.latent_channels, width)
        self.body = SwinStages(
            config.widths[:1],
            config.depths[:1],
            window=config.window,
            head_channels=config.head_channels,
            mlp_ratio=config.mlp_ratio,
        )
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.shuffle = nn.PixelShuffle(2)
        self.pyramid = nn.ModuleList(
            nn.Conv2d(width, len(config.labels), 3, padding=d, dilation=d) for d in DILATIONS
        )
        initialise(self)

    def forward(self, y_hat: Tensor, lmbda: Tensor) -> Tensor:
        """Scores, (B, classes, 2 h, 2 w); see `LatentClassifier.forward`."""
        height, width = y_hat.shape[2:]
        x = self.stem(pad_grid(y_hat, self.body.multiple), lmbda)
        x = F.gelu(self.up(self.norm(self.body(x)))).permute(0, 3, 1, 2)
        x = self.shuffle(x)[:, :, : 2 * height, : 2 * width]
        return torch.stack([convolve(x) for convolve in self.pyramid]).sum(dim=0)


def upsample(scores: Tensor, *, height: int, width: int) -> Tensor:
    """Scores of each pixel: (B, classes, H/8, W/8) of a padded picture, cropped to H x W."""
    full = F.interpolate(scores.float(), scale_factor=STRIDE, mode="bilinear", align_corners=False)
    return full[:, :, :height, :width]

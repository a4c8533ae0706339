"""Segmentation from y_hat: a class for every pixel, without decoding.

    y_hat (M, h, w) -> stem -> Swin blocks at 1/16 -> pixel shuffle to 1/8
                    -> four dilated 3x3 convolutions, summed (ASPP) -> bilinear up to 1/1
    x (3, H, W)     -> 4x4 patches -> Swin stages at 1/4, 1/8, 1/16 -> the same

The second, on decoded pixels, is for comparison. From 1/16 on the networks are the same; the
analysis transform takes the place of its stages before.

Sources: Torfason et al. 2018, arXiv:1803.06131; Chen et al. 2016, arXiv:1606.00915 (ASPP). Differs:
latents at stride 16 are shuffled to stride 8, rates of dilation are for smaller pictures.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.head_config import DILATIONS, HeadConfig
from promptcodec.coding.predict import SCORE_STRIDE
from promptcodec.errors import ConfigError
from promptcodec.models.heads.classifier import LatentStem, pad_grid
from promptcodec.models.heads.swin_stages import SwinStages, initialise

PIXEL_STAGES = 3  # from 1/4 to 1/16


class Pyramid(nn.Module):
    """Scores at 1/8 from tokens at 1/16: (B, h, w, width) to (B, classes, 2 h, 2 w).

    Args:
        width: channels of the tokens.
        classes: number of classes.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.shuffle = nn.PixelShuffle(2)
        self.dilated = nn.ModuleList(
            nn.Conv2d(width, classes, 3, padding=d, dilation=d) for d in DILATIONS
        )

    def forward(self, tokens: Tensor, *, height: int, width: int) -> Tensor:
        """Scores; the tokens are first cropped to h = height rows and w = width columns."""
        x = F.gelu(self.up(self.norm(tokens))).permute(0, 3, 1, 2)
        x = self.shuffle(x)[:, :, : 2 * height, : 2 * width]
        return torch.stack([convolve(x) for convolve in self.dilated]).sum(dim=0)


class LatentSegmenter(nn.Module):
    """Scores of every class at 1/8 of the picture's resolution.

    Args:
        config: configuration of the head, of one stage.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        width = config.widths[0]
        self.stem = LatentStem(
            config.latent_channels, width, film=config.film, dropout=config.dropout
        )
        self.body = SwinStages(
            config.widths[:1],
            config.depths[:1],
            window=config.window,
            head_channels=config.head_channels,
            mlp_ratio=config.mlp_ratio,
        )
        self.pyramid = Pyramid(width, len(config.labels))
        initialise(self)
        self.stem.start_plain()

    def forward(self, y_hat: Tensor, lmbda: Tensor) -> Tensor:
        """Scores, (B, classes, 2 h, 2 w); see `LatentClassifier.forward`."""
        height, width = y_hat.shape[2:]
        x = self.stem(pad_grid(y_hat, self.config.multiple), lmbda)
        return self.pyramid(self.body(x), height=height, width=width)


class PixelSegmenter(nn.Module):
    """Scores of every class at 1/8 of the resolution of a picture.

    Args:
        config: configuration of the head, of three stages.
    Raises:
        ConfigError: the number of stages is not three.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        if len(config.widths) != PIXEL_STAGES:
            raise ConfigError(
                f"widths has {len(config.widths)} entries; segmentation of pixels needs "
                f"{PIXEL_STAGES}, at 1/4, 1/8 and 1/16"
            )
        self.config = config
        self.patches = nn.Conv2d(3, config.widths[0], config.patch, stride=config.patch)
        self.embed_norm = nn.LayerNorm(config.widths[0])
        self.body = SwinStages(
            config.widths,
            config.depths,
            window=config.window,
            head_channels=config.head_channels,
            mlp_ratio=config.mlp_ratio,
        )
        self.pyramid = Pyramid(config.widths[-1], len(config.labels))
        initialise(self)

    def forward(self, x: Tensor, lmbda: Tensor) -> Tensor:
        """Scores, (B, classes, H/8, W/8), H and W rounded up to 16; see `PixelClassifier`."""
        height, width = (-(-size // (2 * SCORE_STRIDE)) for size in x.shape[2:])
        x = self.patches(pad_grid(2.0 * x - 1.0, self.config.patch * self.body.multiple))
        x = self.embed_norm(x.permute(0, 2, 3, 1))
        return self.pyramid(self.body(x), height=height, width=width)

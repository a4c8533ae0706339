"""The same network on pixels: what decoding first and classifying then costs and gives.

x (3, H, W) -> 4x4 patches -> LayerNorm -> Swin stages from 1/4 on -> mean -> logits
"""

from __future__ import annotations

from torch import Tensor, nn

from promptcodec.heads.classifier import pad_grid
from promptcodec.heads.config import HeadConfig
from promptcodec.heads.stages import SwinStages, initialise

PATCH = 4  # px


class PixelClassifier(nn.Module):
    """Logits from pictures.

    Args:
        config: of the head.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.patches = nn.Conv2d(3, config.widths[0], PATCH, stride=PATCH)
        self.embed_norm = nn.LayerNorm(config.widths[0])
        self.body = SwinStages(
            config.widths,
            config.depths,
            window=config.window,
            head_channels=config.head_channels,
            mlp_ratio=config.mlp_ratio,
        )
        self.norm = nn.LayerNorm(config.widths[-1])
        self.out = nn.Linear(config.widths[-1], len(config.labels))
        initialise(self)

    def forward(self, x: Tensor, lmbda: Tensor) -> Tensor:
        """Logits, (B, classes).

        Args:
            x: RGB in [0, 1], (B, 3, H, W), of any size.
            lmbda: taken as other heads take it, and not used: a decoded picture does not say it.
        """
        x = self.patches(pad_grid(2.0 * x - 1.0, PATCH * self.body.multiple))
        x = self.embed_norm(x.permute(0, 2, 3, 1))
        return self.out(self.norm(self.body(x)).mean(dim=(1, 2)))

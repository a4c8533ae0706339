"""Classifier on pixels: cost and accuracy of decoding first, with the network of latents.

x (3, H, W) -> patches -> LayerNorm -> stages -> mean -> logits; the patches of a residual network
overlap by 3 px
"""

from __future__ import annotations

from torch import Tensor, nn

from promptcodec.coding.head_config import RESNET, HeadConfig
from promptcodec.coding.head_shapes import OVERLAP
from promptcodec.models.heads.classifier import build_body, pad_grid
from promptcodec.models.heads.swin_stages import initialise


class PixelClassifier(nn.Module):
    """Logits from pictures.

    Args:
        config: configuration of the head.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        overlap = OVERLAP if config.body == RESNET else 0
        self.patches = nn.Conv2d(
            3,
            config.widths[0],
            config.patch + overlap,
            stride=config.patch,
            padding=(overlap + 1) // 2,
        )
        self.embed_norm = nn.LayerNorm(config.widths[0])
        self.body = build_body(config)
        self.norm = nn.LayerNorm(config.widths[-1])
        self.drop = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.widths[-1], len(config.labels))
        initialise(self)

    def forward(self, x: Tensor, lmbda: Tensor) -> Tensor:
        """Logits, (B, classes).

        Args:
            x: RGB in [0, 1], (B, 3, H, W), of any size.
            lmbda: unused; the argument of the other heads. Pixels have no rate.
        """
        return self.judge(self.body(self.tokens(x, lmbda)))

    def tokens(self, x: Tensor, lmbda: Tensor) -> Tensor:
        """Input of the body, (B, H', W', width); see `forward`."""
        x = self.patches(pad_grid(2.0 * x - 1.0, self.config.patch * self.body.multiple))
        return self.embed_norm(x.permute(0, 2, 3, 1))

    def judge(self, x: Tensor) -> Tensor:
        """Logits, (B, classes), from the output of the body, (B, H', W', width)."""
        return self.out(self.drop(self.norm(x).mean(dim=(1, 2))))

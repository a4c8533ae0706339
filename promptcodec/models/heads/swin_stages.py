"""Swin stages on a grid of tokens: Swin-T without its patch embedding.

    (B, H, W, C) -> Swin blocks -> [merge 2x2 tokens -> Swin blocks] ... -> (B, H', W', C')

Source: Liu et al. 2021, arXiv:2103.14030.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from promptcodec.models.swin import swin_blocks


class PatchMerging(nn.Module):
    """Four neighbours into one token: (B, H, W, C) to (B, H/2, W/2, out).

    Args:
        channels: C.
        out: width of the next stage.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Merge tokens; H and W are even."""
        b, h, w, c = x.shape
        # Columns before rows, the order of timm.
        x = x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(x.reshape(b, h // 2, w // 2, 4 * c)))


class SwinStages(nn.Module):
    """Stages of Swin blocks, merging between them.

    Args:
        widths: channels of each stage.
        depths: blocks of each stage; odd blocks are shifted.
        window: edge of a window in tokens; the grid of every stage is a multiple of it.
        head_channels: channels of one attention head.
        mlp_ratio: hidden width of an MLP over the stage's width.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        window: int,
        head_channels: int,
        mlp_ratio: float,
    ) -> None:
        super().__init__()
        self.multiple = window << (len(widths) - 1)
        self.merging = nn.ModuleList(PatchMerging(a, b) for a, b in pairwise(widths))
        self.stages = nn.ModuleList(
            nn.ModuleList(
                swin_blocks(
                    depth, width, window=window, head_channels=head_channels, mlp_ratio=mlp_ratio
                )
            )
            for width, depth in zip(widths, depths, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, widths[0]), H and W multiples of `multiple`, to the last stage's grid."""
        return self.outputs(x)[-1]

    def outputs(self, x: Tensor) -> list[Tensor]:
        """Output of every stage, (B, H', W', width); see `forward`."""
        found = []
        for number, blocks in enumerate(self.stages):
            if number:
                x = self.merging[number - 1](x)
            for block in blocks:  # type: ignore[union-attr]
                x = block(x)
            found.append(x)
        return found


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """Draw weights of linear maps from the truncated normal of Swin; biases are zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

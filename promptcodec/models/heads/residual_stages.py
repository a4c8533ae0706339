"""Stages of residual bottlenecks on latents: ResNet-50 without its root and early stages.

    (B, H, W, C) -> bottlenecks -> [stride 2 -> bottlenecks] ... -> (B, H', W', C')

Torfason et al. 2018, arXiv:1803.06131: stages of 4, 6 and 3 blocks, from 1/8 on, are cResNet-39;
4, 10 and 3 blocks are cResNet-51. Differs: latents are at 1/16, where the last two stages begin.
Blocks are those of timm.
"""

from __future__ import annotations

from collections.abc import Sequence

from timm.models.resnet import Bottleneck
from torch import Tensor, nn


class ResidualStages(nn.Module):
    """Stages of bottlenecks, a stride of 2 between them.

    Args:
        widths: channels of each stage, multiples of 4.
        depths: blocks of each stage.
    """

    def __init__(self, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.multiple = 1
        stages, inputs = [], widths[0]
        for number, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = []
            for block in range(depth):
                stride = 2 if number and not block else 1
                blocks.append(_bottleneck(inputs, width, stride=stride))
                inputs = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, widths[0]) to the last stage's grid."""
        return self.outputs(x)[-1]

    def outputs(self, x: Tensor) -> list[Tensor]:
        """Output of every stage, (B, H', W', width); see `forward`."""
        found, x = [], x.permute(0, 3, 1, 2)
        for stage in self.stages:
            x = stage(x)
            found.append(x.permute(0, 2, 3, 1))
        return found


def _bottleneck(inputs: int, width: int, *, stride: int) -> Bottleneck:
    below = None
    if stride > 1 or inputs != width:
        below = nn.Sequential(
            nn.Conv2d(inputs, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
        )
    return Bottleneck(inputs, width // 4, stride=stride, downsample=below)

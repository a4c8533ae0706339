"""Stages of inverted residuals, with normalisation folded into the convolutions.

    (B, C, H, W) -> [1x1 wider -> depthwise -> 1x1 narrower, + x where the shape is the same] ...
                 -> 1x1 -> mean over the grid -> classes

Source: Sandler et al. 2018, arXiv:1801.04381; with the borders of EfficientNet-Lite: a step of 2
begins at the first pixel, so that grids of any size are those of a larger picture's corner.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.trunk import (
    ENTRY_KERNEL,
    ENTRY_STRIDE,
    StageConfig,
    TrunkConfig,
    borders,
)
from promptcodec.models.heads.trunk import Trunk


class BorderedConv(nn.Conv2d):
    """Convolution of 3x3 or 5x5 whose output has ceil(size / stride) rows and columns.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        kernel: edge of the kernel.
        stride: step, 1 or 2.
        depthwise: whether every channel has a kernel of its own.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int, depthwise: bool = False
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=inputs if depthwise else 1)
        self.borders = borders(kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W)."""
        before, after = self.borders
        return super().forward(F.pad(x, (before, after, before, after)))


class InvertedResidual(nn.Module):
    """One block.

    Args:
        inputs: channels of the input.
        stage: configuration of its stage.
        first: whether it is the first block, which has the stage's step.
    """

    def __init__(self, inputs: int, stage: StageConfig, *, first: bool) -> None:
        super().__init__()
        stride = stage.stride if first else 1
        hidden = inputs * stage.expansion
        self.expand = nn.Conv2d(inputs, hidden, 1) if stage.expansion > 1 else None
        self.depthwise = BorderedConv(hidden, hidden, stage.kernel, stride=stride, depthwise=True)
        self.project = nn.Conv2d(hidden, stage.width, 1)
        self.adds = stride == 1 and inputs == stage.width

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, width, H / stride, W / stride), rounded up."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.adds else y


class InvertedTrunk(Trunk):
    """The stages of a config.

    Args:
        config: part of a network.
        classes: number of classes; None without what follows the stages.
    """

    def __init__(self, config: TrunkConfig, *, classes: int | None) -> None:
        super().__init__()
        self.channels = config.channels_by_stride
        self.ends = {number: config.strides[number] for number in config.ends}
        inputs = config.channels
        self.entry = None
        if config.entry:
            self.entry = BorderedConv(inputs, config.entry, ENTRY_KERNEL, stride=ENTRY_STRIDE)
            inputs = config.entry
        self.stages = nn.ModuleList()
        for stage in config.stages:
            blocks = nn.Sequential()
            for number in range(stage.blocks):
                blocks.append(InvertedResidual(inputs, stage, first=number == 0))
                inputs = stage.width
            self.stages.append(blocks)
        self.last = self.out = None
        if classes is not None:
            self.last = nn.Conv2d(inputs, config.last, 1)
            self.out = nn.Linear(config.last, classes)

    def levels(self, x: Tensor) -> dict[int, Tensor]:
        """See `Trunk.levels`."""
        found = {}
        if self.entry is not None:
            x = F.relu6(self.entry(x))
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in self.ends:
                found[self.ends[number]] = x
        return found

    def judge(self, x: Tensor) -> Tensor:
        """See `Trunk.judge`."""
        assert self.last is not None and self.out is not None
        return self.out(F.relu6(self.last(x)).mean(dim=(2, 3)))


@torch.no_grad()
def fold_norm(conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch normalisation that follows it."""
    mean, variance = norm.running_mean, norm.running_var
    scale = norm.weight / torch.sqrt(variance + norm.eps)  # type: ignore[operator]
    bias = 0.0 if conv.bias is None else conv.bias
    return conv.weight * scale[:, None, None, None], norm.bias + (bias - mean) * scale  # type: ignore

"""Stages of a trained network that a head takes over, and the stem that leads to them.

    latents -> stem -> pixels, or features at 1/4, 1/8 or 1/16 -> the network from there -> classes
    pixels  -> the whole network, the teacher of the stem

Stages are those of an EfficientNet-Lite: inverted residuals whose normalisation is folded into the
convolutions. Any other classifier of timm is taken as it is; it needs torch.
Sources: Sandler et al. 2018, arXiv:1801.04381 (inverted residuals); Tan and Le 2019,
arXiv:1905.11946 (EfficientNet).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from promptcodec.config import Count, Natural, Positive, Ranged, Within
from promptcodec.errors import ConfigError

PIXEL, QUARTER, FINE, COARSE = 1, 4, 8, 16  # px between features where a network is cut
BEGINS = (PIXEL, QUARTER, FINE, COARSE)
TIMM = "timm/"
ENTRY_KERNEL, ENTRY_STRIDE = 3, 2  # of the convolution on pixels
STEM_KERNEL = 7  # of the depthwise convolutions of a stem
CHANNELS = 3  # of pixels
PYRAMID_WIDTH = 128  # channels where features of several resolutions are summed, to segment

Width = Annotated[int, Within(1, 4096)]
Stride = Annotated[int, Within(PIXEL, COARSE)]  # px between two features


@dataclass(frozen=True, kw_only=True)
class StageConfig(Ranged):
    """Inverted residuals of one width.

    Args:
        width: channels of the output.
        blocks: number of blocks.
        kernel: edge of the depthwise kernels, 3 or 5.
        stride: step of the first block, 1 or 2.
        expansion: hidden channels over those of a block's input; 1 has no expansion.
    """

    width: Width
    blocks: Count
    kernel: int = 3
    stride: int = 1
    expansion: Count = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel not in (3, 5) or self.stride not in (1, 2):
            raise ConfigError(
                f"kernel is {self.kernel} and stride {self.stride}; need 3 or 5, and 1 or 2"
            )


@dataclass(frozen=True, kw_only=True)
class TrunkConfig(Ranged):
    """Part of a trained network, from some resolution on.

    Args:
        network: name of the network, "efficientnet-lite0" for instance, or "timm/NAME".
        begins: px between two features that enter: 4, 8 or 16; 1 is the whole network.
        channels: channels that enter.
        entry: channels of the 3x3 convolution of stride 2 on pixels before the first stage; 0 has
            none.
        stages: inverted residuals; empty for a network of timm.
        last: channels of the 1x1 convolution before the mean; 0 for a network of timm, and without
            classes.
        until: px between the coarsest features of a part without classes; 0 has all that follows.
        mean: mean of the normalisation of pixels, each of three channels; pixels in [0, 1].
        spread: divisor of that normalisation.
    """

    network: str
    begins: Stride = COARSE
    channels: Width
    entry: Natural = 0
    stages: tuple[StageConfig, ...] = ()
    last: Natural = 0
    until: Natural = 0
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    spread: tuple[Positive, ...] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.begins not in BEGINS:
            known = ", ".join(map(str, BEGINS))
            raise ConfigError(f"begins is {self.begins}; need one of {known}")
        if len(self.mean) != CHANNELS or len(self.spread) != CHANNELS:
            raise ConfigError("mean and spread have one number for each of three channels")
        if self.until not in (0, COARSE):
            raise ConfigError(f"until is {self.until}; need {COARSE}, or 0 for all that follows")
        if self.is_timm and (self.stages or self.last):
            raise ConfigError(f"network is {self.network!r}; timm has its stages and last")
        if not self.is_timm and bool(self.last) == bool(self.until):
            raise ConfigError(f"last is {self.last} and until {self.until}; need one of them")
        if not self.is_timm and not self.stages and self.begins != self.until:
            raise ConfigError(f"stages are empty between 1/{self.begins} and the end")
        if self.until and any(stride > self.until for stride in self.strides):
            raise ConfigError(f"stages go beyond until 1/{self.until}")
        if bool(self.entry) != (self.is_whole and not self.is_timm):
            raise ConfigError(f"entry is {self.entry} of stages that begin at 1/{self.begins}")
        if self.is_whole != (self.channels == CHANNELS):
            raise ConfigError(f"channels is {self.channels}; pixels have {CHANNELS}")

    @property
    def is_whole(self) -> bool:
        """Whether it begins with pixels."""
        return self.begins == PIXEL

    @property
    def is_timm(self) -> bool:
        """Whether timm builds the network."""
        return self.network.startswith(TIMM)

    def without_classes(self) -> TrunkConfig:
        """The part up to the features at 1/16."""
        kept = zip(self.stages, self.strides, strict=True)
        stages = tuple(stage for stage, stride in kept if stride <= COARSE)
        return replace(self, stages=stages, last=0, until=COARSE)

    @property
    def strides(self) -> tuple[int, ...]:
        """px between the features that each stage makes."""
        found, stride = [], self.begins * (2 if self.entry else 1)
        for stage in self.stages:
            stride *= stage.stride
            found.append(stride)
        return tuple(found)

    @property
    def ends(self) -> tuple[int, ...]:
        """Numbers of the last stage of each resolution."""
        strides = (*self.strides, 0)
        return tuple(n for n in range(len(self.stages)) if strides[n] != strides[n + 1])

    @property
    def channels_by_stride(self) -> dict[int, int]:
        """Channels by px between two features, from 1/8 on, those that enter included."""
        found = {self.begins: self.channels} if self.begins >= FINE else {}
        strides = zip(self.strides, self.stages, strict=True)
        return found | {stride: stage.width for stride, stage in strides if stride >= FINE}


@dataclass(frozen=True, kw_only=True)
class StemConfig(Ranged):
    """Network from latents to the features where a trunk begins.

    Args:
        width: channels of its blocks.
        blocks: number of blocks, at 1/16.
        mlp_ratio: hidden width of an MLP over the width.
    """

    width: Width = 64
    blocks: Natural = 1
    mlp_ratio: Annotated[float, Within(0.0, 16.0, beyond_low=True)] = 2.0

    @property
    def hidden(self) -> int:
        """Hidden width of an MLP."""
        return max(1, int(self.width * self.mlp_ratio))


def borders(kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before the first and after the last row and column, for ceil(size / stride) of them."""
    before = (kernel - stride) // 2 if stride > 1 else kernel // 2
    return before, kernel - 1 - before

"""Stages and linear maps of the transforms, from the architecture of a base.

g_a: [map, stage] at 1/2, 1/4, 1/8, 1/16, then a map to the deep latents and one to the detail
g_s: map from the deep latents, [stage, map with a pixel shuffle] at 1/16, 1/8, 1/4, 1/2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from promptcodec.config import CodecConfig

RATIO = 2  # of the strides of neighbouring stages
LAYERS = {
    "s": ("attention.qkv", "attention.proj", "mlp.0", "mlp.2"),
    "c": ("conv1", "last"),
}  # layers of a block with weights of two axes or more, by its letter


@dataclass(frozen=True)
class StageSpec:
    """A stage of a transform.

    Args:
        stride: px between two of its elements.
        channels: width.
        heads: attention heads of its Swin blocks.
        blocks: kinds of its blocks, one letter each; see `Stage`.
        window: edge of a window of its Swin blocks.
    """

    stride: int
    channels: int
    heads: int
    blocks: str
    window: int

    @property
    def swin_blocks(self) -> int:
        """Number of its Swin blocks."""
        return self.blocks.count("s")


def encoder_stages(config: CodecConfig) -> list[StageSpec]:
    """Stages of g_a, finest first."""
    return _specs(config, config.encoder_channels, config.encoder_blocks)


def decoder_stages(config: CodecConfig) -> list[StageSpec]:
    """Stages of g_s, deepest first."""
    return _specs(config, config.decoder_channels, config.decoder_blocks)[::-1]


def _specs(config: CodecConfig, widths: Sequence[int], blocks: Sequence[str]) -> list[StageSpec]:
    stages = enumerate(zip(widths, blocks, config.windows, strict=True), start=1)
    return [
        StageSpec(RATIO**number, width, width // config.head_channels, kinds, window)
        for number, (width, kinds, window) in stages
    ]


@dataclass(frozen=True)
class LinearMap:
    """A convolution between two stages, or at an end, of a transform.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        kernel: edge of the kernel.
        stride: step of the kernel.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1


def analysis_maps(config: CodecConfig) -> list[LinearMap]:
    """Linear maps of g_a: down to each stage, to the deep latents, to detail latents if any."""
    stages, detail = encoder_stages(config), config.detail_channels
    inputs = [3, *(stage.channels for stage in stages)]
    maps = [
        LinearMap(below, stage.channels, RATIO, RATIO)
        for below, stage in zip(inputs, stages, strict=False)
    ]
    maps.append(LinearMap(inputs[-1], config.latent_channels - detail, 1))
    return [*maps, LinearMap(inputs[-2], detail, RATIO, RATIO)] if detail else maps


def synthesis_maps(config: CodecConfig) -> list[LinearMap]:
    """Linear maps of g_s: from the deep latents, then up from each stage, deepest first."""
    stages, detail = decoder_stages(config), config.detail_channels
    outputs = [*(stage.channels for stage in stages[1:]), 3]
    kernels = [*(1 for _ in stages[1:]), 3]
    extra = [detail, *(0 for _ in stages[1:])]
    return [
        LinearMap(config.latent_channels - detail, stages[0].channels, 1),
        *(
            LinearMap(stage.channels + more, RATIO**2 * out, kernel)
            for stage, more, out, kernel in zip(stages, extra, outputs, kernels, strict=True)
        ),
    ]


def block_layers(config: CodecConfig, stages: Sequence[StageSpec]) -> list[LinearMap]:
    """Layers of the blocks of a transform in the order of `LAYERS`, first stage first.

    Args:
        config: architecture of the base.
        stages: stages of the transform.
    """
    found = []
    for stage in stages:
        width, hidden = stage.channels, int(stage.channels * config.mlp_ratio)
        shapes = {
            "s": [(width, 3 * width, 1), (width, width, 1), (width, hidden, 1), (hidden, width, 1)],
            "c": [(width, width // 2, 3), (width // 2, width, 3)],
        }
        found += [LinearMap(*shape) for kind in stage.blocks for shape in shapes[kind]]
    return found

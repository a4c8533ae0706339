"""Linear maps between the stages of the transforms; those with nothing between them are one.

    pixels -> 2x2 -> 2x2 -> 2x2 -> 1/8                    is one map of 8x8 patches
    1/4 -> 1x1, shuffle -> 1/2 -> 3x3, shuffle -> pixels  is one 3x3 convolution at 1/4, shuffled

Features at the finest resolutions, the largest of all, are thus never computed. Units of features
are in the weights as well. Joined weights are small, and computed anew in each call, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.architecture import RATIO, LinearMap


def shuffle(x: Tensor, factor: int) -> Tensor:
    """Pixel shuffle of channels in the order (row, column, channel) of a square.

    Args:
        x: (B, r^2 C, H, W), channels last in memory.
        factor: r.
    Returns:
        (B, C, r H, r W), channels last in memory: rows of a square stay together, so that this is
        faster than `torch.pixel_shuffle`.
    """
    b, channels, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, h, w, factor, channels // factor).transpose(2, 3)
    return x.reshape(b, h * factor, w * factor, -1).permute(0, 3, 1, 2)


class Weights(NamedTuple):
    """Weights of a convolution; a kernel of three has a border of zeros around its input.

    Args:
        kernel: (outputs, inputs, k, k).
        bias: (outputs,).
        stride: step of the kernel.
    """

    kernel: Tensor
    bias: Tensor
    stride: int = 1

    def by_square(self, factor: int) -> Weights:
        """The weights with channels in the order of `shuffle` in place of `torch.pixel_shuffle`."""
        outputs, *rest = self.kernel.shape
        kernel = self.kernel.view(-1, factor**2, *rest).transpose(0, 1).reshape(outputs, *rest)
        bias = self.bias.view(-1, factor**2).t().reshape(outputs)
        return Weights(kernel, bias, self.stride)

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve (B, inputs, H, W)."""
        padding = int(self.kernel.shape[2] == 3)
        return F.conv2d(x, self.kernel, self.bias, self.stride, padding)


@dataclass(frozen=True)
class Updates:
    """What an adapter adds to the weights of a transform.

    Args:
        maps: one for each linear map, (outputs, inputs, k, k); None is nothing.
        blocks: one for each layer of its blocks in the order of `block_layers`; None is nothing.
    """

    maps: Sequence[Tensor] | None = None
    blocks: Sequence[Tensor] | None = None

    def by_stage(self, counts: Sequence[int]) -> list[Sequence[Tensor] | None]:
        """Updates of blocks by stages with that many layers.

        Raises:
            ValueError: there are more or fewer.
        """
        if self.blocks is None:
            return [None] * len(counts)
        ends = list(accumulate(counts, initial=0))
        if len(self.blocks) != ends[-1]:
            raise ValueError(f"{len(self.blocks)} updates for {ends[-1]} layers; need one each")
        return [self.blocks[first:last] for first, last in pairwise(ends)]


NO_UPDATES = Updates()


def build_map(shape: LinearMap) -> nn.Conv2d:
    """The convolution of a linear map."""
    padding = int(shape.kernel == 3)
    return nn.Conv2d(
        shape.inputs, shape.outputs, shape.kernel, stride=shape.stride, padding=padding
    )


def weights_of(layer: nn.Module, update: Tensor | None, units: Tensor | None) -> Weights:
    """Weights of a layer for its input as it is.

    Args:
        layer: convolution, of an input in units of each channel; PEFT's LoRA around one too.
        update: update of its kernel, same shape; None is none.
        units: divisor of each channel of the input, (inputs,); None is ones.
    """
    conv = cast("nn.Conv2d", getattr(layer, "base_layer", layer))
    kernel = conv.weight if update is None else conv.weight + update
    if conv is not layer:
        lora = cast("Any", layer)
        kernel = sum((lora.get_delta_weight(name) for name in lora.active_adapters), kernel)
    if units is not None:
        kernel = kernel / units[:, None, None]
    return Weights(kernel, cast("Tensor", conv.bias), conv.stride[0])


def joined_patches(first: Weights, second: Weights) -> Weights:
    """Two convolutions of patches without overlap as one.

    Args:
        first: kernel (hidden, inputs, r, r).
        second: kernel (outputs, hidden, s, s).
    Returns:
        Kernel (outputs, inputs, r s, r s).
    """
    with _float32(first.kernel):
        kernel = F.conv_transpose2d(second.kernel, first.kernel, stride=first.stride)
        bias = second.kernel.sum(dim=(2, 3)) @ first.bias + second.bias
    return Weights(kernel, bias, first.stride * second.stride)


def render(x: Tensor, squares: Weights, last: Weights) -> Tensor:
    """A 1x1 convolution, a pixel shuffle, a 3x3 convolution and another shuffle, as one of each.

    Args:
        x: features, (B, inputs, H, W).
        squares: kernel (4 hidden, inputs, 1, 1).
        last: kernel (4 colours, hidden, 3, 3).
    Returns:
        (B, colours, 4 H, 4 W), float32.
    """
    joined, border = joined_render(squares, last)
    with _float32(border):
        constant = F.conv2d(torch.ones_like(x[:1, :1], dtype=border.dtype), border, padding=1)
    return shuffle(joined(x).float() + constant, RATIO**2)


def joined_render(squares: Weights, last: Weights) -> tuple[Weights, Tensor]:
    """Weights of `render`; arguments as there.

    Returns:
        Kernel (16 colours, inputs, 3, 3); and the kernel (16 colours, 1, 3, 3) of the bias of
        `squares`, whose input is ones in the grid and zeros around it.
    """
    with _float32(squares.kernel):
        # For each pixel (a, b) of a square, the taps over squares; a pixel before the square is the
        # last one of the square before it.
        taps = [
            F.pixel_unshuffle(F.pad(last.kernel, (b + 1, 2 - b, a + 1, 2 - a)), RATIO)
            for a in range(RATIO)
            for b in range(RATIO)
        ]
        inner = torch.stack(taps)  # (a b, colours c d, 4 hidden, 3, 3)
        colours = len(last.kernel) // RATIO**2
        inner = inner.view(RATIO, RATIO, colours, RATIO, RATIO, *inner.shape[2:])
        inner = inner.permute(0, 3, 1, 4, 2, 5, 6, 7).flatten(0, 4)  # (a c b d colours, ...)
        entering = torch.cat([squares.kernel, squares.bias[:, None, None, None]], dim=1)[..., 0, 0]
        both = (inner.permute(0, 2, 3, 1) @ entering).permute(0, 3, 1, 2)
        bias = last.bias.view(colours, RATIO, RATIO).permute(1, 2, 0)  # (c d colours)
        bias = bias[None, :, None].expand(RATIO, -1, RATIO, -1, -1).flatten()
    return Weights(both[:, :-1], bias), both[:, -1:]


def _float32(x: Tensor) -> AbstractContextManager[object]:
    """Context without reduced precision; tensors without storage have none to begin with."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if kind != "meta" else nullcontext()

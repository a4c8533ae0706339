"""Shifted-window attention that is right at every grid size and takes prompts.

    x (B, H, W, C) -> LayerNorm -> roll -> windows -> attention(+ prompts) -> back -> + x
                   -> LayerNorm -> MLP -> + x

Source: Liu et al. 2021, arXiv:2103.14030; agrees with timm's block where that one is right (window
multiples). Differs: a prompt branch with its own softmax and a gate, and padding happens once, for
the whole picture, before the first layer, never inside a shifted block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.models.windows import (
    WindowMask,
    Windows,
    attend,
    attend_windows,
    merge,
    partition,
    relative_positions,
    window_mask,
)


@dataclass(frozen=True)
class PromptTokens:
    """Prompt tokens of one Swin block.

    Args:
        tokens: grid (B, H/f, W/f, D), f a divisor of half the window, that is rolled and cut like
            the picture's; or windows (B * windows, P, D), in the order of `partition` on the rolled
            grid, where B * windows may be 1 to share.
        gate: weight of the prompt branch, (heads,); zero leaves the block unchanged.
        head: linear map from the D prompt channels to the block's C channels, weight (C, D) and
            bias (C,); None if D == C. It is folded into the key and value projections, which is
            cheaper than storing C-channel prompts.
        more: further prompts with a softmax of their own, whose effect is added.
    """

    tokens: Tensor
    gate: Tensor
    head: tuple[Tensor, Tensor] | None = None
    more: PromptTokens | None = None

    def cut(self, window: int, *, height: int, shift_y: int, shift_x: int) -> PromptTokens:
        """The same prompts, window by window.

        Args:
            window: edge of the block's windows.
            height: number of rows of the block's grid.
            shift_y: number of rows that the grid is rolled up by.
            shift_x: number of columns that the grid is rolled left by.
        """
        more = self.more
        if more is not None:
            more = more.cut(window, height=height, shift_y=shift_y, shift_x=shift_x)
        if self.tokens.ndim == 3:
            return replace(self, more=more)
        factor = height // self.tokens.shape[1]
        shifts = (-(shift_y // factor), -(shift_x // factor))
        tokens = torch.roll(self.tokens, shifts, dims=(1, 2)) if any(shifts) else self.tokens
        return replace(self, tokens=partition(tokens, window // factor), more=more)


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with a relative position bias.

    Args:
        channels: C, a multiple of head_channels.
        window: window edge w in tokens.
        head_channels: channels of one head.
    """

    def __init__(self, channels: int, *, window: int, head_channels: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.position_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, self.heads))
        self.positions: Tensor
        self.register_buffer("positions", relative_positions(window), persistent=False)

    def bias(self) -> Tensor:
        """Relative position bias, (heads, w * w, w * w)."""
        return self.position_bias[self.positions].permute(2, 0, 1)

    def forward(
        self,
        x: Tensor,
        mask: WindowMask | None = None,
        *,
        prompts: PromptTokens | None = None,
        updates: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Attend inside each window.

        Args:
            x: (B * windows, w * w, C).
            mask: mask of the shifted grid; None masks nothing.
            prompts: further tokens that every query of their window attends to; never masked.
            updates: updates of the weights of `qkv` and `proj`; None is the base.
        Returns:
            (B * windows, w * w, C).
        """
        n, tokens, c = x.shape
        of_qkv, of_proj = updates or (None, None)
        q, k, v = self._split(updated(self.qkv, x, of_qkv))
        bias = self.bias().to(q.dtype)[None]  # (1, heads, T, T)
        out = attend_windows(q, k, v, bias, mask=mask)
        while prompts is not None:
            both = self._keys_and_values(prompts, of_qkv, dtype=x.dtype)
            m, count, _ = both.shape
            key, value = both.view(m, count, 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            value = prompts.gate.to(value.dtype)[:, None, None] * value  # the smaller factor
            out = out + attend(q, key.expand(n, -1, -1, -1), value.expand(n, -1, -1, -1))
            prompts = prompts.more
        return updated(self.proj, out.transpose(1, 2).reshape(n, tokens, c), of_proj)

    def _keys_and_values(
        self, prompts: PromptTokens, update: Tensor | None, *, dtype: torch.dtype
    ) -> Tensor:
        """Keys and values of prompts, (m, P, 2 C); they have no queries."""
        c = self.proj.in_features
        weight, bias = self.qkv.weight[c:], self.qkv.bias[c:]
        if update is not None:
            weight = weight + update.flatten(1)[c:]
        if prompts.head is not None:
            weight, bias = weight @ prompts.head[0], bias + weight @ prompts.head[1]
        return F.linear(prompts.tokens.to(dtype), weight.to(dtype), bias.to(dtype))

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, tokens, _ = qkv.shape
        q, k, v = qkv.view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v  # each (n, heads, tokens, head_channels)


class SwinBlock(nn.Module):
    """One pre-norm Swin block on a channels-last grid.

    Args:
        channels: C.
        window: window edge; H and W of the input must be multiples of it.
        shifted: roll the grid by half a window before partitioning.
        head_channels: channels of one head.
        mlp_ratio: hidden width of the MLP over C.
    """

    def __init__(
        self,
        channels: int,
        *,
        window: int,
        shifted: bool,
        head_channels: int,
        mlp_ratio: float,
    ) -> None:
        super().__init__()
        self.window = window
        self.shift = window // 2 if shifted else 0
        hidden = int(channels * mlp_ratio)
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, window=window, head_channels=head_channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels)
        )

    def forward(
        self,
        x: Tensor,
        *,
        prompts: PromptTokens | None = None,
        units: Tensor | None = None,
        updates: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Map (B, H, W, C) to the same shape.

        Args:
            x: the grid.
            prompts: further tokens to attend to; None is exactly the base.
            units: divisor of each channel at the input of a branch, (C,); None is ones.
            updates: updates of the weights of its four layers; None is the base.
        """
        _, h, w, _ = x.shape
        own, rest = (updates[:2], updates[2:]) if updates else (None, (None, None))
        # A grid of one window is not shifted: that would only split it.
        sy = self.shift if h > self.window else 0
        sx = self.shift if w > self.window else 0
        y = self.norm1(x if units is None else x / units)
        mask = None
        if sy or sx:
            y = torch.roll(y, shifts=(-sy, -sx), dims=(1, 2))
            mask = window_mask(Windows(h, w, self.window, self.window, (sy, sx)), x.device)
        if prompts is not None:
            prompts = prompts.cut(self.window, height=h, shift_y=sy, shift_x=sx)
        y = self.attention(partition(y, self.window), mask, prompts=prompts, updates=own)
        y = merge(y, window=self.window, height=h, width=w)
        if sy or sx:
            y = torch.roll(y, shifts=(sy, sx), dims=(1, 2))
        x = x + y
        entering, activation, leaving = self.mlp
        y = self.norm2(x if units is None else x / units)
        return x + updated(leaving, activation(updated(entering, y, rest[0])), rest[1])


def updated(layer: nn.Module, x: Tensor, update: Tensor | None) -> Tensor:
    """A linear layer with an update of its weight, (outputs, inputs, 1, 1); None is the layer."""
    if update is None:
        return layer(x)
    linear = cast("nn.Linear", layer)
    return F.linear(x, linear.weight + update.flatten(1), linear.bias)


def swin_blocks(
    count: int, channels: int, *, window: int, head_channels: int, mlp_ratio: float
) -> Iterator[SwinBlock]:
    """The Swin blocks of a stage, every second one shifted; arguments as `SwinBlock`."""
    for number in range(count):
        yield SwinBlock(
            channels,
            window=window,
            shifted=bool(number % 2),
            head_channels=head_channels,
            mlp_ratio=mlp_ratio,
        )

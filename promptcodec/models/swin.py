"""Shifted-window attention that is right at every grid size and takes prompts.

    x (B, H, W, C) -> LayerNorm -> roll -> windows -> attention(+ prompts) -> back -> + x
                   -> LayerNorm -> MLP -> + x

Source: Liu et al. 2021, arXiv:2103.14030; agrees with timm's block where that one is right (window
multiples). Differs: a prompt branch with its own softmax and a gate, and padding happens once, for
the whole picture, before the first layer, never inside a shifted block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = -1e4  # added to the logit of a forbidden pair: zero after the softmax in any precision


@dataclass(frozen=True)
class PromptTokens:
    """Prompt tokens of one Swin block.

    Args:
        tokens: a grid (B, H/f, W/f, D), f a divisor of half the window, which the block rolls and
            cuts as it does the picture's; or (B * windows, P, D), in the order of `partition` on
            the rolled grid, where B * windows may be 1 to share.
        gate: (heads,), weight of the prompt branch; zero leaves the block unchanged.
        head: weight (C, D) and bias (C,) that make the block's C channels of them; None where D is
            C. The block folds them into its own maps, which costs less than C channels would.
        more: a further set, looked at by itself; its effect is added.
    """

    tokens: Tensor
    gate: Tensor
    head: tuple[Tensor, Tensor] | None = None
    more: PromptTokens | None = None

    def cut(self, window: int, *, height: int, shift_y: int, shift_x: int) -> PromptTokens:
        """The same prompts, window by window.

        Args:
            window: of the block.
            height: rows of the block's grid.
            shift_y: rows that it rolls up by.
            shift_x: columns that it rolls left by.
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


def partition(x: Tensor, window: int, columns: int | None = None) -> Tensor:
    """Split a grid (B, H, W, C) into windows (B * H/r * W/c, r * c, C).

    Args:
        x: the grid.
        window: rows r of a window.
        columns: columns c; None is a square.
    """
    b, h, w, channels = x.shape
    columns = columns or window
    x = x.view(b, h // window, window, w // columns, columns, channels)
    return x.transpose(2, 3).reshape(-1, window * columns, channels)


def merge(
    windows: Tensor, *, window: int, height: int, width: int, columns: int | None = None
) -> Tensor:
    """Undo `partition`: (B * windows, r * c, C) -> (B, H, W, C)."""
    c = windows.shape[-1]
    columns = columns or window
    x = windows.view(-1, height // window, width // columns, window, columns, c)
    return x.transpose(2, 3).reshape(-1, height, width, c)


@dataclass(frozen=True)
class WindowMask:
    """Who may look at whom in the windows of a grid.

    Args:
        windows: windows of one picture.
        cut: which of them hold tokens that must not all see each other, (K,).
        allowed: (K, queries, keys), True where a query of a cut window may look at a key.
    """

    windows: int
    cut: Tensor
    allowed: Tensor


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a mask kept from coding must also serve training
def shift_mask(
    height: int,
    width: int,
    *,
    window: int,
    shift_y: int,
    shift_x: int,
    device: torch.device | str = "cpu",
) -> WindowMask:
    """Mask of a grid that was rolled by (-shift_y, -shift_x) tokens.

    After a cyclic shift a border window holds tokens from both ends of the grid; those ends must
    not see each other.
    """
    rows = axis_regions(height, shift=shift_y, inside=height)
    columns = axis_regions(width, shift=shift_x, inside=width)
    regions = partition((rows[:, None] * 3 + columns)[None, :, :, None], window).squeeze(-1)
    return mask_of_regions(regions, device)


def axis_regions(size: int, *, shift: int, inside: int) -> Tensor:
    """Regions along one axis of a rolled grid, (size,): 1 came round from the start, 2 is padding.

    Args:
        size: of the axis, padding included.
        shift: how far the grid was rolled towards its start.
        inside: where padding begins.
    """
    place = torch.arange(size) + shift
    return torch.where(place % size >= inside, 2, (place >= size).to(torch.int8))


def mask_of_regions(regions: Tensor, device: torch.device | str) -> WindowMask:
    """Mask by which tokens see those of their own region only.

    Args:
        regions: number of the region of each token, (windows, tokens), on the CPU.
        device: of the mask.
    """
    cut = (regions != regions[:, :1]).any(dim=1).nonzero().squeeze(1)
    own = regions[cut]
    allowed = own[:, :, None] == own[:, None, :]
    return WindowMask(len(regions), cut.to(device), allowed.to(device))


def relative_positions(window: int) -> Tensor:
    """Index (w * w, w * w) of each pair's offset in a table of (2w - 1)^2 biases."""
    axis = torch.arange(window)
    y, x = (g.flatten() for g in torch.meshgrid(axis, axis, indexing="ij"))
    dy = y[:, None] - y[None, :] + window - 1
    dx = x[:, None] - x[None, :] + window - 1
    return dy * (2 * window - 1) + dx


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention, (n, heads, T, head_channels) each; bias is added to the logits.

    PyTorch's fused kernel has no gradient for the bias and then falls back to a slow path, so
    training writes the same product out.
    """
    if not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        logits = logits + bias
    return torch.softmax(logits, dim=-1) @ v


def attend_windows(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *, mask: WindowMask | None
) -> Tensor:
    """Attention inside windows, (pictures * windows, heads, T, head_channels) each.

    Only border windows are cut: doing these few again costs less than a bias for every window.

    Args:
        q: queries.
        k: keys.
        v: values.
        bias: added to the logits of every window, (1, heads, queries, keys).
        mask: None lets all tokens of a window see each other.
    """
    out = attend(q, k, v, bias)
    if mask is None or not len(mask.cut):
        return out
    pictures = len(q) // mask.windows
    start = torch.arange(pictures, device=q.device)[:, None] * mask.windows
    cut = (start + mask.cut).flatten()
    bias = torch.where(mask.allowed[:, None], bias, HIDDEN)
    bias = bias.repeat(pictures, 1, 1, 1) if pictures > 1 else bias
    # In place: a copy would cost time and leave the layout that the fused kernel writes.
    return out.index_copy_(0, cut, attend(q[cut], k[cut], v[cut], bias))


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
        self, x: Tensor, mask: WindowMask | None = None, *, prompts: PromptTokens | None = None
    ) -> Tensor:
        """Attend inside each window.

        Args:
            x: (B * windows, w * w, C).
            mask: of the shifted grid; None lets all tokens of a window see each other.
            prompts: tokens that every query of their window may look at besides; never masked.
        Returns:
            (B * windows, w * w, C).
        """
        n, tokens, c = x.shape
        q, k, v = self._split(self.qkv(x))
        bias = self.bias().to(q.dtype)[None]  # (1, heads, T, T)
        out = attend_windows(q, k, v, bias, mask=mask)
        while prompts is not None:
            both = self._keys_and_values(prompts, dtype=x.dtype)
            m, count, _ = both.shape
            key, value = both.view(m, count, 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            value = prompts.gate.to(value.dtype)[:, None, None] * value  # the smaller factor
            out = out + attend(q, key.expand(n, -1, -1, -1), value.expand(n, -1, -1, -1))
            prompts = prompts.more
        return self.proj(out.transpose(1, 2).reshape(n, tokens, c))

    def _keys_and_values(self, prompts: PromptTokens, *, dtype: torch.dtype) -> Tensor:
        """Keys and values of prompts, (m, P, 2 C); they never look, so have no queries."""
        c = self.proj.in_features
        weight, bias = self.qkv.weight[c:], self.qkv.bias[c:]
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
        self, x: Tensor, *, prompts: PromptTokens | None = None, units: Tensor | None = None
    ) -> Tensor:
        """Map (B, H, W, C) to the same shape.

        Args:
            x: the grid.
            prompts: tokens to attend to besides; None is exactly the base.
            units: what each channel is divided by where a branch looks at it, (C,); None is ones.
        """
        _, h, w, _ = x.shape
        # A grid of one window has no neighbour to look at: shifting would only cut it up.
        sy = self.shift if h > self.window else 0
        sx = self.shift if w > self.window else 0
        y = self.norm1(x if units is None else x / units)
        mask = None
        if sy or sx:
            y = torch.roll(y, shifts=(-sy, -sx), dims=(1, 2))
            mask = shift_mask(h, w, window=self.window, shift_y=sy, shift_x=sx, device=x.device)
        if prompts is not None:
            prompts = prompts.cut(self.window, height=h, shift_y=sy, shift_x=sx)
        y = self.attention(partition(y, self.window), mask, prompts=prompts)
        y = merge(y, window=self.window, height=h, width=w)
        if sy or sx:
            y = torch.roll(y, shifts=(sy, sx), dims=(1, 2))
        x = x + y
        return x + self.mlp(self.norm2(x if units is None else x / units))


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

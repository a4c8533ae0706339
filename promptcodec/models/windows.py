"""Windows of attention: partition of a grid of tokens, masks, and attention.

    grid (B, H, W, C) -> [roll] -> windows (B * windows, tokens, C) -> attention -> merge -> [roll]

After a cyclic roll a border window holds tokens from both ends of the grid; a mask separates them,
and separates padding from tokens.

Source: Liu et al. 2021, arXiv:2103.14030. Differs: only the border windows are masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

HIDDEN = -1e4  # added to the logit of a forbidden pair: zero after the softmax in any precision


def partition(x: Tensor, window: int, columns: int | None = None) -> Tensor:
    """Split a grid (B, H, W, C) into windows (B * H/r * W/c, r * c, C).

    Args:
        x: grid.
        window: number of rows r of a window.
        columns: number of columns c; None is a square.
    """
    b, h, w, channels = x.shape
    columns = columns or window
    x = x.view(b, h // window, window, w // columns, columns, channels)
    return x.transpose(2, 3).reshape(-1, window * columns, channels)


def merge(windows: Tensor, *, window: int, height: int, width: int) -> Tensor:
    """Undo `partition` into squares: (B * windows, w * w, C) -> (B, H, W, C)."""
    c = windows.shape[-1]
    x = windows.view(-1, height // window, width // window, window, window, c)
    return x.transpose(2, 3).reshape(-1, height, width, c)


@dataclass(frozen=True)
class Windows:
    """How a grid is cut into windows.

    Args:
        height: number of rows of the grid, without padding.
        width: number of columns of the grid, without padding.
        rows: number of rows of a window.
        columns: number of columns of a window.
        shift: rows and columns that the grid is rolled by, towards its start.
    """

    height: int
    width: int
    rows: int
    columns: int
    shift: tuple[int, int] = (0, 0)

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns of the grid up to whole windows."""
        return (
            -(-self.height // self.rows) * self.rows,
            -(-self.width // self.columns) * self.columns,
        )

    @property
    def tokens(self) -> int:
        """Tokens of a window."""
        return self.rows * self.columns

    @property
    def count(self) -> int:
        """Windows of one picture."""
        height, width = self.padded
        return height * width // self.tokens


@dataclass(frozen=True)
class WindowMask:
    """Attention mask of the windows of a grid.

    Args:
        windows: number of windows of one picture.
        cut: numbers of the windows with masked pairs of tokens, (K,).
        allowed: allowed pairs of query and key in the cut windows, bool (K, queries, keys).
    """

    windows: int
    cut: Tensor
    allowed: Tensor


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a mask kept from coding must also serve training
def window_mask(windows: Windows, device: torch.device | str = "cpu") -> WindowMask:
    """Mask that restricts attention to tokens of the same region.

    A grid has three regions along each axis: what was rolled round from the start, padding, and the
    rest.
    """
    inside = (windows.height, windows.width)
    rows, columns = (
        _axis_regions(size, shift=shift, inside=end)
        for size, shift, end in zip(windows.padded, windows.shift, inside, strict=True)
    )
    # In Python integers: a compiler must know how many windows are cut.
    across = _mixed(columns, windows.columns)
    every = [row or column for row in _mixed(rows, windows.rows) for column in across]
    cut = torch.tensor([number for number, is_cut in enumerate(every) if is_cut], dtype=torch.int64)
    regions = (torch.tensor(rows)[:, None] * 3 + torch.tensor(columns))[None, :, :, None]
    own = partition(regions, windows.rows, windows.columns).squeeze(-1)[cut]
    allowed = own[:, :, None] == own[:, None, :]
    return WindowMask(len(every), cut.to(device), allowed.to(device))


def _mixed(regions: list[int], edge: int) -> list[bool]:
    """Whether each window along an axis has tokens of several regions."""
    parts = (regions[start : start + edge] for start in range(0, len(regions), edge))
    return [len(set(part)) > 1 for part in parts]


def _axis_regions(size: int, *, shift: int, inside: int) -> list[int]:
    """Region of each row or column of a rolled grid: 1 came round from the start, 2 is padding.

    Args:
        size: length of the axis, padding included.
        shift: distance that the grid was rolled towards its start.
        inside: length of the axis without padding.
    """
    places = range(shift, size + shift)
    return [2 if place % size >= inside else int(place >= size) for place in places]


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # an order kept from coding must also serve training
def window_order(windows: Windows, device: torch.device) -> tuple[Tensor, Tensor]:
    """Positions of the padded grid, row by row, in the order of (shifted) windows; and back.

    One gather does what two rolls and a partition would.

    Returns:
        Both (windows * tokens,).
    """
    rows, columns = windows.padded
    places = torch.arange(rows * columns).view(1, rows, columns, 1)
    down, right = windows.shift
    places = torch.roll(places, (-down, -right), dims=(1, 2))
    order = partition(places, windows.rows, windows.columns).flatten()
    return order.to(device), torch.argsort(order).to(device)


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
        bias: addend of the logits of every window, (1, heads, queries, keys).
        mask: mask of the grid; None masks nothing.
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

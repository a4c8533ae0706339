"""Groups of latents that are coded one after the other.

    y (B, M, h, w) -> segments of channels x halves of a checkerboard
                   -> packed groups (B, channels of the segment, h, w / 2)

Group g holds segment g // halves and half g % halves: both halves of a segment come before the
next segment (spatial first). Half 0, the anchors, holds the odd columns of even rows and the even
columns of odd rows. A packed half is a rectangle, so no work is done on elements of other groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Grouping:
    """Partition of y into groups.

    Args:
        segments: channels of each segment, M in all.
        halves: number of halves, 2 for a checkerboard, 1 for the whole grid at once.
    """

    segments: tuple[int, ...]
    halves: int = 1

    def __len__(self) -> int:
        return len(self.segments) * self.halves

    def segment(self, group: int) -> slice:
        """Channels of a group."""
        number = group // self.halves
        start = sum(self.segments[:number])
        return slice(start, start + self.segments[number])

    def split(self, y: Tensor) -> list[Tensor]:
        """Cut (B, M, h, w) into its groups, first group first; h and w even."""
        halves = split_halves(y) if self.halves == 2 else (y,)
        return [halves[g % self.halves][:, self.segment(g)] for g in range(len(self))]

    def join(self, groups: list[Tensor]) -> Tensor:
        """Invert `split`."""
        if self.halves == 1:
            return torch.cat(groups, dim=1)
        return join_halves(torch.cat(groups[0::2], dim=1), torch.cat(groups[1::2], dim=1))


def split_halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Anchors and the rest of a grid (B, C, h, w), each (B, C, h, w/2), channels last in memory."""
    b, c, h, w = x.shape
    t = x.permute(0, 2, 3, 1).reshape(b, h // 2, 2, w // 2, 2, c)
    halves = (
        torch.stack((t[:, :, 0, :, 1], t[:, :, 1, :, 0]), dim=2),
        torch.stack((t[:, :, 0, :, 0], t[:, :, 1, :, 1]), dim=2),
    )
    anchors, rest = (half.reshape(b, h, w // 2, c).permute(0, 3, 1, 2) for half in halves)
    return anchors, rest


def join_halves(anchors: Tensor, rest: Tensor) -> Tensor:
    """Invert `split_halves`."""
    b, c, h, half = anchors.shape
    a, r = (x.permute(0, 2, 3, 1).reshape(b, h // 2, 2, half, c) for x in (anchors, rest))
    even = torch.stack((r[:, :, 0], a[:, :, 0]), dim=3)  # (b, h/2, w/2, 2, c)
    odd = torch.stack((a[:, :, 1], r[:, :, 1]), dim=3)
    return torch.stack((even, odd), dim=2).reshape(b, h, 2 * half, c).permute(0, 3, 1, 2)


def gather_anchor_neighbours(anchors: Tensor) -> Tensor:
    """Four anchors around each element of the other half: up, left, right, down; zero outside.

    Args:
        anchors: packed, (B, C, h, w/2).
    Returns:
        (B, h, w/2, 4 C), at the elements of the other half.
    """
    a = anchors.permute(0, 2, 3, 1)
    b, h, half, c = a.shape
    wide = F.pad(a, (0, 0, 1, 1, 1, 1))  # one element around
    up, down = wide[:, :-2, 1:-1], wide[:, 2:, 1:-1]
    # In even rows an element is left of the anchor of its column, in odd rows right of it.
    rows = wide[:, 1:-1].reshape(b, h // 2, 2, half + 2, c)
    left = torch.stack((rows[:, :, 0, :-2], rows[:, :, 1, 1:-1]), dim=2).reshape(a.shape)
    right = torch.stack((rows[:, :, 0, 1:-1], rows[:, :, 1, 2:]), dim=2).reshape(a.shape)
    return torch.cat((up, left, right, down), dim=-1)

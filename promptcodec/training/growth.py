"""Weights of a smaller codec in a larger one, whose function stays (nearly) the same.

New blocks begin as the identity. Wider layers keep their weights in the first rows and columns:

    new channels of the stream       zero, and read with small random weights
    new channels inside a branch     random, and read with weight zero

so that a gradient reaches all of them at once. A LayerNorm over more channels, the new ones zero,
divides by less: its weights are scaled by sqrt(old / new), which is exact for features of mean
zero.
Source of the idea: Chen et al. 2016, arXiv:1511.05641 (Net2Net).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

LAST = re.compile(r"(attention\.proj|mlp\.2|last)\.weight$")  # of a branch
INNER = re.compile(r"(qkv|mlp\.0|conv1)\.(weight|bias)$")
JOINED = "g_s.up.0.weight"  # reads a stage, then detail latents


def grow(stored: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of `fresh` that hold those of `stored`.

    Args:
        stored: weights of the smaller codec by name.
        fresh: weights of the larger one, as it is initialised.
    Returns:
        Those of `fresh` whose name is in `stored` and that are as large or larger in every axis.
    """
    found = {}
    for name, new in fresh.items():
        old = stored.get(name)
        if old is None or old.ndim != new.ndim:
            continue
        if old.shape == new.shape:
            found[name] = old
        elif all(a <= b for a, b in zip(old.shape, new.shape, strict=True)):
            found[name] = _grown(name, old, new, stage=len(stored.get("g_s.stem.weight", ())))
    return found


def _grown(name: str, old: Tensor, new: Tensor, *, stage: int) -> Tensor:
    """One tensor; `stage` is the old width of the deepest stage of g_s."""
    if "qkv" in name:  # three maps in one
        parts = zip(old.chunk(3), new.chunk(3), strict=True)
        return torch.cat([_corner(name, a, b) for a, b in parts])
    if "norm" in name:
        ratio = math.sqrt(len(old) / len(new)) if name.endswith("weight") else 1.0
        return torch.cat([old, new[len(old) :]]) * ratio
    if name == JOINED:
        detail = old.shape[1] - stage
        return torch.cat(
            [
                _corner(name, old[:, :stage], new[:, : new.shape[1] - detail]),
                _corner(name, old[:, stage:], new[:, new.shape[1] - detail :]),
            ],
            dim=1,
        )
    return _corner(name, old, new)


def _corner(name: str, old: Tensor, new: Tensor) -> Tensor:
    """`old` in the first places of a tensor like `new`."""
    found = new.clone()
    if LAST.search(name) or (name.endswith("bias") and not INNER.search(name)):
        found.zero_()
    elif name.endswith("weight") and not INNER.search(name):
        found[len(old) :] = 0.0
    found[tuple(slice(size) for size in old.shape)] = old
    return found

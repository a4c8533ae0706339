"""Crops of pictures: drawn on the CPU, cut on the device that has the pictures.

    draw (seed, step, process) -> places -> cut: uint8 pictures -> x (B, 3, crop, crop) in [0, 1]

A CPU cuts one crop after the other. A GPU cuts all of a batch at once, with one gather and, for
reduced crops, two products with the matrices of an antialiased bilinear filter. The pixels are the
same, except for rounding in reduced crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptcodec.training.config import DataConfig


@dataclass(frozen=True)
class Places:
    """Places of B crops in pictures; arrays (B,).

    Args:
        picture: index of the picture.
        size: edge in px, before reduction to the size of a crop.
        top: first row.
        left: first column.
        flip: whether to mirror left and right.
    """

    picture: np.ndarray
    size: np.ndarray
    top: np.ndarray
    left: np.ndarray
    flip: np.ndarray


def draw(
    rng: np.random.Generator,
    count: int,
    *,
    shapes: np.ndarray,
    weights: np.ndarray,
    crop: int,
    config: DataConfig,
) -> Places:
    """Draw crops.

    Args:
        rng: random generator.
        count: number of crops.
        shapes: height and width of every picture, (N, 2).
        weights: cumulative probabilities of the pictures, (N,); pictures smaller than the crop
            have probability 0.
        crop: edge of a crop in px.
        config: probability and range of reduction.
    """
    picture = np.searchsorted(weights, rng.random(count), side="right")
    reduced = rng.random(count) < config.reduce_probability
    scale = np.where(reduced, rng.uniform(config.reduce_min, config.reduce_max, count), 1.0)
    height, width = shapes[picture].T
    size = np.minimum(np.rint(crop / scale).astype(np.int64), np.minimum(height, width))
    top = (rng.random(count) * (height - size + 1)).astype(np.int64)
    left = (rng.random(count) * (width - size + 1)).astype(np.int64)
    return Places(picture, size, top, left, rng.random(count) < 0.5)


def weigh(
    shapes: np.ndarray, packs: np.ndarray, *, shares: Sequence[float], crop: int
) -> np.ndarray:
    """Weights of pictures: proportional to area in each pack, 0 if smaller than the crop, (N,).

    Args:
        shapes: height and width of every picture, (N, 2).
        packs: number of the pack of every picture, (N,).
        shares: sums of the weights of each pack.
        crop: edge of a crop in px.
    """
    large = shapes.min(axis=1) >= crop
    area = np.where(large, shapes.prod(axis=1), 0).astype(np.float64)
    for number, share in enumerate(shares):
        area[packs == number] *= share / max(area[packs == number].sum(), 1.0)
    return area


def cut(pictures: Sequence[Tensor], places: Places, *, crop: int) -> Tensor:
    """Cut crops on the CPU.

    Args:
        pictures: picture of each crop, uint8 (H, W, 3).
        places: places of the crops.
        crop: edge of the result in px.
    Returns:
        float32 in [0, 1], (B, 3, crop, crop), channels last.
    """
    x = torch.empty(len(places.picture), 3, crop, crop, memory_format=torch.channels_last)
    columns = (pictures, places.size, places.top, places.left, places.flip)
    for number, (picture, size, top, left, flip) in enumerate(zip(*columns, strict=True)):
        part = picture[top : top + size, left : left + size].permute(2, 0, 1)
        if flip:
            part = part.flip(2)
        if size != crop:  # on a CPU, uint8 is interpolated without conversion
            part = F.interpolate(
                part[None], size=(crop, crop), mode="bilinear", antialias=True, align_corners=False
            )[0]
        x[number] = part
    return x.div_(255.0)


class FlatPictures:
    """Pictures in one tensor, from which a batch of crops is cut without a loop.

    Args:
        pictures: pictures, uint8 (H, W, 3).
        device: device of the tensor.
    """

    def __init__(self, pictures: Sequence[Tensor], *, device: str) -> None:
        self.device = torch.device(device)
        areas = [p.shape[0] * p.shape[1] for p in pictures]
        self.offsets = np.cumsum([0, *areas])[:-1]
        self.widths = np.array([p.shape[1] for p in pictures])
        self.pixels = torch.empty(sum(areas), 3, dtype=torch.uint8, device=self.device)
        for picture, offset, area in zip(pictures, self.offsets, areas, strict=True):
            self.pixels[offset : offset + area] = picture.reshape(-1, 3).to(self.device)

    def cut(self, places: Places, *, crop: int) -> Tensor:
        """Cut crops as `cut` does, without waiting for the device."""
        size, width = self._moved(places.size), self._moved(self.widths[places.picture])
        first = self.offsets[places.picture] + places.top * self.widths[places.picture]
        first = self._moved(first + places.left)
        edge = int(places.size.max())
        steps = torch.arange(edge, device=self.device)
        inside = steps.minimum(size[:, None] - 1)  # (B, edge); pixels outside have weight 0
        index = (first[:, None] + inside * width[:, None])[:, :, None] + inside[:, None]
        x = self.pixels[index].permute(0, 3, 1, 2).float()  # (B, 3, edge, edge)
        if (places.size != crop).any():
            filters = reduction(size, crop=crop, edge=edge)[:, None]  # (B, 1, crop, edge)
            x = (filters @ x @ filters.mT).round_().clamp_(0.0, 255.0)
        flip = self._moved(places.flip)[:, None, None, None]
        x = torch.where(flip, x.flip(3), x).div_(255.0)
        return x.contiguous(memory_format=torch.channels_last)

    def _moved(self, values: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(values)
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)  # else the copy would wait


def reduction(size: Tensor, *, crop: int, edge: int) -> Tensor:
    """Matrices that reduce rows of `size` px to `crop`: bilinear, antialiased, (B, crop, edge).

    Args:
        size: length of each row in px, (B,), at least `crop`.
        crop: length of the result in px.
        edge: length of the padded rows in px.
    """
    ratio = (size / crop)[:, None, None]
    centre = (torch.arange(crop, device=size.device)[:, None] + 0.5) * ratio  # (B, crop, 1)
    pixel = torch.arange(edge, device=size.device) + 0.5
    weight = (1.0 - (pixel - centre).abs() / ratio).clamp_min(0.0)
    weight = weight * (pixel < size[:, None, None])
    return weight / weight.sum(dim=2, keepdim=True)

"""Training data of segmentation: parts of pictures with masks, transmitted once beforehand.

Every scaled, relit and flipped part passes a frozen codec once, at a random rate, and the result is
kept. A step cuts crops out of the kept latents, at origins of whole latents (16 px).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptcodec.config import (
    LAMBDAS,
    LATENT_STRIDE,
    TILE_STRIDE,
    Count,
    NotNegative,
    Positive,
    Ranged,
    ShareBelow1,
)
from promptcodec.errors import ConfigError, DataError
from promptcodec.training.data.augmented import as_input, compact, send
from promptcodec.training.data.batch import TensorBatch
from promptcodec.training.data.inputs import HeadInput
from promptcodec.training.data.masked import MaskedPictures

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SceneConfig(Ranged):
    """Augmentation of pictures with masks.

    Args:
        height: height of a part in px, a multiple of 64, so that it needs no padding.
        width: width of a part in px, a multiple of 64.
        crop: edge of the crop of a step in px, a multiple of 16.
        views: number of parts of each picture.
        smallest: smallest scale of a picture.
        largest: largest scale of a picture.
        light: largest relative change of contrast; that of brightness is half of it.
        settings: rate indexes, or qualities, of the codec for parts.
        held_settings: rate indexes, or qualities, for held-out pictures.
    """

    height: Count = 320
    width: Count = 384
    crop: Count = 256
    views: Count = 8
    smallest: Positive = 0.9
    largest: Positive = 1.8
    light: ShareBelow1 = 0.25
    settings: tuple[NotNegative, ...] = tuple(float(index) for index in range(len(LAMBDAS)))
    held_settings: tuple[NotNegative, ...] = (1.0, 4.0, 7.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        sides = (self.height, self.width)
        if min(sides) < TILE_STRIDE or any(side % TILE_STRIDE for side in sides):
            raise ConfigError(
                f"height is {self.height} and width {self.width}; need positive multiples of "
                f"{TILE_STRIDE}"
            )
        if self.crop % LATENT_STRIDE or not LATENT_STRIDE <= self.crop <= min(sides):
            raise ConfigError(
                f"crop is {self.crop}; need a multiple of {LATENT_STRIDE} of at most height and "
                "width"
            )
        if self.smallest > self.largest:
            raise ConfigError(
                f"smallest is {self.smallest} and largest {self.largest}; need smallest <= largest"
            )
        if not self.settings or not self.held_settings:
            raise ConfigError("settings and held_settings need one or more")


@dataclass(frozen=True, eq=False)
class SegmentationBatch(TensorBatch):
    """Batch of one step.

    Args:
        inputs: latents or pixels in [0, 1], (B, C, h, w).
        masks: numbers of the classes, int64 (B, crop, crop); `IGNORE` is no class.
        lmbda: rate-distortion weight of each part's rate, (B,).
    """

    inputs: Tensor
    masks: Tensor
    lmbda: Tensor


class SegmentationCrops:
    """Parts of a training set, and whole pictures held out of it.

    Args:
        name: name of the data.
        training: training pictures.
        held: validation pictures, transmitted whole at every held setting.
        head_input: map from pictures to inputs of the head.
        config: augmentation.
        seed: seed of the parts.
    Raises:
        DataError: a picture is smaller than the parts at the largest scale.
    """

    def __init__(
        self,
        name: str,
        training: MaskedPictures,
        held: MaskedPictures,
        *,
        head_input: HeadInput,
        config: SceneConfig,
        seed: int,
    ) -> None:
        self.name, self.config, self.head_input = name, config, head_input
        self._size = len(training)
        _check_sizes(training, config)
        inputs, masks, settings = [], [], []
        for number in range(config.views):
            logger.warning("view %d of %d", number + 1, config.views)
            rng = np.random.default_rng([seed, number])
            parts = [
                part_of(picture, mask, config=config, rng=rng)
                for picture, mask in zip(training.pictures, training.masks, strict=True)
            ]
            pictures = torch.stack([picture for picture, _ in parts])
            seen, drawn = send(pictures, config.settings, head_input=head_input, rng=rng)
            inputs.append(seen)
            masks.append(torch.stack([mask for _, mask in parts]))
            settings.append(drawn)
        self._inputs, self._masks = torch.stack(inputs), torch.stack(masks)
        self._settings = torch.stack(settings)
        self.held_masks = held.masks
        self.held = {
            setting: [
                compact(head_input.transmit(picture[None], setting)) for picture in held.pictures
            ]
            for setting in config.held_settings
        }

    def __len__(self) -> int:
        return self._size

    def sample(self, count: int) -> list[Tensor]:
        """Up to `count` inputs as they are kept, spread over parts and views."""
        flat = self._inputs.flatten(0, 1)
        return list(flat[:: max(1, len(flat) // count)][:count])

    def batch(
        self, count: int, *, seed: int, step: int, rank: int = 0, share: float = 0.0
    ) -> SegmentationBatch:
        """Crops of one step."""
        rng = np.random.default_rng([seed, step, rank])
        config = self.config
        unit = config.height // self._inputs.shape[-2]  # px of one element of an input
        size = config.crop // unit
        inputs, masks, weights = [], [], []
        for _ in range(count):
            view, picture = rng.integers(config.views), rng.integers(self._size)
            top, left = (
                LATENT_STRIDE * int(rng.integers((side - config.crop) // LATENT_STRIDE + 1))
                for side in (config.height, config.width)
            )
            rows, columns = (slice(at // unit, at // unit + size) for at in (top, left))
            inputs.append(self._inputs[view, picture, :, rows, columns])
            mask = self._masks[view, picture, top : top + config.crop, left : left + config.crop]
            masks.append(mask.long())
            weights.append(self.head_input.lmbda(float(self._settings[view, picture])))
        return SegmentationBatch(
            inputs=as_input(torch.stack(inputs)),
            masks=torch.stack(masks),
            lmbda=torch.tensor(weights),
        )


def part_of(
    picture: Tensor, mask: Tensor, *, config: SceneConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A part of a picture at a random scale, in other light, flipped half of the time.

    Args:
        picture: picture, uint8 (3, H, W).
        mask: mask, uint8 (H, W).
        config: augmentation.
        rng: random generator.
    Returns:
        Picture and mask, uint8 (3, height, width) and (height, width).
    """
    _, height, width = picture.shape
    least = max(config.height / height, config.width / width)  # smallest scale that fills a part
    low, high = np.log([max(config.smallest, least), max(config.largest, least)])
    scale = np.exp(rng.uniform(low, high))
    rows = min(height, round(config.height / scale))
    columns = min(width, round(config.width / scale))
    top = int(rng.integers(height - rows + 1))
    left = int(rng.integers(width - columns + 1))
    size = (config.height, config.width)
    part = picture[None, :, top : top + rows, left : left + columns].float()
    part = F.interpolate(part, size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    contrast = 1.0 + rng.uniform(-config.light, config.light)
    brightness = 255.0 * rng.uniform(-config.light, config.light) / 2
    part = (contrast * (part - 127.5) + 127.5 + brightness).round().clamp(0.0, 255.0)
    truth = mask[None, None, top : top + rows, left : left + columns].float()
    truth = F.interpolate(truth, size=size, mode="nearest-exact")[0, 0]
    if rng.random() < 0.5:
        part, truth = part.flip(2), truth.flip(1)
    return part.to(torch.uint8), truth.to(torch.uint8)


def _check_sizes(training: MaskedPictures, config: SceneConfig) -> None:
    for name, picture in zip(training.names, training.pictures, strict=True):
        _, height, width = picture.shape
        if height * config.largest < config.height or width * config.largest < config.width:
            raise DataError(
                f"{name} is {width}x{height}, and parts are {config.width}x{config.height} at "
                f"scales up to {config.largest:g}; lower height and width in the recipe"
            )

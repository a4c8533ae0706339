"""Training data of classifiers: labelled pictures, augmented and transmitted once beforehand.

Every augmented picture passes a frozen codec once, at a random rate, and the result is kept: a
step of training costs the head alone. A step draws views and mixes pairs of them (mixup); the
choice depends on (seed, step, process) alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from promptcodec.config import Count, NotNegative, Ranged, Seed, ShareAbove0, Within
from promptcodec.errors import ConfigError
from promptcodec.training.data.batch import TensorBatch
from promptcodec.training.data.inputs import HeadInput
from promptcodec.training.data.labelled import LabelledPictures

logger = logging.getLogger(__name__)

VIEW = ("inputs", "settings")
"""Parts of an augmented copy of N pictures: inputs as kept, (N, C, h, w); settings of the codec,
(N,)."""


@dataclass(frozen=True, kw_only=True)
class ViewConfig(Ranged):
    """Augmentation of labelled pictures.

    Args:
        size: edge of a picture in px.
        views: number of augmented copies of each picture.
        area: smallest area of a crop over that of its picture.
        mixup: parameter of the Beta distribution of mixing weights; 0 mixes none.
        settings: rate indexes, or qualities, of the codec.
        seed: seed of the augmented copies.
    """

    size: Annotated[int, Within(16)] = 128
    views: Count = 8
    area: ShareAbove0 = 0.35
    mixup: NotNegative = 0.2
    settings: tuple[NotNegative, ...] = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.settings:
            raise ConfigError("settings are empty; need one or more")


@dataclass(frozen=True, eq=False)
class LabelledBatch(TensorBatch):
    """Batch of one step.

    Args:
        inputs: latents or pixels in [0, 1], (B, C, h, w).
        targets: probabilities of the classes, (B, classes).
        lmbda: rate-distortion weight of each picture's rate, (B,).
    """

    inputs: Tensor
    targets: Tensor
    lmbda: Tensor


class AugmentedPictures:
    """Views of a training set, and of the part held out of it.

    Args:
        name: name of the data.
        training: training pictures.
        held: validation pictures, transmitted at every setting without augmentation.
        head_input: map from pictures to inputs of the head.
        config: augmentation.
        seed: seed of the views.
        cache: file to keep views in, read if it exists; None keeps them in memory.
    Raises:
        ConfigError: the cache was made with another configuration.
    """

    def __init__(
        self,
        name: str,
        training: LabelledPictures,
        held: LabelledPictures,
        *,
        head_input: HeadInput,
        config: ViewConfig,
        seed: int,
        cache: Path | None = None,
    ) -> None:
        self.name, self.config, self.head_input = name, config, head_input
        self.classes = training.classes
        self.labels = training.labels
        self.held_labels = held.labels
        facts = [name, len(training.labels), str(head_input), str(replace(config, mixup=0.0)), seed]
        what = json.dumps(facts)
        if cache is not None and cache.exists():
            self._restore(cache, what=what)
        else:
            self._make(training, held, seed=seed)
            if cache is not None:
                self._keep(cache, what=what)

    def _make(self, training: LabelledPictures, held: LabelledPictures, *, seed: int) -> None:
        config = self.config
        views = [self._view(training, number, seed) for number in range(config.views)]
        self._views = {name: torch.stack([view[name] for view in views]) for name in views[0]}
        whole = torch.stack([fit(p, config.size) for p in held.pictures])
        self.held = {s: compact(self.head_input.transmit(whole, s)) for s in config.settings}

    def _keep(self, cache: Path, *, what: str) -> None:
        held = {f"held.{n}": kept for n, kept in enumerate(self.held.values())}
        tensors = {name: t.contiguous() for name, t in {**self._views, **held}.items()}
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, cache, {"views": what})

    def _restore(self, cache: Path, *, what: str) -> None:
        with safe_open(cache, framework="pt") as file:
            if file.metadata() != {"views": what}:
                raise ConfigError(f"{cache} keeps other views; remove it or name another file")
            self._views = {name: file.get_tensor(name) for name in VIEW}
            places = enumerate(self.config.settings)
            self.held = {setting: file.get_tensor(f"held.{n}") for n, setting in places}

    def _view(self, training: LabelledPictures, number: int, seed: int) -> dict[str, Tensor]:
        """One augmented copy of every picture, by the names of `VIEW`; N pictures."""
        logger.warning("view %d of %d", number + 1, self.config.views)
        rng = np.random.default_rng([seed, number])
        crops = torch.stack([random_crop(p, rng, config=self.config) for p in training.pictures])
        sent = send(crops, self.config.settings, head_input=self.head_input, rng=rng)
        return dict(zip(VIEW, sent, strict=True))

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, count: int) -> list[Tensor]:
        """Up to `count` inputs as they are kept, spread over pictures and views."""
        flat = self._views["inputs"].flatten(0, 1)
        return list(flat[:: max(1, len(flat) // count)][:count])

    def batch(
        self, count: int, *, seed: int, step: int, rank: int = 0, share: float = 0.0
    ) -> LabelledBatch:
        """Views of one step."""
        rng = np.random.default_rng([seed, step, rank])
        view = torch.from_numpy(rng.integers(self.config.views, size=count))
        picture = torch.from_numpy(rng.integers(len(self), size=count))
        inputs = as_input(self._views["inputs"][view, picture])
        targets = F.one_hot(self.labels[picture], len(self.classes)).float()
        weights = [self.head_input.lmbda(float(s)) for s in self._views["settings"][view, picture]]
        lmbda = torch.tensor(weights)
        if self.config.mixup:
            share = float(rng.beta(self.config.mixup, self.config.mixup))
            # Pairs are neighbours in the batch; lmbda is that of the first.
            inputs, targets = (share * x + (1.0 - share) * x.roll(1, 0) for x in (inputs, targets))
        return LabelledBatch(inputs=inputs, targets=targets, lmbda=lmbda)


def random_crop(picture: Tensor, rng: np.random.Generator, *, config: ViewConfig) -> Tensor:
    """A random part of a uint8 picture (3, H, W), flipped half of the time, at full size again."""
    _, height, width = picture.shape
    share = rng.uniform(config.area, 1.0)
    ratio = np.exp(rng.uniform(-0.25, 0.25))
    rows = min(height, max(1, round(height * np.sqrt(share / ratio))))
    columns = min(width, max(1, round(width * np.sqrt(share * ratio))))
    top = int(rng.integers(height - rows + 1))
    left = int(rng.integers(width - columns + 1))
    part = picture[:, top : top + rows, left : left + columns]
    part = part.flip(2) if rng.random() < 0.5 else part
    return fit(part, config.size)


def send(
    pictures: Tensor, settings: Sequence[float], *, head_input: HeadInput, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Inputs of a head from pictures, each at a random setting, and those settings, (N,).

    Args:
        pictures: pictures, uint8 (N, 3, H, W).
        settings: settings to draw from, each equally often.
        head_input: map from pictures to inputs of the head.
        rng: random generator.
    """
    drawn = rng.permutation(np.resize(np.arange(len(settings)), len(pictures)))
    inputs: Tensor | None = None
    for place, setting in enumerate(settings):
        chosen = torch.from_numpy(np.flatnonzero(drawn == place))
        if not len(chosen):
            continue
        seen = compact(head_input.transmit(pictures[chosen], setting))
        if inputs is None:
            inputs = seen.new_empty((len(pictures), *seen.shape[1:]))
        inputs[chosen] = seen
    assert inputs is not None
    return inputs, torch.tensor(settings)[torch.from_numpy(drawn)]


def fit(picture: Tensor, size: int) -> Tensor:
    """A uint8 picture (3, H, W) reduced or enlarged to a square of `size` px."""
    if tuple(picture.shape[1:]) == (size, size):
        return picture
    return F.interpolate(
        picture[None], size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )[0]


def as_input(kept: Tensor) -> Tensor:
    """Input of a network from its kept form: float32, pixels in [0, 1]."""
    return kept.float() / 255.0 if kept.dtype == torch.uint8 else kept.float()


def compact(seen: Tensor) -> Tensor:
    """Form in which inputs are kept: pixels in uint8, latents in float16."""
    return seen if seen.dtype == torch.uint8 else seen.half()

"""Training data of a head that learns from a teacher: views of pictures without labels.

    pictures -> crop, flip, a size -> codec at a rate -> input of the head
                                   '-> teacher -> features, logits

A group of views has one size and one rate, so that it passes codec and teacher together. It is a
function of (seed, number, process). A step has the newest group and others of the last `window`
groups: codec and teacher take longer than the step of a head, and every view serves several steps.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from promptcodec.config import Count, NotNegative, Ranged, Seed, ShareAbove0
from promptcodec.errors import ConfigError
from promptcodec.io.atomic import write_atomically
from promptcodec.training.data.augmented import ViewConfig, as_input, compact, fit, random_crop
from promptcodec.training.data.batch import TensorBatch
from promptcodec.training.data.inputs import HeadInput
from promptcodec.training.data.pictures import PictureStore

SIZE_STEP = 32  # px; the coarsest grid of a trunk is whole
HELD = 64  # pictures in a pass over the held-out ones


@dataclass(frozen=True, kw_only=True)
class TaughtViewConfig(Ranged):
    """Views of pictures without labels.

    Args:
        sizes: edges of views in px, multiples of 32, equally frequent.
        held_size: edge of held-out pictures in px.
        area: smallest area of a crop over that of its picture.
        settings: rate indexes, or qualities, of the codec, equally frequent.
        held_settings: those for held-out pictures.
        group: number of views of a group.
        every: number of steps with one new group.
        window: number of groups that steps draw from.
        seed: seed of the views.
    """

    sizes: tuple[Count, ...] = (128, 160, 192, 224, 256, 320, 384)
    held_size: Count = 224
    area: ShareAbove0 = 0.3
    settings: tuple[NotNegative, ...] = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    held_settings: tuple[NotNegative, ...] = (0.0, 4.0)
    group: Count = 8
    every: Count = 1
    window: Count = 500
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sizes or any(size % SIZE_STEP for size in (*self.sizes, self.held_size)):
            raise ConfigError(
                f"sizes are {list(self.sizes)}, held_size {self.held_size}; need multiples of "
                f"{SIZE_STEP}"
            )
        if not self.settings or not self.held_settings:
            raise ConfigError("settings and held_settings need one or more")


@dataclass(frozen=True, eq=False)
class TaughtBatch(TensorBatch):
    """Views of one size.

    Args:
        inputs: latents or pixels in [0, 1], (B, C, h, w).
        lmbda: rate-distortion weight of each picture's rate, (B,).
        features: features of the teacher, (B, C, H, W).
        logits: logits of the teacher, (B, classes).
    """

    inputs: Tensor
    lmbda: Tensor
    features: Tensor
    logits: Tensor


Teach = Callable[[Tensor], tuple[Tensor, Tensor]]  # uint8 pictures to features and logits


class TaughtViews:
    """Groups of views, made when a step needs them.

    Args:
        pictures: pictures without labels.
        head_input: map from pictures to inputs of the head.
        teach: map from pictures to features and logits of the teacher.
        teacher: name of the teacher, which tells its outputs from those of others.
        config: sizes, rates and the window.
        cache: folder for the groups; None keeps them in memory.
    """

    def __init__(
        self,
        pictures: PictureStore,
        *,
        head_input: HeadInput,
        teach: Teach,
        teacher: str,
        config: TaughtViewConfig,
        cache: Path | None = None,
    ) -> None:
        self.name, self.pictures, self.config = pictures.name, pictures, config
        self.head_input, self.teach = head_input, teach
        drawn = replace(config, window=1, every=1)
        facts = [pictures.name, len(pictures), pictures.config, str(head_input), teacher, drawn]
        own = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
        self.cache = None if cache is None else cache / own
        self._kept: OrderedDict[tuple[int, int], TaughtBatch] = OrderedDict()
        self.held = self._held()

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(
        self, count: int, *, seed: int, step: int, rank: int = 0, share: float = 0.0
    ) -> TaughtBatch:
        """Views of one step: the newest group, and others of its size."""
        config = self.config
        newest = step // config.every
        oldest = max(0, newest - config.window + 1)
        size = self._drawn(newest, rank)[1]
        alike = [n for n in range(oldest, newest + 1) if self._drawn(n, rank)[1] == size]
        rng = np.random.default_rng([seed, step, rank, 1])
        others = rng.choice(alike, max(0, count // config.group - 1))
        groups = [self._group(int(n), rank) for n in (newest, *others)]
        parts = ([getattr(g, f.name) for g in groups] for f in fields(TaughtBatch))
        inputs, lmbda, features, logits = (torch.cat(part) for part in parts)
        return TaughtBatch(as_input(inputs), lmbda, features.float(), logits.float())

    def sample(self, groups: int) -> list[TaughtBatch]:
        """The first groups."""
        found = (self._group(number, 0) for number in range(groups))
        return [
            TaughtBatch(as_input(g.inputs), g.lmbda, g.features.float(), g.logits.float())
            for g in found
        ]

    def _drawn(self, number: int, rank: int) -> tuple[np.random.Generator, int, float]:
        """Generator, size and setting of a group."""
        rng = np.random.default_rng([self.config.seed, number, rank])
        size, setting = rng.choice(self.config.sizes), rng.choice(self.config.settings)
        return rng, int(size), float(setting)

    def _group(self, number: int, rank: int) -> TaughtBatch:
        key = number, rank
        if key not in self._kept:
            path = self.cache and self.cache / f"{rank}-{number}.safetensors"
            group = None if path is None else _read(path)
            if group is None:
                group = self._transmitted(*self.originals(number, rank))
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(path, save(vars(group)), force=True)
            self._kept[key] = group
            while len(self._kept) > self.config.window:
                (old, of), _ = self._kept.popitem(last=False)
                if self.cache is not None:
                    (self.cache / f"{of}-{old}.safetensors").unlink(missing_ok=True)
        return self._kept[key]

    def originals(self, number: int, rank: int = 0) -> tuple[Tensor, float]:
        """Pictures of a group before the codec, uint8 (B, 3, H, W), and their setting."""
        rng, size, setting = self._drawn(number, rank)
        view = ViewConfig(size=size, area=self.config.area)
        pictures = self.pictures.draw(rng, self.config.group)
        return torch.stack([random_crop(p, rng, config=view) for p in pictures]), setting

    def _transmitted(self, pictures: Tensor, setting: float) -> TaughtBatch:
        features, logits = self.teach(pictures)
        return TaughtBatch(
            inputs=compact(self.head_input.transmit(pictures, setting)).contiguous(),
            lmbda=torch.full((len(pictures),), self.head_input.lmbda(setting)),
            features=features.half().contiguous(),
            logits=logits.half(),
        )

    def _held(self) -> dict[float, TaughtBatch]:
        """Held-out pictures at each setting."""
        size = self.config.held_size
        whole = torch.stack([fit(p.cpu(), size) for p in self.pictures.validation])
        return {s: self._transmitted(whole, s) for s in self.config.held_settings}


def _read(path: Path) -> TaughtBatch | None:
    """A group on disk; None if there is none, or a damaged one."""
    try:
        return TaughtBatch(**load_file(path))
    except (OSError, SafetensorError, TypeError):
        return None

"""Pictures for training, decoded once; crops are a function of the step.

The crops of step n of process r depend on (seed, n, r) alone, so a resumed run has exactly the
crops of an uninterrupted one, without replaying the steps before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from promptcodec.errors import DataError
from promptcodec.training.config import DataConfig
from promptcodec.training.data.crops import FlatPictures, cut, draw, weigh
from promptcodec.training.data.picture_cache import decode
from promptcodec.training.data.shards import first_pictures
from promptcodec.training.data.sources import (
    PictureFile,
    TrainingPicture,
    find_training_pictures,
    matches,
)

logger = logging.getLogger(__name__)


class PictureStore:
    """Pictures split into training and validation.

    Args:
        source: folder or zip file.
        config: crops, packs and the size of the validation part.
        device: device of the crops.
        validation: folder of validation pictures; None holds pictures out of `source`.
        cache: file to keep decoded pixels in; None keeps them in memory.
    Raises:
        DataError: there are too few usable pictures.
        UsageError: the cache is a file of another kind.
    """

    def __init__(
        self,
        source: Path,
        config: DataConfig,
        *,
        device: str = "cpu",
        validation: Path | None = None,
        cache: Path | None = None,
    ) -> None:
        self.config, self.device = config, device
        self.name = Path(source).name
        self.skipped: list[str] = []
        entries = find_training_pictures(source, config)
        found = self._usable([entry.source for entry in entries], cache=cache)
        self._pictures = {e: found[e.source] for e in entries if e.source in found}
        held_out = 0 if validation else config.validation_pictures
        if len(self._pictures) <= held_out:
            raise DataError(
                f"{source} has {len(self._pictures)} usable pictures of at least {config.crop} px; "
                f"need more than the {held_out} held out for validation"
            )
        held = self._hold_out(held_out)
        groups = {entry.group for entry in held}
        self._training = [e for e in self._pictures if e.group not in groups]
        pictures = [self._pictures[entry] for entry in held]
        if validation:
            places = first_pictures(validation, config.validation_pictures)
            pictures = list(self._usable(places, cache=None).values())
        self.validation = [picture.permute(2, 0, 1).to(device) for picture in pictures]
        if not self.validation:
            raise DataError(f"no picture in {validation or source} can be used for validation")
        if not self._training:
            raise DataError(f"{source} has only parts of pictures that are held out of training")
        self._shapes = np.array([self._pictures[entry].shape[:2] for entry in self._training])
        crops = {config.crop, config.last_crop or config.crop}
        self._weights = {crop: self._weigh(crop) for crop in crops}
        self._flat = None
        if device != "cpu":
            pictures = [self._pictures[entry] for entry in self._training]
            self._flat = FlatPictures(pictures, device=device)

    def _usable(
        self, places: list[PictureFile], *, cache: Path | None
    ) -> dict[PictureFile, Tensor]:
        """The pictures that can be decoded and are no smaller than a crop; the rest is logged."""
        found = decode(places, cache=cache)
        faults = dict(found.faults)
        for place, picture in found.pictures.items():
            if min(picture.shape[:2]) < self.config.crop:
                faults[place] = f"smaller than the crop of {self.config.crop} px"
        for place, reason in faults.items():
            logger.warning("skipped %s: %s", place, reason)
        self.skipped += map(str, faults)
        return {place: p for place, p in found.pictures.items() if place not in faults}

    def _hold_out(self, count: int) -> list[TrainingPicture]:
        """Pictures spread over each pack, in numbers as equal as possible."""
        packs = max(1, len(self.config.packs))
        held: dict[str, TrainingPicture] = {}
        for pack in range(packs):
            candidates: dict[str, TrainingPicture] = {}  # one of each group
            for entry in self._pictures:
                if (
                    entry.pack == pack
                    and entry.group not in held
                    and not matches(entry.source.name, self.config.validation_exclude)
                ):
                    candidates.setdefault(entry.group, entry)
            own = count // packs + (pack < count % packs)
            if len(candidates) < own:
                raise DataError(
                    f"pack {pack + 1} has {len(candidates)} pictures that may be held out; need "
                    f"{own}: lower data.validation_pictures"
                )
            chosen = np.linspace(0, len(candidates) - 1, own).round().astype(int)
            entries = list(candidates.values())
            held |= {entries[i].group: entries[i] for i in chosen}
        return list(held.values())

    def _weigh(self, crop: int) -> np.ndarray:
        """Cumulative probabilities of the training pictures: proportional to area in each pack."""
        packs = np.array([entry.pack for entry in self._training])
        shares = [pack.share for pack in self.config.packs] or [1.0]
        area = weigh(self._shapes, packs, shares=shares, crop=crop)
        if not area.any():
            raise DataError(f"no training picture has {crop} px: lower data.last_crop")
        sums = np.cumsum(area)
        return sums / sums[-1]

    def __len__(self) -> int:
        return len(self._training)

    def sample(self, count: int) -> Iterator[Tensor]:
        """Up to `count` training pictures, spread over the set, uint8 (3, H, W)."""
        stride = max(1, len(self._training) // count)
        for entry in self._training[::stride][:count]:
            yield self._pictures[entry].permute(2, 0, 1).to(self.device)

    def draw(self, rng: np.random.Generator, count: int) -> list[Tensor]:
        """Training pictures, uint8 (3, H, W), with the probabilities of the recipe's crops."""
        places = np.searchsorted(self._weights[self.config.crop], rng.random(count), side="right")
        chosen = [self._training[min(place, len(self) - 1)] for place in places]
        return [self._pictures[entry].permute(2, 0, 1) for entry in chosen]

    def batch(
        self, count: int, *, seed: int, step: int, rank: int = 0, share: float = 0.0
    ) -> Tensor:
        """Crops of one step: float32 in [0, 1], (B, 3, crop, crop), channels last.

        Args:
            count: number of crops of the recipe's `crop`; fewer if `share` gives larger ones.
            seed: seed of the run.
            step: position in the run.
            rank: number of the process.
            share: share of the run that is done.
        """
        crop = self.config.crop_at(share)
        places = draw(
            np.random.default_rng([seed, step, rank]),
            max(1, count * self.config.crop**2 // crop**2),
            shapes=self._shapes,
            weights=self._weights[crop],
            crop=crop,
            config=self.config,
        )
        if self._flat is not None:
            return self._flat.cut(places, crop=crop)
        return cut([self._pictures[self._training[i]] for i in places.picture], places, crop=crop)

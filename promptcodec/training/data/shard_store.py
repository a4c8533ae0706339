"""Pictures for training out of tar shards, of which a window is in memory; for sets of any size.

    step -> position in the order of pictures -> window -> crops of (seed, step, process)

Position and window are functions of the step, so a resumed run has exactly the crops of an
uninterrupted one, and reads no more than the headers before its window in one shard.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from promptcodec.errors import DataError
from promptcodec.io.tar import key_of
from promptcodec.training.config import DataConfig
from promptcodec.training.data.batch import INITIAL_STEP
from promptcodec.training.data.crops import cut, draw, weigh
from promptcodec.training.data.picture_cache import decode_one
from promptcodec.training.data.shard_order import ShardOrder
from promptcodec.training.data.shards import (
    Shard,
    first_pictures,
    open_shards,
    spread,
)
from promptcodec.training.data.sources import PictureFile, matches
from promptcodec.training.data.window import Reader, Window


@dataclass(frozen=True)
class ShardPack:
    """Shards that share the crops of a pack.

    Args:
        shards: shards without what is held out.
        share: share of the crops, of all packs 1.
    """

    shards: list[Shard]
    share: float


class ShardStore:
    """Pictures of tar shards, split into training and validation.

    Args:
        name: name of the data.
        packs: paths of the shards of each pack, in the order of the recipe; one without packs.
        config: crops, packs, and the sizes of buffer and validation part.
        device: device of validation pictures and samples.
        validation: folder of validation pictures; None holds pictures out of the shards.
        processes: number of processes that train.
    Raises:
        DataError: there are too few usable pictures.
    """

    def __init__(
        self,
        name: str,
        packs: Sequence[Sequence[Path]],
        config: DataConfig,
        *,
        device: str = "cpu",
        validation: Path | None = None,
        processes: int = 1,
    ) -> None:
        self.name, self.config, self.device, self.processes = name, config, device, processes
        self._reader = Reader(config.crop)
        self._pool = ThreadPoolExecutor(torch.get_num_threads())
        self._windows: dict[tuple[int, int, int], Window] = {}
        opened = [open_shards(paths, config.exclude) for paths in packs]
        self.digest = _digest(opened)
        held_out = 0 if validation is not None else config.validation_pictures
        shares = [pack.share for pack in config.packs] or [1.0]
        self.validation: list[Tensor] = []
        self._packs: list[ShardPack] = []
        for number, shards in enumerate(opened):
            own = held_out // len(packs) + (number < held_out % len(packs))
            left = self._hold_out(shards, own)
            if next(self._sample(left, 1), None) is None:
                raise DataError(
                    f"{name} has no usable picture of at least {config.crop} px in "
                    f"{len(packs[number])} shards beside the {own} held out for validation"
                )
            pictures = sum(shard.pictures for shard in left)
            if pictures < processes:
                raise DataError(
                    f"{name} has {pictures} pictures to train on and {processes} processes: start "
                    "no more processes than there are pictures"
                )
            self._packs.append(ShardPack(left, shares[number] / sum(shares)))
        if validation is not None:
            places = first_pictures(validation, config.validation_pictures)
            found = [pixels for place in places if (pixels := self._read(place)) is not None]
            self.validation = [self._moved(pixels) for pixels in found]
            if not found:
                raise DataError(f"no picture in {validation} can be used for validation")

    def _hold_out(self, shards: list[Shard], count: int) -> list[Shard]:
        """The shards without `count` pictures at equal distances, and the rest of their samples."""
        held: dict[Path, set[str]] = {}

        def read(place: PictureFile) -> Tensor | None:
            if matches(place.name, self.config.validation_exclude):
                return None
            if key_of(str(place.member)) in held.get(place.path, ()):
                return None
            return self._read(place)

        for place, pixels in spread(shards, count, read=read):
            held.setdefault(place.path, set()).add(key_of(str(place.member)))
            self.validation.append(self._moved(pixels))
        found = sum(map(len, held.values()))
        if count and not found:
            raise DataError(
                f"{self.name} has no usable picture in {len(shards)} shards; need pictures of at "
                f"least {self.config.crop} px, and some that data.validation_exclude leaves: see "
                "the lines above, or name other data"
            )
        if found < count:
            raise DataError(
                f"{self.name} has {found} usable pictures of at least {self.config.crop} px in "
                f"{len(shards)} shards that may be held out; need {count}, and more to train on: "
                "lower data.validation_pictures"
            )
        left = [s.without(frozenset(held[s.path])) if s.path in held else s for s in shards]
        return [shard for shard in left if shard.pictures]

    def _read(self, place: PictureFile) -> Tensor | None:
        pixels = self._reader.usable(place, decode_one(place))
        return None if pixels is None else torch.from_numpy(pixels)

    def _moved(self, pixels: Tensor) -> Tensor:
        return pixels.permute(2, 0, 1).to(self.device)

    def __len__(self) -> int:
        return sum(shard.pictures for pack in self._packs for shard in pack.shards)

    def sample(self, count: int) -> Iterator[Tensor]:
        """Up to `count` training pictures, spread over the set, uint8 (3, H, W)."""
        yield from self._sample([shard for pack in self._packs for shard in pack.shards], count)

    def _sample(self, shards: list[Shard], count: int) -> Iterator[Tensor]:
        for _, pixels in spread(shards, count, read=self._read):
            yield self._moved(pixels)

    def batch(
        self, count: int, *, seed: int, step: int, rank: int = 0, share: float = 0.0
    ) -> Tensor:
        """Crops of one step: float32 in [0, 1], (B, 3, crop, crop), channels last, on the CPU.

        Args:
            count: number of crops of the recipe's `crop`; fewer if `share` gives larger ones.
            seed: seed of the run.
            step: position in the run.
            rank: number of the process.
            share: share of the run that is done.
        """
        drawn = step % INITIAL_STEP * count // self.config.crops_per_picture
        pictures: list[np.ndarray] = []
        packs: list[int] = []
        for number, pack in enumerate(self._packs):
            window = self._window(number, seed=seed, rank=rank)
            found = window.at(math.floor(drawn * pack.share), ahead=count)
            pictures += found
            packs += [number] * len(found)
        shapes = np.array([picture.shape[:2] for picture in pictures])
        crop = self._crop_at(share, largest=int(shapes.min(axis=1).max()))
        shares = [pack.share for pack in self._packs]
        weights = np.cumsum(weigh(shapes, np.array(packs), shares=shares, crop=crop))
        places = draw(
            np.random.default_rng([seed, step, rank]),
            max(1, count * self.config.crop**2 // crop**2),
            shapes=shapes,
            weights=weights / weights[-1],
            crop=crop,
            config=self.config,
        )
        return cut([torch.from_numpy(pictures[i]) for i in places.picture], places, crop=crop)

    def _crop_at(self, share: float, *, largest: int) -> int:
        """Edge of the crops; that of most of the run if no picture has room for larger ones."""
        last = self.config.last_crop
        if last is not None and largest < last:
            self._reader.tell(
                "last_crop",
                f"no picture in memory has data.last_crop {last} px: such steps keep crops of "
                f"{self.config.crop} px",
            )
            return self.config.crop
        return self.config.crop_at(share)

    def _window(self, number: int, *, seed: int, rank: int) -> Window:
        """Window on a pack, with its share of the buffer."""
        key = (number, seed, rank)
        if key not in self._windows:
            pack = self._packs[number]
            self._windows[key] = Window(
                ShardOrder(pack.shards, seed=seed, rank=rank, processes=self.processes),
                size=max(1, round(self.config.shuffle_buffer * pack.share)),
                reader=self._reader,
                pool=self._pool,
            )
        return self._windows[key]


def _digest(packs: Sequence[Sequence[Shard]]) -> str:
    """Digest of names of all shards, and of the files in them."""
    facts = [[(s.path.name, s.pictures, s.digest) for s in pack] for pack in packs]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

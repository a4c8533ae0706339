"""Order in which a process reads the pictures of tar shards: a function of seed and epoch.

    epoch e: the process's shards, permuted by (seed, e); within a shard, its own order

With as many shards as processes or more, a process reads every n-th shard; else every n-th picture
of every shard. No picture is read by two processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from promptcodec.training.data.shards import Shard
from promptcodec.training.data.sources import PictureFile

ORDER = 1  # last word of the seed of a permutation; that of crops has none here


@dataclass(frozen=True)
class Part:
    """Every `step`-th picture of a shard, from picture `first` on."""

    shard: Shard
    first: int = 0
    step: int = 1

    def __len__(self) -> int:
        return len(range(self.first, self.shard.pictures, self.step))

    def walk(self, start: int) -> Iterator[PictureFile]:
        """Its pictures from number `start` on."""
        return islice(self.shard.walk(), self.first + start * self.step, None, self.step)


class ShardOrder:
    """Endless order of the pictures of one process.

    Args:
        shards: shards of all processes.
        seed: seed of the permutations.
        rank: number of the process.
        processes: number of processes.
    """

    def __init__(
        self, shards: Sequence[Shard], *, seed: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.seed = seed
        if len(shards) >= processes:
            parts = [Part(shard) for shard in shards[rank::processes]]
        else:  # pictures are counted over all shards, and dealt in turn
            before = np.cumsum([0, *(shard.pictures for shard in shards)]).tolist()
            firsts = [(rank - count) % processes for count in before[:-1]]
            parts = [Part(*each, processes) for each in zip(shards, firsts, strict=True)]
        self._parts = [part for part in parts if len(part)]
        self._lengths = np.array([len(part) for part in self._parts], dtype=np.int64)

    def __len__(self) -> int:
        """Pictures of an epoch."""
        return int(self._lengths.sum())

    def walk(self, start: int) -> Iterator[PictureFile | None]:
        """Pictures from position `start` on, over all epochs; None where a shard was cut since."""
        epoch, position = divmod(start, len(self))
        while True:
            order = np.random.default_rng([self.seed, epoch, 0, ORDER]).permutation(
                len(self._parts)
            )
            ends = self._lengths[order].cumsum()
            number = int(np.searchsorted(ends, position, side="right"))
            skipped = position - int(ends[number - 1]) if number else position
            for part in (self._parts[i] for i in order[number:]):
                pictures = part.walk(skipped)
                for _ in range(len(part) - skipped):
                    yield next(pictures, None)
                skipped = 0
            epoch, position = epoch + 1, 0

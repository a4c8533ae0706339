"""Choice of the store of training pictures: all of them in memory, or a window on tar shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from torch import Tensor, distributed

from promptcodec.errors import DataError, UsageError
from promptcodec.training.config import DataConfig
from promptcodec.training.data.pictures import PictureStore
from promptcodec.training.data.shard_store import ShardStore
from promptcodec.training.data.shards import find_shards


class CropStore(Protocol):
    """Pictures without labels, of which crops are batches.

    Attributes:
        name: name of the data.
        validation: held-out pictures, uint8 (3, H, W).
    """

    name: str
    validation: list[Tensor]

    def __len__(self) -> int:
        """Pictures to train on."""
        ...

    def sample(self, count: int) -> Iterator[Tensor]:
        """Up to `count` training pictures, spread over the set, uint8 (3, H, W)."""
        ...

    def batch(
        self, count: int, *, seed: int, step: int, rank: int = 0, share: float = 0.0
    ) -> Tensor:
        """Crops of one step, float32 in [0, 1], (B, 3, crop, crop); arguments as `Store.batch`."""
        ...


def open_pictures(
    data: Path,
    config: DataConfig,
    *,
    device: str = "cpu",
    validation: Path | None = None,
    cache: Path | None = None,
) -> CropStore:
    """Open training pictures for all processes of the run.

    Args:
        data: folder of pictures or zip files, zip file, folder of tar shards, tar shard, or
            pattern of tar shards.
        config: crops, packs and the size of the validation part.
        device: device of the pictures.
        validation: folder of validation pictures; None holds pictures out of `data`.
        cache: file to keep decoded pixels in; None keeps them in memory.
    Raises:
        DataError: there are too few usable pictures, or packs are of two kinds.
        UsageError: the cache is a file of another kind, or named for tar shards.
    """
    data = Path(data)
    shards = _shards_of(data, config)
    if shards is None:
        return PictureStore(data, config, device=device, validation=validation, cache=cache)
    if cache is not None:
        raise UsageError(
            f"{data} has tar shards, which are read as a stream: leave out the cache {cache}"
        )
    several = distributed.is_available() and distributed.is_initialized()
    return ShardStore(
        data.name,
        shards,
        config,
        device=device,
        validation=validation,
        processes=distributed.get_world_size() if several else 1,
    )


def _shards_of(data: Path, config: DataConfig) -> list[list[Path]] | None:
    """Tar shards of every pack; None if there are none.

    Raises:
        DataError: packs are of two kinds.
    """
    if not config.packs:
        found = find_shards(data)
        return [found] if found else None
    places = {data / pack.name: find_shards(data / pack.name) for pack in config.packs}
    kinds = {bool(shards): place for place, shards in places.items()}
    if kinds.keys() == {True, False}:
        raise DataError(
            f"pack {kinds[True]} has tar shards and pack {kinds[False]} has none: give all packs "
            "as tar shards, or none"
        )
    return list(places.values()) if True in kinds else None

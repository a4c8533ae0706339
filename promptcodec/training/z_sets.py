"""Tables of z of a rate, fitted to z of training pictures with its finished adapter.

    picture -> g_a, h_a with the adapter -> z_hat of a tile
    tiles -> each to its cheapest set -> sets counted anew -> ...     (several starts, the best one)

The base's tables are a compromise between rates, and one table is a compromise between pictures:
the distribution of z depends on the rate, and on whether pictures are flat or busy. The number of
sets of a rate is chosen on tiles held out of the fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.coding.encoder import ONE_TILE_PIXELS, TILE_SIZE
from promptcodec.coding.entropy.tables import TOTAL, Z_MAX, Z_MIN, quantise_frequencies
from promptcodec.coding.entropy.z_tables import MAX_SETS, NUM_VALUES, SET_BITS, Frequencies, ZTables
from promptcodec.config import TILE_STRIDE
from promptcodec.errors import UsageError
from promptcodec.models.codec_model import Adapter, CodecModel
from promptcodec.models.tensors import pad
from promptcodec.training.optim import device_of

BASE_COUNT = 100.0  # weight of the base's tables as a prior, in symbols
SHARED_COUNT = 200.0  # weight of all tiles together as a prior of several sets, in symbols
STARTS = 4  # starts of the search, each from other tiles
ROUNDS = 30  # largest number of rounds of a search
ENOUGH = 1e-4  # least relative gain of a round that is followed by another
HELD_OUT = 5  # every fifth tile is held out to choose the number of sets

ZHat = NDArray[np.int16]  # of a tile, (Cz, h, w)


@dataclass(frozen=True)
class FittedSets:
    """Tables of z of a rate.

    Args:
        sets: sets of tables; empty if the base's tables are as good.
        bits: bits of the held-out tiles by number of sets, with the numbers of the sets; the first
            is that of the base's tables. Empty if there are too few tiles.
    """

    sets: tuple[ZTables, ...] = ()
    bits: tuple[float, ...] = ()


@torch.inference_mode()
def hyper_latents(
    model: CodecModel, pictures: Iterable[Tensor], *, adapter: Adapter | None
) -> Iterator[ZHat]:
    """z_hat of each picture as in coding; for a picture of several tiles that of the middle one.

    Args:
        model: model of the base.
        pictures: training pictures, uint8 (3, H, W).
        adapter: adapter of the rate.
    """
    device = device_of(model)
    for picture in pictures:
        x = pad(_tile(picture)[None].to(device).float() / 255.0, TILE_STRIDE)
        _, z = model.transform(x.contiguous(memory_format=torch.channels_last), adapter=adapter)
        yield torch.round(z[0]).clamp_(Z_MIN, Z_MAX).to(torch.int16).cpu().numpy()


def _tile(picture: Tensor) -> Tensor:
    height, width = picture.shape[1:]
    if height * width <= ONE_TILE_PIXELS:
        return picture
    top, left = (max(0, side - TILE_SIZE) // 2 for side in (height, width))
    return picture[:, top : top + TILE_SIZE, left : left + TILE_SIZE]


def choose_sets(tiles: Sequence[ZHat], base: Frequencies, *, most: int) -> FittedSets:
    """Fit the number of sets of tables that has the fewest bits on held-out tiles.

    Args:
        tiles: z_hat of training pictures at one rate.
        base: tables of z of the base, (Cz, 256).
        most: largest number of sets.
    """
    fitted, held = [t for n, t in enumerate(tiles) if n % HELD_OUT], tiles[::HELD_OUT]
    if not fitted:
        return FittedSets()
    bits = [sum(ZTables(base).bits(tile) for tile in held)]
    for count in range(1, min(most, len(fitted)) + 1):
        bits.append(set_bits(fit_sets(fitted, base, count=count), held))
    count = bits.index(min(bits))
    return FittedSets(fit_sets(tiles, base, count=count) if count else (), tuple(bits))


def set_bits(sets: Sequence[ZTables], tiles: Sequence[ZHat]) -> float:
    """Bits of tiles, each with its cheapest set, and of the numbers of the sets."""
    return sum(SET_BITS + min(tables.bits(tile) for tables in sets) for tile in tiles)


def fit_sets(tiles: Sequence[ZHat], base: Frequencies, *, count: int) -> tuple[ZTables, ...]:
    """Fit a number of sets; fewer if some are of no tile.

    Args:
        tiles: z_hat of training pictures at one rate.
        base: tables of z of the base, (Cz, 256).
        count: number of sets.
    Raises:
        UsageError: there are fewer tiles than sets, or more sets than an adapter may have.
    """
    if not 1 <= count <= min(MAX_SETS, len(tiles)):
        raise UsageError(f"{count} sets of tables for {len(tiles)} tiles; need 1 to {MAX_SETS}")
    found = [_Search(tiles, base).run(count, seed=seed) for seed in range(STARTS)]
    _, sets = min(found, key=lambda each: each[0])
    return tuple(ZTables(np.stack([quantise_frequencies(row) for row in each])) for each in sets)


class _Search:
    """Tiles side by side, and their bits under sets of probabilities (Cz, 256)."""

    def __init__(self, tiles: Sequence[ZHat], base: Frequencies) -> None:
        flat = [tile.reshape(len(tile), -1) for tile in tiles]
        sizes = [tile.shape[1] for tile in flat]
        self.starts = np.cumsum([0, *sizes[:-1]])
        self.tile_of = np.repeat(np.arange(len(tiles)), sizes)
        self.channels = np.arange(len(base))[:, None]
        self.symbols = np.concatenate(flat, axis=1).astype(np.intp) - Z_MIN  # (Cz, positions)
        self.shared = _shares(self._counts(self.tile_of >= 0) + BASE_COUNT * base / TOTAL)

    def run(self, count: int, *, seed: int) -> tuple[float, list[np.ndarray]]:
        """Bits of all tiles, and the sets."""
        tiles = len(self.starts)
        chosen = np.random.default_rng(seed).choice(tiles, count, replace=False)
        sets = [self._counted(self.tile_of == tile) for tile in chosen]
        last = np.inf
        for _ in range(ROUNDS):
            bits = self._bits(sets)
            total = float(bits.min(axis=0).sum())
            if last - total < ENOUGH * total:
                break
            last, owner = total, bits.argmin(axis=0)[self.tile_of]
            parts = [owner == number for number in range(len(sets))]
            sets = [self._counted(part) for part in parts if part.any()]
        return total, sets

    def _bits(self, sets: list[np.ndarray]) -> np.ndarray:
        """Bits of each tile with each set, (sets, tiles)."""
        costs = [-np.log2(each)[self.channels, self.symbols].sum(axis=0) for each in sets]
        return np.stack([np.add.reduceat(cost, self.starts) for cost in costs])

    def _counted(self, where: np.ndarray) -> np.ndarray:
        return _shares(self._counts(where) + SHARED_COUNT * self.shared)

    def _counts(self, where: np.ndarray) -> np.ndarray:
        """Number of occurrences of each value at some positions, (Cz, 256)."""
        places = (self.channels * NUM_VALUES + self.symbols)[:, where]
        size = len(self.channels) * NUM_VALUES
        return np.bincount(places.ravel(), minlength=size).reshape(-1, NUM_VALUES)


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(axis=1, keepdims=True)

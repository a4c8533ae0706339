"""Choice of the exact tiles of a picture, by rate-distortion cost.

look at every tile -> none is flat: the picture as it is
                   -> lossless WebP of the flat ones | bits and error of the learned codec
                   -> the cheapest of: no exact tile, some, the whole picture in one

The look takes a hundredth of the time of an encoding and decides alone on photographs: a tile is
flat if most pixels are equal to their neighbour. Where one is, every choice is coded in truth, and
their costs are compared, so that no stream costs more than it would without exact tiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream import MAX_TILES
from promptcodec.coding.encoder import Candidate, CodingPoint, PreparedPicture
from promptcodec.coding.tiling import Box, Tiling
from promptcodec.config import TILE_STRIDE
from promptcodec.errors import UsageError
from promptcodec.io.exact import LONGEST_SIDE, encode_exact
from promptcodec.io.pictures import Picture

CELL = 256  # px, side of the tiles of a mixed picture
MOST_CHANGES = 0.5  # of a flat tile; photographs have 0.64 and more
SAMPLED = 4  # rows of which one is looked at
RECORD = 8  # bytes of an exact tile in the header
# What one file of a whole picture takes at least, seen from those of its tiles.
WHOLE_SHARE = 0.4  # of the files of flat tiles: text that repeats is coded once
LEAST_BPP = 2.0  # of the other tiles


@dataclass(frozen=True, eq=False)
class ExactSearch:
    """Search for the exact tiles of one picture, at any position of the ladder.

    Args:
        prepared: prepared picture.
        cells: tiles that may be exact; those of the prepared picture where its cut is given.
        as_whole: whether the picture may be one exact tile.
    """

    prepared: PreparedPicture
    cells: Tiling
    as_whole: bool
    _files: dict[Box, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, prepared: PreparedPicture, *, tile_size: int | None, effort: int) -> ExactSearch:
        """Search in a prepared picture.

        Args:
            prepared: prepared picture.
            tile_size: given side of a tile, px; None lets the search cut the picture.
            effort: amount of refinement, which needs one tile.
        """
        small = replace(prepared.tiling, size=CELL)
        free = tile_size is None and not effort and len(small) <= MAX_TILES
        cells = small if free else prepared.tiling
        longest = max(prepared.picture.height, prepared.picture.width)
        as_whole = (free or not prepared.is_tiled) and longest <= LONGEST_SIDE
        search = cls(prepared, cells, as_whole)
        if free and prepared.is_tiled and search.flat:  # cells are smaller than its tiles
            return replace(search, prepared=replace(prepared, cell=CELL))
        return search

    @cached_property
    def flat(self) -> tuple[int, ...]:
        """Numbers of the cells that are worth a lossless file."""
        picture, found = self.prepared.picture, []
        rows, columns = self.cells.grid
        for row in range(rows):
            first = self.cells.tile(row * columns).within(self.cells.picture)
            changed = _changes(picture, Box(first.top, 0, first.bottom, picture.width))
            for number in range(row * columns, (row + 1) * columns):
                box = self.cells.tile(number)
                part = changed[:, box.left : box.right - 1]
                if self._fits(number) and (not part.size or part.mean() <= MOST_CHANGES):
                    found.append(number)
        return tuple(found)

    def best(self, learned: Candidate) -> Candidate:
        """The candidate of the lowest cost at the position of one without exact tiles."""
        if not self.flat:
            return learned
        point, boxes = learned.point, [self.cells.tile(n) for n in range(len(self.cells))]
        several = len(boxes) > 1
        by_box = learned.cell_bits(self.cells.size if several else 0)
        bits = [by_box[box] for box in boxes]
        exact = {n: 8 * (RECORD + len(self._file(boxes[n]))) for n in self.flat}
        least = sum(min(own, exact.get(n, own)) for n, own in enumerate(bits))
        whole = self._whole_within(least)
        if whole is not None and 8 * len(whole) <= least:  # the others have distortion as well
            return self.whole(point)
        errors = learned.errors(boxes)
        costs = [own + point.lmbda * error / 3 for own, error in zip(bits, errors, strict=True)]
        found = [(learned.cost_of(sum(errors)), learned)]
        if self._whole_within(found[0][0]) is not None:
            one = self.whole(point)
            found.append((one.cost_of(0.0), one))
        chosen = {n: self._file(boxes[n]) for n in self.flat if exact[n] < costs[n]}
        mixed = sum(exact[n] if n in chosen else cost for n, cost in enumerate(costs))
        if several and chosen and mixed < min(cost for cost, _ in found):
            some = self.with_exact(chosen).encode_at(point)
            found.append((some.cost_of(sum(some.errors())), some))
        return min(found, key=lambda each: each[0])[1]

    def with_exact(self, files: Mapping[int, bytes]) -> PreparedPicture:
        """The picture cut into cells, some of which are exact."""
        return replace(self.prepared, tiling=self.cells, exact=files, cell=0)

    def whole(self, point: CodingPoint) -> Candidate:
        """The picture as one exact tile."""
        tiling = replace(self.prepared.tiling, size=0)
        files = {0: self._file(tiling.whole)}
        return replace(self.prepared, tiling=tiling, exact=files, cell=0).encode_at(point)

    def within(self, size: float, point: CodingPoint) -> Candidate | None:
        """The picture as one exact tile if its stream has at most that many bytes."""
        if not self.flat or self._whole_within(8 * size) is None:
            return None
        candidate = self.whole(point)
        return candidate if len(candidate.stream()) <= size else None

    def everywhere(self, point: CodingPoint) -> Candidate | None:
        """The picture with nothing but exact tiles, in one if it may be; None where WebP ends."""
        if self.as_whole:
            return self.whole(point)
        if not all(map(self._fits, range(len(self.cells)))):
            return None
        return exact_everywhere(self.with_exact({})).encode_at(point)

    def _fits(self, number: int) -> bool:
        """Whether a WebP file can hold a cell."""
        box = self.cells.tile(number).within(self.cells.picture)
        return max(box.height, box.width) <= LONGEST_SIDE

    def _whole_within(self, bits: float) -> bytes | None:
        """File of the whole picture; None where it may not be or takes more in all likelihood."""
        if not self.as_whole:
            return None
        flat = sum(len(self._file(self.cells.tile(n))) for n in self.flat)
        others = set(range(len(self.cells))) - set(self.flat)
        area = sum(self.cells.tile(n).within(self.cells.picture).area for n in others)
        share = WHOLE_SHARE if len(self.cells) > 1 else 1.0
        if 8 * share * flat + LEAST_BPP * area > bits:
            return None
        return self._file(self.cells.whole)

    def _file(self, box: Box) -> bytes:
        if box not in self._files:
            self._files[box] = exact_file(self.prepared, box)
        return self._files[box]


def exact_everywhere(prepared: PreparedPicture) -> PreparedPicture:
    """A picture whose tiles are all exact."""
    tiles = range(len(prepared.tiling))
    files = {n: exact_file(prepared, prepared.tiling.tile(n)) for n in tiles}
    return replace(prepared, exact=files)


def exact_tile_size(size: int | None, picture: Picture) -> int:
    """Side of the tiles of a picture that is exact everywhere, px; 0 is one tile.

    Args:
        size: given side; None is one tile where a WebP file can be so large.
        picture: loaded picture.
    Raises:
        UsageError: the given tiles are too large for WebP files.
    """
    longest = max(picture.width, picture.height)
    if size is None:
        return 0 if longest <= LONGEST_SIDE else LONGEST_SIDE // TILE_STRIDE * TILE_STRIDE
    if (side := min(size or longest, longest)) > LONGEST_SIDE:
        raise UsageError(
            f"tile_size {size} gives exact tiles of {side} px, and a WebP file has at most "
            f"{LONGEST_SIDE}: take smaller tiles"
        )
    return size


def exact_file(prepared: PreparedPicture, box: Box) -> bytes:
    """WebP file of a tile's part of the picture; hidden colours are what costs the least."""
    rows, columns = box.within(prepared.tiling.picture).slices(prepared.tiling.picture)
    rgb, alpha = prepared.picture.pixels[rows, columns], prepared.picture.alpha
    data = encode_exact(rgb if alpha is None else _repeated(rgb, alpha[rows, columns] > 0))
    prepared.on_stage("exact")
    return data


def _repeated(rgb: NDArray[np.uint8], seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pixels where each hidden one repeats the last visible one of its row, or else the first."""
    before = np.maximum.accumulate(np.where(seen, np.arange(seen.shape[1]), -1), axis=1)
    nearest = np.where(before >= 0, before, seen.argmax(axis=1)[:, None])
    found = np.take_along_axis(rgb, nearest[:, :, None], axis=1)
    found[~seen.any(axis=1)] = 0
    return found


def _changes(picture: Picture, box: Box) -> NDArray[np.bool_]:
    """Whether each pixel of some rows differs from its left neighbour, (rows, columns - 1)."""
    rows, columns = box.slices(Box(0, 0, picture.height, picture.width))
    rgb = picture.pixels[rows, columns][::SAMPLED]
    planes = rgb[:, 1:] != rgb[:, :-1]
    changed = planes[:, :, 0] | planes[:, :, 1] | planes[:, :, 2]
    if picture.alpha is not None:
        seen = picture.alpha[rows, columns][::SAMPLED] > 0
        changed &= seen[:, 1:] & seen[:, :-1]
    return changed

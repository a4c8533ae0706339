"""The part of a stream that is in memory: a window that moves over an order of pictures.

    ... | start ............ start + size | decoded ahead | ...
          pictures to draw crops from

What is in the window depends on `start` alone, so a resumed run reads it again and continues.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from promptcodec.errors import DataError
from promptcodec.io.notes import note_line
from promptcodec.training.data.picture_cache import Pixels, decode_one
from promptcodec.training.data.shard_order import ShardOrder
from promptcodec.training.data.sources import PictureFile

logger = logging.getLogger(__name__)

MOST_LINES = 10_000  # of the log, on single pictures


class Reader:
    """Decoding of pictures, with one line in the log on each that cannot be used.

    Args:
        smallest: shortest edge of a usable picture in px.
    """

    def __init__(self, smallest: int) -> None:
        self.smallest = smallest
        self._told: set[object] = set()

    def usable(self, place: PictureFile, found: Pixels) -> np.ndarray | None:
        """Pixels of a decoded picture, uint8 (H, W, 3); None if it cannot be used."""
        pixels, notes = found
        for note in notes:
            self.tell(note, f"note: {note_line(str(place), note)} (others are not named)")
        if isinstance(pixels, np.ndarray) and min(pixels.shape[:2]) < self.smallest:
            pixels = f"smaller than the crop of {self.smallest} px"
        if isinstance(pixels, str):
            self.tell(place, f"skipped {place}: {pixels}")
            return None
        return pixels

    def tell(self, what: object, line: str) -> None:
        """Log a line, unless there was one on the same thing or there were too many."""
        if what not in self._told and len(self._told) < MOST_LINES:
            self._told.add(what)
            logger.warning("%s", line)
            if len(self._told) == MOST_LINES:
                logger.warning("further pictures that are skipped are not named")


class Window:
    """Decoded pictures around a position of an order.

    Args:
        order: order of the pictures.
        size: number of positions of the window.
        reader: check of decoded pictures.
        pool: threads that decode.
    """

    def __init__(
        self,
        order: ShardOrder,
        *,
        size: int,
        reader: Reader,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.order, self.size = order, min(size, len(order))
        self.reader, self.pool = reader, pool
        self._found: dict[int, np.ndarray | None] = {}  # by position; None is unusable
        self._coming: dict[int, tuple[PictureFile, Future[Pixels]]] = {}
        self._start = 0
        self._walk: Iterator[PictureFile | None] = iter(())
        self._next = -1  # position of the walk

    @property
    def held(self) -> int:
        """Number of pictures in memory, or on the way there."""
        return len(self._coming) + sum(pixels is not None for pixels in self._found.values())

    def at(self, start: int, *, ahead: int = 0) -> list[np.ndarray]:
        """Usable pictures of the window that begins at `start`, uint8 (H, W, 3) each.

        If no picture of the window is usable, it ends with the next one that is.

        Args:
            start: first position of the window.
            ahead: number of positions behind the window to decode in the background.
        Raises:
            DataError: no picture of a whole epoch is usable.
        """
        end = start + self.size
        backwards = start < self._start
        for kept in (self._found, self._coming):
            for position in [p for p in kept if p < start or (backwards and p >= end)]:
                del kept[position]
        self._start = start
        for position in range(start, start + ahead):
            self._ask(position)
        pictures = []
        for position in range(start, end):
            self._ask(position + ahead)  # no more at a time, or an end would wait for all of them
            found = self._take(position)
            pictures += [] if found is None else [found]
        while not pictures:
            if end > start + len(self.order):
                raise DataError(
                    f"none of {len(self.order)} pictures can be used, from "
                    f"{next(self.order.walk(start))} on: give others, or lower data.crop"
                )
            found = self._take(end)
            pictures += [] if found is None else [found]
            end += 1
        return pictures

    def _ask(self, position: int) -> None:
        """Have a picture decoded that is not yet."""
        if position in self._found or position in self._coming:
            return
        if position != self._next:
            self._walk = self.order.walk(position)
        place = next(self._walk)
        self._next = position + 1
        if place is None:
            self._found[position] = None
        else:
            self._coming[position] = place, self.pool.submit(decode_one, place)

    def _take(self, position: int) -> np.ndarray | None:
        """The picture of a position; None if it is unusable."""
        self._ask(position)
        if position in self._coming:
            place, future = self._coming.pop(position)
            self._found[position] = self.reader.usable(place, future.result())
        return self._found[position]

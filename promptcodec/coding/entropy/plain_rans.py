"""The rANS coder of FORMAT.md in plain integers, with the names of the package constriction.

It serves processors that constriction has no wheel for; words and symbols are the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

PRECISION = 24  # bits of a cumulated frequency
TOTAL = 1 << PRECISION
WORD_BITS, STATE_BITS = 32, 64


class Categorical:
    """Frequencies of symbols.

    Args:
        probabilities: multiples of 2^-24 that sum to 1.
        perfect: that they are such.
    """

    def __init__(self, probabilities: NDArray[np.float64], *, perfect: bool) -> None:
        frequencies = [int(p * TOTAL) for p in probabilities.tolist()]
        self.starts = list(accumulate(frequencies, initial=0))
        if not perfect or self.starts[-1] != TOTAL:
            raise ValueError(f"probabilities are no multiples of 1/{TOTAL} that sum to 1")
        self.spans = [(start, end - start) for start, end in pairwise(self.starts)]


class AnsCoder:
    """A stack of coded symbols.

    Args:
        words: coded words; what they hold is decoded from their end.
    """

    def __init__(self, words: Sequence[int] | NDArray[np.uint32] = ()) -> None:
        self._words = [int(word) for word in words]
        self._state = 0
        self._refill()

    def _refill(self) -> None:
        while self._state < 1 << WORD_BITS and self._words:
            self._state = self._state << WORD_BITS | self._words.pop()

    def encode_reverse(self, symbols: NDArray[np.int32], model: Categorical) -> None:
        """Push symbols, the last one first."""
        for symbol in reversed(symbols.tolist()):
            start, frequency = model.spans[symbol]
            if self._state >= frequency << STATE_BITS - PRECISION:
                self._words.append(self._state & (1 << WORD_BITS) - 1)
                self._state >>= WORD_BITS
            whole, rest = divmod(self._state, frequency)
            self._state = whole << PRECISION | rest + start

    def decode(self, model: Categorical, count: int) -> NDArray[np.int32]:
        """Pop `count` symbols."""
        found = np.empty(count, np.int32)
        for place in range(count):
            within = self._state & TOTAL - 1
            found[place] = symbol = bisect_right(model.starts, within) - 1
            start, frequency = model.spans[symbol]
            self._state = (self._state >> PRECISION) * frequency + within - start
            self._refill()
        return found

    def get_compressed(self) -> NDArray[np.uint32]:
        """All words, those of the state last."""
        words, state = list(self._words), self._state
        while state:
            words.append(state & (1 << WORD_BITS) - 1)
            state >>= WORD_BITS
        return np.array(words, np.uint32)

    def is_empty(self) -> bool:
        """Whether nothing is left to decode."""
        return not self._state and not self._words

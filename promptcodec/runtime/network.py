"""What a rate adds to a base, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Network:
    """Prompt networks and updates of one rate, or between two.

    Args:
        arrays: float32 arrays by name.
    """

    arrays: Mapping[str, NDArray[np.float32]]


@lru_cache(maxsize=32)
def between(low: Network, high: Network, share: float) -> Network:
    """Every weight in a line.

    Args:
        low: network at share 0.
        high: network at share 1, of the same shapes.
        share: way from `low` to `high`.
    """
    found = {}
    for name, start in low.arrays.items():
        way = high.arrays[name] - start
        found[name] = np.add(start, way * np.float32(share), dtype=np.float32)
    return Network(found)

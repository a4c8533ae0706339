"""Random latents and table indexes."""

from __future__ import annotations

import numpy as np

from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.entropy.tables import NUM_SCALES, TOTAL, scales, table_range

SHAPE_Y = (12, 8, 12)
SHAPE_Z = (4, 2, 3)


def draw_indexes(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE_Y) -> np.ndarray:
    return rng.integers(0, NUM_SCALES, shape).astype(np.uint8)


def draw_y(rng: np.random.Generator, indexes: np.ndarray, *, outliers: float = 0.0) -> np.ndarray:
    """Residuals of the deviation that each index stands for, some of them far outside."""
    wide = np.where(rng.random(indexes.shape) < outliers, 40.0, 1.0)
    symbols = np.rint(rng.normal(size=indexes.shape) * scales()[indexes] * wide)
    return np.where(indexes > 0, symbols, 0).astype(np.int32)


def draw_z(
    rng: np.random.Generator, tables: EntropyTables, shape: tuple[int, int, int] = SHAPE_Z
) -> np.ndarray:
    rows = [rng.choice(256, size=shape[1:], p=table / TOTAL) - 128 for table in tables.z]
    return np.stack(rows).astype(np.int16)


def count_escapes(symbols: np.ndarray, indexes: np.ndarray) -> int:
    radius = np.array([table_range(i) for i in range(NUM_SCALES)])
    return int((np.abs(symbols) > radius[indexes]).sum())

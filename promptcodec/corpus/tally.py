"""Sums over rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from promptcodec.corpus.rows import Row


@dataclass
class Tally:
    """Sums over the rows of a block, a shard or a corpus.

    Args:
        rows: number of rows, those that failed included.
        failed: number of rows with an error.
        source_bytes: bytes of the pictures or streams that came in, without failed ones.
        bytes: bytes of what was made of them.
        pixels: sum of width times height.
        psnr_sum: sum of PSNR over `measured` rows, dB.
        bpp_sum: sum of bits per pixel over `coded` rows.
        coded: number of rows with bits per pixel.
        measured: number of rows with a PSNR.
        kinds: rows by format, rate, or most probable class.
    """

    rows: int = 0
    failed: int = 0
    source_bytes: int = 0
    bytes: int = 0
    pixels: int = 0
    psnr_sum: float = 0.0
    bpp_sum: float = 0.0
    coded: int = 0
    measured: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A tally from the values of `as_dict`."""
        return cls(**{**values, "kinds": Counter(values["kinds"])})

    def add(self, row: Row) -> None:
        """Count a row."""
        self.rows += 1
        if row.get("error") is not None:
            self.failed += 1
            return
        self.source_bytes += row.get("source_bytes") or 0
        self.bytes += len(row.get("bytes") or b"")
        self.pixels += (row.get("width") or 0) * (row.get("height") or 0)
        if row.get("bpp") is not None:
            self.bpp_sum, self.coded = self.bpp_sum + row["bpp"], self.coded + 1
        if row.get("psnr") is not None:
            self.psnr_sum, self.measured = self.psnr_sum + row["psnr"], self.measured + 1
        kind = row.get("format") or row.get("predicted")
        if kind is None and row.get("rate_index") is not None:
            kind = f"rate {row['rate_index']:g}"
        if kind is not None:
            self.kinds[kind] += 1

    def __iadd__(self, other: Tally) -> Self:
        for name in ("rows", "failed", "source_bytes", "bytes", "pixels", "psnr_sum", "bpp_sum"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.coded, self.measured = self.coded + other.coded, self.measured + other.measured
        self.kinds.update(other.kinds)
        return self

    def means(self) -> dict[str, float | None]:
        """Mean bits per pixel and PSNR of the rows that have them; None if none has."""
        return {
            "bpp": self.bpp_sum / self.coded if self.coded else None,
            "psnr": self.psnr_sum / self.measured if self.measured else None,
        }

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self) | {"kinds": dict(sorted(self.kinds.items()))}

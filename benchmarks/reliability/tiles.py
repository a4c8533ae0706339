"""Costs and gains of tiles: seams, bytes read for a region, memory of a large picture."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import environment
from benchmarks.reliability.pictures import photographs
from promptcodec import bitstream
from promptcodec.api import Codec
from promptcodec.coding import tiling
from promptcodec.evaluation.metrics import psnr
from promptcodec.io.samples import bundled, photograph

TILE = 256  # px, of the small pictures that seams and regions are measured on
BAND = 8  # px on both sides of a seam
LOST = 1  # number of the tile that is lost, in the middle of the upper row
HALOS = (0, 128)  # px, beside the one that is used


@dataclass(frozen=True)
class Settings:
    """Settings of a run.

    Args:
        pictures: folder of photographs.
        base: checkpoint; None is the bundled one.
        count: pictures of the tree.
        side: of the large picture, px.
        folder: scratch space.
    """

    pictures: Path
    base: str | None
    count: int
    side: int
    folder: Path

    def command(self, *words: object) -> list[str]:
        """A call of the command line."""
        base = ["--base", self.base] if self.base else []
        return [sys.executable, "-m", "promptcodec", *map(str, words), *base]


def seams(settings: Settings) -> dict[str, Any]:
    """What tiles cost, and what they would with another halo."""
    found = _seams(settings)
    for halo in HALOS:
        found[f"band_loss_with_halo_{halo}"] = _seams(settings, halo=halo)["band_loss"]
    return found


def _seams(settings: Settings, *, halo: int | None = None) -> dict[str, Any]:
    """PSNR of whole pictures and of the bands along the seams, and bytes; None is the base's."""
    codec, rows = Codec.load(settings.base), []
    if halo is not None:
        object.__setattr__(codec.config.codec, "halo", halo)
    for number, content in zip(range(8), photographs(settings.pictures), strict=False):
        path = settings.folder / f"photo-{number}"
        path.write_bytes(content)
        rgb = photograph(path, width=768, height=512)
        whole, cut = (codec.encode(rgb, tile_size=size) for size in (0, TILE))
        shown = [np.asarray(codec.decode(data)) for data in (whole, cut)]
        mask = np.zeros(rgb.shape[:2], bool)
        for at in range(TILE, max(mask.shape), TILE):
            mask[max(at - BAND, 0) : at + BAND] = mask[:, max(at - BAND, 0) : at + BAND] = True
        bands = [psnr(rgb[mask][None], each[mask][None]) for each in shown]
        rows.append(
            {
                "psnr_loss": psnr(rgb, shown[0]) - psnr(rgb, shown[1]),
                "band_loss": bands[0] - bands[1],
                "extra_percent": 100 * (len(cut) / len(whole) - 1),
            }
        )
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {"tile": TILE, "pictures": len(rows), **means, "rows": rows}


def partial(settings: Settings) -> dict[str, Any]:
    """What the loss of a tile does to the whole ones around it, by distance."""
    codec, rows = Codec.load(settings.base), []
    for number, content in zip(range(8), photographs(settings.pictures), strict=False):
        path = settings.folder / f"photo-{number}"
        path.write_bytes(content)
        data = codec.encode(photograph(path, width=768, height=512), tile_size=TILE)
        lost = tiling.Tiling(768, 512, TILE, halo=0).tile(LOST)
        found = codec.decode_detailed(_without_tile(data, LOST), allow_partial=True)
        assert found.missing == (f"tile {LOST}",)
        pictures = (np.asarray(each).astype(int) for each in (found.picture, codec.decode(data)))
        levels = np.abs(np.subtract(*pictures)).max(axis=2)
        away = _distance(lost, levels.shape)
        bins = ((1, 4), (5, 64), (65, 10**9))  # px from the lost tile
        rows.append([int(levels[(away >= a) & (away <= b)].max()) for a, b in bins])
    near, halo, far = np.max(rows, axis=0).tolist()
    return {"tile": TILE, "pictures": len(rows), "near": near, "halo": halo, "far": far}


def _without_tile(data: bytes, number: int) -> bytes:
    """A stream with a damaged tile."""
    header = bitstream.parse_header(data)
    at = header.size + sum(tile.size for tile in header.tiles[:number])
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


def _distance(box: tiling.Box, shape: tuple[int, int]) -> np.ndarray:
    """Px from each pixel to a box, 0 inside it."""
    rows, columns = np.indices(shape)
    down = np.maximum(np.maximum(box.top - rows, rows - box.bottom + 1), 0)
    right = np.maximum(np.maximum(box.left - columns, columns - box.right + 1), 0)
    return np.maximum(down, right)


def region(settings: Settings) -> dict[str, Any]:
    """How much of a stream a region reads, and how far it is from the whole picture."""
    codec = Codec.load(settings.base)
    rgb = np.tile(photograph(bundled(), width=1024, height=1024), (4, 4, 1))
    path = settings.folder / "region.pc"
    path.write_bytes(codec.encode(rgb, tile_size=TILE))
    x, y, width, height = box = (700, 900, 100, 60)
    whole = np.asarray(codec.decode(path)).astype(int)[y : y + height, x : x + width]
    reads: list[int] = []
    part = _counting(path, reads, lambda: codec.decode(path, region=box))
    return {
        "picture": list(rgb.shape[1::-1]),
        "tile": TILE,
        "region": list(box),
        "bytes": path.stat().st_size,
        "read_bytes": sum(reads),
        "read_percent": 100 * sum(reads) / path.stat().st_size,
        "max_difference": int(np.abs(np.asarray(part).astype(int) - whole).max()),
    }


def large(settings: Settings) -> dict[str, Any]:
    """Most memory of the processes that encode and decode a large picture."""
    side = settings.side
    tile = photograph(bundled(), width=1024, height=1024)
    path, stream = settings.folder / "large.ppm", settings.folder / "large.pc"
    with path.open("wb") as file:
        file.write(f"P6 {side} {side} 255\n".encode())
        for top in range(side):
            row = np.tile(tile[top % len(tile)], (-(-side // tile.shape[1]), 1))[:side]
            file.write(row.tobytes())
    limit = ("--max-pixels", 1 << 40, "--threads", 1, "--force")
    report: dict[str, Any] = {"side": side, "pixels": side * side}
    for name, words in {
        "encode": ("encode", path, "-o", stream, *limit),
        "decode": ("decode", stream, "-o", settings.folder / "large.png", *limit),
        "region": ("decode", stream, "-o", settings.folder / "part.png", *limit,
                   "--region", f"{side // 2},{side // 2},{side // 4},{side // 4}"),
    }.items():  # fmt: skip
        report[f"{name}_peak_gb"] = _peak_gb(settings.command(*words))
    return report | {"stream_bytes": stream.stat().st_size}


def _counting(path: Path, reads: list[int], action: Callable[[], Any]) -> Any:
    """Note the bytes of every read of a stream during an action."""
    from promptcodec.bitstream import random_access

    read = random_access._read_at

    def counted(file: Any, at: int, size: int) -> bytes:
        content = read(file, at, size)
        reads.append(len(content))
        return content

    random_access._read_at = counted
    try:
        return action()
    finally:
        random_access._read_at = read


def _peak_gb(words: list[str]) -> float:
    """Largest resident set of a process, GB of 10^9 bytes."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stderr=said, env=environment())
        _, status, usage = os.wait4(process.pid, 0)
        said.seek(0)
        if status:
            raise SystemExit(f"{' '.join(words)} failed:\n{said.read().decode()}")
    return usage.ru_maxrss * 1024 / 1e9

"""Exact tiles: what they save, and that they cost photographs nothing.

    python -m benchmarks.graphics.run [--photographs DIR] [--screenshots DIR] [--count 30]
        [--mixed 10] [--rates 0,2,4,7] [--out docs/results/exact-tiles.json]

Screenshots, documents and mixed pages are drawn by `pictures`. Each is coded with and without exact
tiles, and once more with a lossless file of every tile, whatever it looks like: what the look at
flat neighbours misses. Photographs have to keep their bytes. Last, tiles of photographs are coded
between exact ones, which end their halos.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import truediv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import parse, parser, write_record
from benchmarks.graphics.pictures import graphics, mixed_pages
from promptcodec.api import Codec
from promptcodec.bitstream import parse_header, rate_to_fixed
from promptcodec.coding import graphics as choice
from promptcodec.coding.encoder import CodingPoint, prepare
from promptcodec.evaluation.metrics import psnr
from promptcodec.io.find import PICTURE_SUFFIXES, find_files
from promptcodec.io.load import load_picture

SEAM_TILE = 256  # px
REPEATS = 5  # of a timed encoding


def lossless_webp(rgb: np.ndarray) -> int:
    """Bytes of a lossless WebP with Pillow's defaults."""
    output = io.BytesIO()
    Image.fromarray(rgb).save(output, "WEBP", lossless=True)
    return len(output.getvalue())


def measure(codec: Codec, name: str, rgb: np.ndarray, rate: float) -> dict[str, Any]:
    """A picture at a rate: with exact tiles, without, and without the look."""
    row: dict[str, Any] = {"name": name, "pixels": rgb[:, :, 0].size, "rate_index": rate}
    ways = {"auto": "auto", "never": "never", "no_look": "auto"}
    for way, value in ways.items():
        limit = choice.MOST_CHANGES
        choice.MOST_CHANGES = 1.0 if way == "no_look" else limit
        try:
            start = time.perf_counter()
            data = codec.encode(rgb, rate_index=rate, graphics=value)  # type: ignore[arg-type]
            seconds = time.perf_counter() - start
        finally:
            choice.MOST_CHANGES = limit
        shown = np.asarray(codec.decode(data))
        error = float(np.square(shown.astype(float) - rgb).sum())
        header = parse_header(data)
        row[way] = {
            "bytes": len(data),
            "psnr": psnr(rgb, shown),
            "cost_bits": 8 * len(data) + codec.at(rate).lmbda * error / 3,
            "tiles": len(header.tiles),
            "exact_tiles": len(header.exact_tiles),
            "seconds": seconds,
        }
    return row


def drawn(codec: Codec, pictures: dict[str, np.ndarray], rates: Sequence[float]) -> list[Any]:
    """Every picture at every rate."""
    rows = []
    for name, rgb in pictures.items():
        webp = lossless_webp(rgb)
        for rate in rates:
            rows.append(measure(codec, name, rgb, rate) | {"webp_bytes": webp})
            line = rows[-1]["auto"]
            print(name, rate, line, webp, flush=True)
    return rows


def photographs(codec: Codec, paths: Sequence[Path], rates: Sequence[float]) -> dict[str, Any]:
    """Whether photographs keep their bytes, and the time of encoding by that of `never`."""
    same, ratios, looks, missed = 0, [], [], []
    for path in paths:
        rgb = load_picture(path).rgb
        prepared = prepare(
            codec.engine, load_picture(path), tile_size=None, effort=0, max_pixels=1 << 40
        )
        for rate in rates:
            row = measure(codec, path.name, rgb, rate)
            same += codec.encode(rgb, rate_index=rate) == codec.encode(
                rgb, rate_index=rate, graphics="never"
            )
            missed.append(row["auto"]["cost_bits"] / row["no_look"]["cost_bits"] - 1)
        seconds: dict[str, list[float]] = {"auto": [], "never": []}
        for _ in range(REPEATS):
            for way, values in seconds.items():  # processor time, as others may use the machine
                start = time.process_time()
                codec.encode(rgb, graphics=way)  # type: ignore[arg-type]
                values.append(time.process_time() - start)
            start = time.process_time()
            _ = choice.ExactSearch.of(prepared, tile_size=None, effort=0).flat
            looks.append(time.process_time() - start)
        ratios.append(float(np.median(seconds["auto"]) / np.median(seconds["never"])))
    return {
        "pictures": len(paths),
        "streams": len(paths) * len(rates),
        "same_bytes": same,
        "time_ratio": float(np.median(ratios)),
        "look_seconds": float(np.median(looks)),
        "most_missed": max(missed),
    }


def seams(codec: Codec, paths: Sequence[Path], rates: Sequence[float]) -> list[dict[str, Any]]:
    """Tiles of photographs whose neighbours are all exact beside the same tiles without."""
    rows = []
    for path in paths:
        picture = load_picture(path)
        prepared = prepare(codec.engine, picture, tile_size=SEAM_TILE, effort=0, max_pixels=1 << 40)
        tiling = prepared.tiling
        boxes = [tiling.tile(number) for number in range(len(tiling))]
        dark = [n for n in range(len(boxes)) if sum(divmod(n, tiling.grid[1])) % 2]
        others = sorted(set(range(len(boxes))) - set(dark))
        files = {n: choice.exact_file(prepared, boxes[n]) for n in others}
        for rate in rates:
            point = CodingPoint(codec.at(rate), rate_to_fixed(rate))
            sizes, errors = [], []
            for exact in ({}, files):
                candidate = replace(prepared, exact=exact).encode_at(point)
                header = parse_header(candidate.stream())
                sizes.append(sum(header.tiles[n].size for n in dark))
                found = candidate.errors(boxes)
                errors.append(sum(found[n] for n in dark))
            rows.append(
                {
                    "name": path.name,
                    "rate_index": rate,
                    "extra_percent": 100 * (sizes[1] / sizes[0] - 1),
                    "loss_db": float(10 * np.log10(errors[1] / errors[0])),
                }
            )
    return rows


def summary_of(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Means and extremes of each rate."""
    for rate in sorted({row["rate_index"] for row in rows}):
        own = [row for row in rows if row["rate_index"] == rate]
        smaller = [row for row in own if row["webp_bytes"] < row["never"]["bytes"]]
        bits, never, free = (
            [row[way]["cost_bits"] for row in own] for way in ("auto", "never", "no_look")
        )
        pixels = [row["pixels"] for row in own]
        yield {
            "rate_index": rate,
            "pictures": len(own),
            "wholly_exact": sum(r["auto"]["exact_tiles"] == r["auto"]["tiles"] for r in own),
            "mixed": sum(0 < r["auto"]["exact_tiles"] < r["auto"]["tiles"] for r in own),
            "bpp": _mean(8 * r["auto"]["bytes"] / r["pixels"] for r in own),
            "bpp_never": _mean(8 * r["never"]["bytes"] / r["pixels"] for r in own),
            "bpp_webp": _mean(8 * r["webp_bytes"] / r["pixels"] for r in own),
            "psnr_never": _mean(r["never"]["psnr"] for r in own),
            "cost": _mean(map(truediv, bits, pixels)),
            "cost_never": _mean(map(truediv, never, pixels)),
            "most_cost_by_never": max(map(truediv, bits, never)),
            "most_missed": max(map(truediv, bits, free)) - 1,
            "webp_smaller": len(smaller),
            "most_bytes_by_webp": max(
                (row["auto"]["bytes"] / row["webp_bytes"] for row in smaller), default=None
            ),
            "time_ratio": _mean(r["auto"]["seconds"] / r["never"]["seconds"] for r in own),
        }


def _mean(values: Iterator[float]) -> float:
    return float(np.mean(list(values)))


def main() -> None:
    """Draw, code and compare."""
    options = parser(__doc__, out="exact-tiles")
    options.add_argument("--photographs", type=Path, help="folder; default: the one of the package")
    options.add_argument("--screenshots", type=Path, help="folder of more pictures of graphics")
    options.add_argument("--count", type=int, default=30, help="screenshots and documents to draw")
    options.add_argument("--mixed", type=int, default=10, help="mixed pages to draw")
    options.add_argument("--rates", default="0,2,4,7", help="rate indexes, with commas between")
    arguments = parse(options)
    codec = Codec.load(threads=arguments.threads)
    rates = [float(rate) for rate in arguments.rates.split(",")]
    folder = arguments.photographs
    paths = [] if folder is None else sorted(find_files(folder, PICTURE_SUFFIXES))
    pages = {name: np.asarray(image) for name, image in graphics(arguments.count).items()}
    if arguments.screenshots is not None:
        found = sorted(find_files(arguments.screenshots, PICTURE_SUFFIXES))
        pages |= {path.name: load_picture(path).rgb for path in found}
    mixed = {n: np.asarray(image) for n, image in mixed_pages(arguments.mixed, paths).items()}
    rows = {"graphics": drawn(codec, pages, rates), "mixed": drawn(codec, mixed, rates)}
    report = {
        "base_sha256": codec.base_hash.hex(),
        **{name: list(summary_of(own)) for name, own in rows.items()},
        "photographs": photographs(codec, paths, rates) if paths else None,
        "seam_tile": SEAM_TILE,
        "seams": seams(codec, paths[:8], rates),
        "rows": rows,
    }
    write_record(arguments.out, report)


if __name__ == "__main__":
    main()

"""Both engines on the same pictures: what each writes, the other reads.

    python -m benchmarks.runtime.equality KODAK [--base DIR] [--out docs/results/engines.json]

Every picture at every rate, then sizes, tiles, alpha, grey, gains, places between rates, threads
and batches on one of them. Each engine writes a stream, and both read both: z, table indexes and
symbols must be the same, pixels may differ by one level.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import parse, parser, write_record
from promptcodec.api import Codec
from promptcodec.coding.codec import PictureCodec
from promptcodec.coding.settings import EncodeOptions

SIZES = ((1, 1), (17, 400), (400, 17), (65, 63), (64, 64), (333, 257))  # width, height
Case = tuple[str, Image.Image, EncodeOptions]


def cases(folder: Path, rates: list[float]) -> Iterator[Case]:
    """Name, picture and options of each comparison."""
    paths = sorted(folder.glob("*.png"))
    for path in paths:
        with Image.open(path) as picture:
            whole = picture.convert("RGB")
        for rate in rates:
            yield f"{path.stem} rate {rate:g}", whole, {"rate_index": rate}
    with Image.open(paths[4]) as picture:
        whole = picture.convert("RGB")
    for width, height in SIZES:
        yield f"{width}x{height}", whole.crop((0, 0, width, height)), {}
    part = whole.crop((100, 80, 420, 300))
    half = part.copy()
    half.putalpha(Image.linear_gradient("L").resize(part.size))
    yield "alpha", half, {}
    yield "grey", part.convert("L"), {}
    yield "tiles", part, {"tile_size": 64}
    yield "tiles, alpha, grey", half.convert("LA"), {"tile_size": 128, "rate_index": rates[-1]}
    for low, high in pairwise(rates):
        yield f"between {low:g} and {high:g}", part, {"rate_index": low + 0.3 * (high - low)}
    for gain in (-7.25, 3.5, 12.0):
        yield f"gain {gain:g}", part, {"gain_steps": gain}


def compare(torch: PictureCodec, onnx: PictureCodec, case: Case) -> dict[str, Any]:
    """One case: bytes, whether integers agree, counts of pixels that differ."""
    name, picture, options = case
    streams = {"torch": torch.encode(picture, **options), "onnx": onnx.encode(picture, **options)}
    row: dict[str, Any] = {"case": name, "same_bytes": streams["torch"] == streams["onnx"]}
    row["bytes"] = {writer: len(data) for writer, data in streams.items()}
    same, differing, largest, pixels = True, 0, 0, 0
    for data in streams.values():
        theirs, ours = torch.decode_latents(data), onnx.decode_latents(data)
        for part in ("z_hat", "indexes", "symbols"):
            same &= np.array_equal(getattr(theirs, part), getattr(ours, part))
        a, b = (np.asarray(codec.decode(data)).astype(np.int16) for codec in (torch, onnx))
        difference = np.abs(a - b)
        differing += int((difference > 0).sum())
        largest = max(largest, int(difference.max()))
        pixels += difference.size
    return row | {
        "same_integers": same,
        "largest_difference": largest,
        "differing_levels": differing,
        "levels": pixels,
    }


def settings(base: str | None, folder: Path, codec: PictureCodec) -> list[dict[str, Any]]:
    """Threads and batches of ONNX Runtime: integers and pixels against one thread, one by one."""
    pictures = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))[:4]]
    streams = [codec.encode(picture) for picture in pictures]
    expected = [np.asarray(codec.decode(data)).astype(np.int16) for data in streams]
    two = Codec.load(base, engine="onnx", threads=2)
    rows = []
    for name, found in (
        ("two threads", [two.decode(data) for data in streams]),
        ("a batch", codec.decode_batch(streams)),
        ("a batch, two threads", two.decode_batch(streams)),
    ):
        pairs = zip(expected, found, strict=True)
        largest = max(int(np.abs(a - np.asarray(b)).max()) for a, b in pairs)
        rows.append({"case": name, "pictures": len(streams), "largest_difference": largest})
    return rows


def main() -> None:
    """Compare and write one JSON file."""
    options = parser(__doc__, out="engines")
    options.add_argument("folder", type=Path, help="folder of Kodak's pictures")
    options.add_argument("--base", help="checkpoint; default: the bundled one")
    arguments = parse(options)
    torch = Codec.load(arguments.base, engine="torch", threads=arguments.threads)
    onnx = Codec.load(arguments.base, engine="onnx", threads=arguments.threads)
    rates = [rate.index for rate in torch.rates]
    rows = []
    for case in cases(arguments.folder, rates):
        rows.append(compare(torch, onnx, case))
        print(rows[-1], flush=True)
    summary = {
        "cases": len(rows),
        "same_bytes": sum(row["same_bytes"] for row in rows),
        "same_integers": sum(row["same_integers"] for row in rows),
        "largest_difference": max(row["largest_difference"] for row in rows),
        "share_of_levels_that_differ": sum(row["differing_levels"] for row in rows)
        / sum(row["levels"] for row in rows),
    }
    report = {
        "base_sha256": onnx.base_hash.hex(),
        "summary": summary,
        "settings": settings(arguments.base, arguments.folder, onnx),
        "rows": rows,
    }
    write_record(arguments.out, report)
    print(summary)


if __name__ == "__main__":
    main()

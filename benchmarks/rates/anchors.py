"""Our JPEG and WebP beside the published points on Kodak, at our options and at theirs.

    python -m benchmarks.rates.anchors KODAK [--out docs/results/anchors.json]

CompressAI's published points leave Huffman tables as they are (JPEG) and take the default effort
(WebP, method 4). With these options the two should agree at equal bpp; ours make smaller files.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import parse, parser, write_json
from promptcodec.errors import UsageError
from promptcodec.evaluation.anchors import kodak_anchors
from promptcodec.evaluation.bdrate import bd_rate
from promptcodec.evaluation.codecs.pillow import Jpeg, WebP
from promptcodec.evaluation.codecs.registry import BaselineCodec
from promptcodec.evaluation.codecs.sweep import summarise, sweep
from promptcodec.evaluation.comparison import is_kodak
from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.io.load import load_picture
from promptcodec.io.provenance import provenance

CASES: tuple[tuple[str, str, BaselineCodec], ...] = (
    ("JPEG", "ours: optimised", Jpeg()),
    ("JPEG", "published: not optimised", Jpeg(optimize=False)),
    ("WebP", "ours: method 6", WebP()),
    ("WebP", "published: method 4", WebP(method=4)),
)


def agreement(codec: BaselineCodec, anchor: str, paths: list[Path]) -> dict[str, Any]:
    """PSNR of a codec above the published curve, dB at equal bpp, and its BD-rate."""
    points = [
        point
        for path in paths
        for point in sweep(codec, load_picture(path).rgb, picture=path.name, grey=False)
    ]
    result = summarise(anchor, codec, points)
    curve = kodak_anchors()[anchor]
    above = []
    for average in result.averages:
        try:
            above.append(average.psnr - curve.psnr_at(average.bpp))
        except UsageError:
            continue  # outside the published rates
    return {
        "options": result.options,
        "bd_rate_percent": bd_rate(result.curve(), curve),
        "median_db_above": float(np.median(above)),
        "largest_db_apart": float(np.abs(above).max()),
    }


def main() -> None:
    """Measure each case and write one JSON file."""
    options = parser(__doc__, out="anchors", threads=False)
    options.add_argument("kodak", type=Path)
    arguments = parse(options)
    paths = find_pictures(arguments.kodak)
    if not is_kodak(path.name for path in paths):
        raise SystemExit(f"{arguments.kodak} does not hold the 24 Kodak pictures and only them")
    cases = []
    for anchor, name, codec in CASES:
        found = agreement(codec, anchor, paths)
        cases.append({"anchor": anchor, "case": name, **found})
        print(
            f"{anchor}, {name}: {found['median_db_above']:+.3f} dB, at most "
            f"{found['largest_db_apart']:.3f} dB apart, BD-rate {found['bd_rate_percent']:+.2f} %",
            flush=True,
        )
    write_json(arguments.out, {**provenance(), "cases": cases})


if __name__ == "__main__":
    main()

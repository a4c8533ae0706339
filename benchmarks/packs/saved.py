"""Packs on pictures of other sources: rate saved against the ladder, and against other codecs.

    python -m benchmarks.packs.saved SET [--packs checkpoints/packs] [--photographs DIR]
        [--rates 1,2,4,6] [--most 24] [--out docs/results/packs.json]

SET/NAME/held has pictures that no training has seen, as `benchmarks.packs.pictures` makes them. All
streams are without exact tiles. The other codecs code the same parts of the pictures; lossless PNG
and WebP are bits per pixel alone.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import parse, parser, write_record
from promptcodec.api import Codec
from promptcodec.evaluation.codecs.registry import CLASSIC
from promptcodec.evaluation.codecs.sweep import sweep
from promptcodec.evaluation.metrics import bpp
from promptcodec.io.find import PICTURE_SUFFIXES, find_files
from promptcodec.io.load import load_picture
from promptcodec.io.packs import StoredPack, find_packs
from promptcodec.packs.savings import Pixels, Point, measure, middle, saving_of, savings

PEERS = ("webp", "avif-psnr", "avif-444-psnr")
LOSSLESS = {
    "png": {"format": "PNG", "optimize": True},
    "webp": {"format": "WEBP", "lossless": True},
}


def main() -> None:
    """Measure every pack that has a folder of pictures."""
    options = parser(__doc__, out="packs")
    options.add_argument("set", type=Path)
    options.add_argument("--packs", type=Path, default=Path("checkpoints/packs"))
    options.add_argument("--photographs", type=Path)
    options.add_argument("--rates", default="1,2,4,6")
    options.add_argument("--most", type=int, default=24, help="pictures of each pack")
    options.add_argument("--base", help="base; default: the bundled one")
    arguments: argparse.Namespace = parse(options)
    plain = Codec.load(arguments.base, packs=[])
    rates = [int(rate) for rate in arguments.rates.split(",")]
    photographs = pictures_in(arguments.photographs) if arguments.photographs else []
    rows = []
    for pack in find_packs(arguments.packs):
        held = pictures_in(arguments.set / pack.name / "held")[: arguments.most]
        rows.append(row_of(plain, pack, held, photographs, rates, base=arguments.base))
        print(rows[-1], flush=True)
    write_record(
        arguments.out,
        {"base_sha256": plain.base_hash.hex(), "rates": rates, "packs": rows},
    )


def pictures_in(folder: Path) -> list[Pixels]:
    """Pictures of a folder, uint8 (H, W, 3)."""
    return [load_picture(path).rgb for path in sorted(find_files(folder, PICTURE_SUFFIXES))]


def row_of(
    plain: Codec,
    pack: StoredPack,
    held: Sequence[Pixels],
    photographs: Sequence[Pixels],
    rates: Sequence[int],
    *,
    base: str | None,
) -> dict[str, Any]:
    """Figures of one pack."""
    adapted, facts = Codec.load(base, pack.folder, packs=[]), pack.facts()
    parts = [middle(picture) for picture in held]
    points = {
        rate: [measure(adapted, part, rate_index=rate, metric="psnr") for part in parts]
        for rate in rates
    }
    return {
        "name": pack.name,
        "adapters": sorted(point.hex() for rate in rates for point in adapted.at(rate).hashes),
        "bytes": sum(path.stat().st_size for path in pack.folder.rglob("*") if path.is_file()),
        "trained_on": facts["pictures"],
        "minutes": facts["minutes"],
        "held_out": [asdict(s) for s in savings(plain, adapted, held, rates=rates)],
        "photographs": [asdict(s) for s in savings(plain, adapted, photographs, rates=rates)]
        if photographs
        else [],
        "against": {name: against(name, parts, points) for name in PEERS},
        "lossless_bpp": {name: lossless(parts, **own) for name, own in LOSSLESS.items()},
    }


def against(
    peer: str, parts: Sequence[Pixels], points: dict[int, list[Point]]
) -> dict[int, dict[str, Any] | None]:
    """Rate saved at equal PSNR against another codec, by rate, as `Estimate` has it.

    None where a picture's PSNR is outside the other codec's: nothing is extrapolated here.
    """
    curves = [
        sorted(
            (
                Point(found.bpp, found.psnr)
                for found in sweep(CLASSIC[peer], part, picture="", grey=False)
            ),
            key=lambda point: point.bpp,
        )
        for part in parts
    ]
    return {
        rate: asdict(saving_of(own, curves)) if inside(own, curves) else None
        for rate, own in points.items()
    }


def inside(points: Sequence[Point], curves: Sequence[Sequence[Point]]) -> bool:
    """Whether each point has a PSNR that the curve of its picture reaches."""
    return all(
        min(each.psnr for each in curve) <= point.psnr <= max(each.psnr for each in curve)
        for point, curve in zip(points, curves, strict=True)
    )


def lossless(parts: Sequence[Pixels], **options: Any) -> float:
    """Mean bits per pixel of lossless files."""
    rates = []
    for part in parts:
        file = io.BytesIO()
        Image.fromarray(part).save(file, **options)
        rates.append(bpp(len(file.getvalue()), width=part.shape[1], height=part.shape[0]))
    return float(np.mean(rates))


if __name__ == "__main__":
    main()

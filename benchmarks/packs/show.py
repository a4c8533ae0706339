"""Packs beside the ladder at the same number of bytes, as one picture.

    python -m benchmarks.packs.show SET --out docs/packs.png [--packs checkpoints/packs] [--rate 2]

One row for each pack: of its held-out pictures in SET/NAME/held the one of middling saving, and of
that the window where the errors differ the most.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common import parse, parser
from benchmarks.packs.saved import pictures_in
from promptcodec.api import Codec
from promptcodec.evaluation.reports.compare import side_by_side
from promptcodec.packs.savings import Pixels, middle, savings

WIDTH, HEIGHT = 256, 192  # px, of a window
STEP = 32  # px between two windows


def main() -> None:
    """Draw every pack."""
    options = parser(__doc__)
    options.add_argument("set", type=Path)
    options.add_argument("--packs", type=Path, default=Path("checkpoints/packs"))
    options.add_argument("--rate", type=int, default=2)
    options.add_argument("--most", type=int, default=24, help="pictures of each pack")
    options.add_argument("--base", help="base; default: the bundled one")
    arguments: argparse.Namespace = parse(options)
    codec = Codec.load(arguments.base, packs=arguments.packs)
    rows = []
    for name in codec.packs:
        held = pictures_in(arguments.set / name / "held")
        held = [p for p in held if len(p) >= HEIGHT and p.shape[1] >= WIDTH][: arguments.most]
        adapted = Codec.load(arguments.base, arguments.packs / name, packs=[])
        saved = [
            savings(codec, adapted, [picture], rates=[arguments.rate])[0].percent.value
            for picture in held
        ]
        chosen = int(np.argsort(np.array(saved))[len(saved) // 2])
        rows.append(row_of(codec, name, middle(held[chosen]), arguments.rate))
        print(f"{name}: picture {chosen}, {saved[chosen]:+.1f} %", flush=True)
    Image.fromarray(np.concatenate(rows)).save(arguments.out, optimize=True)


def row_of(codec: Codec, pack: str, picture: Pixels, rate: int) -> NDArray[np.uint8]:
    """Original, ladder and pack at the same number of bytes."""
    data = codec.encode(picture, rate_index=rate, pack=pack, graphics="never", strip=True)
    plain = codec.encode(picture, target_bytes=len(data), graphics="never", strip=True)
    views = {
        "original": picture,
        f"ladder, {len(plain):,} bytes": np.asarray(codec.decode(plain).convert("RGB")),
        f"pack {pack}, {len(data):,} bytes": np.asarray(codec.decode(data).convert("RGB")),
    }
    _, ladder, own = views.values()
    rows, columns = window_of(picture, ladder, own)
    labelled = [(text, Image.fromarray(rgb[rows, columns])) for text, rgb in views.items()]
    return np.asarray(side_by_side(labelled))


def window_of(picture: Pixels, ladder: Pixels, own: Pixels) -> tuple[slice, slice]:
    """Rows and columns of the window where both errors differ the most."""
    errors = [np.square(shown.astype(float) - picture).sum(axis=2) for shown in (ladder, own)]
    more = np.abs(errors[0] - errors[1])
    places = [
        (more[top : top + HEIGHT, left : left + WIDTH].sum(), top, left)
        for top in range(0, max(1, picture.shape[0] - HEIGHT + 1), STEP)
        for left in range(0, max(1, picture.shape[1] - WIDTH + 1), STEP)
    ]
    _, top, left = max(places)
    return slice(top, top + HEIGHT), slice(left, left + WIDTH)


if __name__ == "__main__":
    main()

"""Graphics: how far flat saturated colours are off at each rate, and what a logo gets.

    python -m benchmarks.rates.graphics [--base DIR] [--prompts DIR]
        [--out docs/results/graphics.json]

A codec that was trained on photographs has hardly seen either. Pictures are made here, and no tile
is exact.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.common import parse, parser, write_record
from promptcodec.api import Codec
from promptcodec.evaluation.metrics import bpp, psnr

SIDE = 128  # px, of a flat picture
LOGO = 256  # px
PURE = [colour for colour in product((0, 255), repeat=3) if len(set(colour)) > 1]


def flat(colour: tuple[int, ...]) -> np.ndarray:
    """A picture of one colour, uint8 (H, W, 3)."""
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


def logo() -> np.ndarray:
    """Flat saturated shapes with sharp edges, uint8 (H, W, 3)."""
    image = Image.new("RGB", (LOGO, LOGO), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    draw.rectangle((16, 16, 119, 239), fill=(230, 0, 40))
    draw.ellipse((96, 64, 223, 191), fill=(0, 70, 200))
    draw.polygon([(140, 20), (240, 20), (190, 110)], fill=(255, 210, 0))
    for n in range(8):
        draw.rectangle((130 + 12 * n, 200, 135 + 12 * n, 239), fill=(0, 150, 60))
    return np.asarray(image)


def measure(codec: Codec, rate_index: float) -> dict[str, Any]:
    """Levels off in flat pictures, and bpp and PSNR of the logo, at one rate."""

    def shown(rgb: np.ndarray) -> tuple[np.ndarray, int]:
        data = codec.encode(rgb, rate_index=rate_index, graphics="never")
        return np.asarray(codec.decode(data)), len(data)

    off = {}
    for colour in PURE:
        wrong = np.abs(shown(flat(colour))[0].astype(int) - colour)
        off["{}-{}-{}".format(*colour)] = int(wrong.max())
    rgb = logo()
    decoded, size = shown(rgb)
    return {
        "rate_index": rate_index,
        "levels_off": off,
        "most_levels_off": max(off.values()),
        "logo_bpp": bpp(size, width=LOGO, height=LOGO),
        "logo_psnr": psnr(rgb, decoded),
    }


def main() -> None:
    """Measure every rate of the codec."""
    options = parser(__doc__, out="graphics")
    options.add_argument("--base")
    options.add_argument("--prompts")
    arguments = parse(options)
    codec = Codec.load(arguments.base, arguments.prompts)
    rates = [measure(codec, rate.index) for rate in codec.rates]
    write_record(arguments.out, {"base_sha256": codec.base_hash.hex(), "rates": rates})


if __name__ == "__main__":
    main()

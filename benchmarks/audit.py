"""Printed figures, computed a second time from pictures and files, without promptcodec.evaluation.

    python -m benchmarks.audit --pictures KODAK [--readme README.md] [--out docs/results/audit.json]

From the table of README.md: bits per pixel, PSNR, PSNR above classic codecs, BD-rates. Streams are
those of `Codec`, classic files those of Pillow with the settings of docs/evaluation.md; PSNR,
interpolation and BD-rate are written anew here. A figure agrees if it differs by no more than one
unit of its last digit. Ends with 1 if one does not agree.
"""

import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.interpolate import PchipInterpolator

from benchmarks.common import ROOT, parse, parser, write_record
from promptcodec import Codec

Curve = tuple[np.ndarray, np.ndarray]  # bits per pixel and PSNR in dB, both rising
FIGURE = re.compile(r"([-+]?\d+\.(\d+))(?: %)?$")
JPEG = (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)
AVIF = (5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95)
FAST = {"speed": 6, "max_threads": 1}
SWEEPS: dict[str, tuple[str, Sequence[int], dict[str, Any]]] = {
    "JPEG": ("JPEG", JPEG, {"optimize": True, "subsampling": "4:2:0"}),
    "JPEG 4:4:4": ("JPEG", JPEG, {"optimize": True, "subsampling": "4:4:4"}),
    "WebP": ("WEBP", (1, *AVIF[:8], 75, *AVIF[8:]), {"method": 6}),
    "AVIF": ("AVIF", AVIF, FAST | {"subsampling": "4:2:0"}),
    "AVIF 4:4:4 for PSNR": (
        "AVIF",
        AVIF,
        FAST | {"subsampling": "4:4:4", "advanced": {"tune": "psnr"}},
    ),
}
SAMPLES = 20_000  # of an integral


def main() -> None:
    """Compute every figure of the table that these means reach, and compare."""
    options = parser(__doc__, out="audit", threads=False)
    options.add_argument("--pictures", type=Path, required=True, help="the 24 pictures of Kodak")
    options.add_argument("--readme", type=Path, default=ROOT / "README.md")
    arguments = parse(options)
    printed = read_figures(arguments.readme.read_text("utf-8"))
    pictures = [
        Image.open(path).convert("RGB") for path in sorted(arguments.pictures.glob("*.png"))
    ]
    computed = compute(pictures, {name.partition("against ")[2] for name in printed})
    figures = [
        {"figure": name, "printed": value, "computed": computed[name], "agrees": agrees}
        for name, (value, digits) in printed.items()
        if name in computed
        for agrees in [abs(value - computed[name]) <= 1.001 * 10.0**-digits]
    ]
    write_record(arguments.out, {"pictures": len(pictures), "figures": figures})
    wrong = [each for each in figures if not each["agrees"]]
    print(f"{len(figures) - len(wrong)} of {len(figures)} figures agree")
    for each in wrong:
        print(f"{each['figure']}: printed {each['printed']}, computed {each['computed']:.4f}")
    sys.exit(bool(wrong))


def read_figures(text: str) -> dict[str, tuple[float, int]]:
    """Figures of the table of results, each with its decimal digits, by what they are."""
    part = text[text.index("<!-- results:begin -->") : text.index("<!-- results:end -->")]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    found = {}
    for row in rows[2:]:
        for column, cell in zip(rows[0][1:], row[1:], strict=True):
            if figure := FIGURE.match(cell):
                name = column.removesuffix(" (dB)").replace("above", "dB against")
                found[f"{row[0]}: {name}"] = float(figure[1]), len(figure[2])
    for value, digits, rival in re.findall(
        r"([-+]\d+\.(\d+)) %(?: \([^)]*\))? against ([^,.\n]+)", part.replace(". In", ".\nIn")
    ):
        found[f"BD-rate against {rival}"] = float(value), len(digits)
    return found


def compute(pictures: list[Image.Image], rivals: set[str]) -> dict[str, float]:
    """The same figures from files.

    Args:
        pictures: the pictures, RGB.
        rivals: titles of classic codecs; others than `SWEEPS` are passed over.
    """
    codec = Codec.load()
    rates = [rate.index for rate in codec.rates]

    def encode(picture: Image.Image, rate: float) -> bytes:
        return codec.encode(picture, rate_index=rate, graphics="never")

    ours = curve(pictures, rates, encode, codec.decode)
    found = {}
    for index, bpp, decibels in zip(rates, *ours, strict=True):
        found |= {f"rate {index}: bpp": float(bpp), f"rate {index}: PSNR": float(decibels)}
    for title in sorted(rivals & set(SWEEPS)):
        kind, qualities, settings = SWEEPS[title]
        theirs = curve(pictures, qualities, saver(kind, settings), opened)
        for index, bpp, decibels in zip(rates, *ours, strict=True):
            if theirs[0][0] <= bpp <= theirs[0][-1]:
                at = PchipInterpolator(np.log(theirs[0]), theirs[1])(np.log(bpp))
                found[f"rate {index}: dB against {title}"] = float(decibels - at)
        found[f"BD-rate against {title}"] = bd_rate(ours, theirs)
    return found


def curve(
    pictures: list[Image.Image],
    settings: Sequence[Any],
    code: Callable[[Image.Image, Any], bytes],
    show: Callable[[bytes], Image.Image],
) -> Curve:
    """Mean bits per pixel and mean PSNR at each setting."""
    points = []
    for setting in settings:
        both = []
        for picture in pictures:
            data = code(picture, setting)
            before, after = (np.asarray(x, np.float64) for x in (picture, show(data)))
            error = np.mean((before - after) ** 2)
            both.append((8 * len(data) / (picture.width * picture.height), -10 * np.log10(error)))
        points.append(np.mean(both, axis=0))
    bpp, decibels = np.transpose(points)
    return bpp, decibels + 20 * np.log10(255)


def bd_rate(ours: Curve, theirs: Curve) -> float:
    """Mean difference in rate at equal PSNR over the common range, in per cent."""
    low, high = (f(ours[1][k], theirs[1][k]) for f, k in ((max, 0), (min, -1)))
    at = np.linspace(low, high, SAMPLES)
    logs = [PchipInterpolator(decibels, np.log(bpp))(at) for bpp, decibels in (ours, theirs)]
    return float(100 * (np.exp(np.trapezoid(logs[0] - logs[1], at) / (high - low)) - 1))


def saver(kind: str, settings: dict[str, Any]) -> Callable[[Image.Image, int], bytes]:
    """A function that saves a picture with a quality."""

    def save(picture: Image.Image, quality: int) -> bytes:
        file = io.BytesIO()
        picture.save(file, kind, quality=quality, **settings)
        return file.getvalue()

    return save


def opened(data: bytes) -> Image.Image:
    """The picture of a file."""
    return Image.open(io.BytesIO(data)).convert("RGB")


if __name__ == "__main__":
    main()

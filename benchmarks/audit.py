"""Printed figures, computed a second time from pictures and files, without promptcodec.evaluation.

    python -m benchmarks.audit --pictures KODAK [--document README.md]
        [--out docs/results/audit.json]

From the two tables of README.md: bits per pixel, PSNR and MS-SSIM of each rate, and BD-rates by
both, with the rates at their ends, against classic codecs of Pillow and published curves. Streams
are those of `Codec`, classic files those of Pillow with the settings of docs/evaluation.md; PSNR,
MS-SSIM, interpolation and BD-rate are written anew here. A figure agrees if it differs by no more
than one unit of its last digit. Ends with 1 if one does not agree, or if fewer than `LEAST` are
reached: a table of another form must not pass because nothing is found in it.
"""

import io
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import correlate1d

from benchmarks.common import ROOT, parse, parser, write_record
from promptcodec import Codec

COLUMNS = ("bpp", "PSNR", "MS-SSIM")
LEAST = 30
FIGURE = re.compile(r"([-+]?\d+\.(\d+))(?: %)?(?= |$)")
RANGE = re.compile(r"(\d+\.(\d+)) to (\d+\.\d+)$")
PUBLISHED = " (published)"
JPEG = (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)
AVIF = (5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95)
HUFFMAN = {"optimize": True, "subsampling": "4:2:0"}
FAST = {"speed": 6, "max_threads": 1}
FULL = {"subsampling": "4:4:4"}
FOR_PSNR = {"advanced": {"tune": "psnr"}}
SWEEPS: dict[str, tuple[str, Sequence[int], dict[str, Any]]] = {
    "JPEG": ("JPEG", JPEG, HUFFMAN),
    "JPEG 4:4:4": ("JPEG", JPEG, HUFFMAN | FULL),
    "JPEG progressive": ("JPEG", JPEG, HUFFMAN | {"progressive": True}),
    "WebP": ("WEBP", (1, *AVIF[:8], 75, *AVIF[8:]), {"method": 6}),
    "AVIF": ("AVIF", AVIF, FAST | {"subsampling": "4:2:0"}),
    "AVIF 4:4:4 for PSNR": ("AVIF", AVIF, FAST | FULL | FOR_PSNR),
}
SAMPLES = 20_000  # of an integral
# Weights of the scales of MS-SSIM: Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def main() -> None:
    """Compute every figure of the tables that these means reach, and compare."""
    options = parser(__doc__, out="audit", threads=False)
    options.add_argument("--pictures", type=Path, required=True, help="the 24 pictures of Kodak")
    options.add_argument("--document", type=Path, default=ROOT / "README.md")
    arguments = parse(options)
    printed = read_figures(arguments.document.read_text("utf-8"))
    pictures = [
        Image.open(path).convert("RGB") for path in sorted(arguments.pictures.glob("*.png"))
    ]
    rivals = {name.partition("against ")[2].rpartition(":")[0] for name in printed}
    computed = compute(pictures, rivals)
    figures = compare(printed, computed)
    report = {
        "base_sha256": Codec.load().base_hash.hex(),
        "pictures": len(pictures),
        "figures": figures,
        "not_reached": sorted(set(printed) - set(computed)),
    }
    write_record(arguments.out, report)
    print(verdict(figures))
    sys.exit(not passes(figures))


def compare(
    printed: dict[str, tuple[float, int]], computed: dict[str, float]
) -> list[dict[str, Any]]:
    """Every printed figure that was computed, and whether the two agree."""
    return [
        {
            "figure": name,
            "printed": value,
            "computed": computed[name],
            "agrees": bool(abs(value - computed[name]) <= 1.001 * 10.0**-digits),
        }
        for name, (value, digits) in printed.items()
        if name in computed
    ]


def passes(figures: list[dict[str, Any]]) -> bool:
    """Whether enough figures were computed and all of them agree."""
    return len(figures) >= LEAST and all(each["agrees"] for each in figures)


def verdict(figures: list[dict[str, Any]]) -> str:
    """The outcome as text, with a line for each figure that does not agree."""
    wrong = [each for each in figures if not each["agrees"]]
    lines = [f"{len(figures) - len(wrong)} of {len(figures)} figures agree"]
    if len(figures) < LEAST:
        lines.append(f"fewer than {LEAST}: the tables have another form, or lack rivals")
    for each in wrong:
        pair = f"printed {each['printed']}, computed {each['computed']:.4f}"
        lines.append(f"{each['figure']}: {pair}")
    return "\n".join(lines)


def read_figures(text: str) -> dict[str, tuple[float, int]]:
    """Figures of the tables of results, each with its decimal digits, by what they are."""
    part = text[text.index("<!-- results:begin -->") : text.index("<!-- results:end -->")]
    found: dict[str, tuple[float, int]] = {}
    for table in re.findall(r"(?:^\|.*\n)+", part, re.MULTILINE):
        head, _, *rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
        prefix = "BD-rate against " if "BD-rate" in head[0] else ""
        for row in rows:
            for column, cell in zip(head[1:], row[1:], strict=True):
                name = f"{prefix}{row[0]}: {column.removesuffix(' (dB)')}"
                if ends := RANGE.match(cell):
                    found[f"{name}, lowest"] = float(ends[1]), len(ends[2])
                    found[f"{name}, highest"] = float(ends[3]), len(ends[2])
                elif figure := FIGURE.match(cell):
                    found[name] = float(figure[1]), len(figure[2])
    return found


def compute(pictures: list[Image.Image], rivals: set[str]) -> dict[str, float]:
    """The same figures from files, by the names of `read_figures`.

    Args:
        pictures: the pictures, RGB.
        rivals: titles of rivals; others than `SWEEPS` and published ones are passed over.
    """
    codec = Codec.load()
    rates = [rate.index for rate in codec.rates]

    def encode(picture: Image.Image, rate: float) -> bytes:
        return codec.encode(picture, rate_index=rate, graphics="never")

    ours = curve(pictures, rates, encode, codec.decode)
    found = {
        f"rate {index:g}: {name}": float(value)
        for index, values in zip(rates, ours.T, strict=True)
        for name, value in zip(COLUMNS, values, strict=True)
    }
    for title in sorted(rivals):
        if title in SWEEPS:
            kind, qualities, settings = SWEEPS[title]
            theirs = curve(pictures, qualities, saver(kind, settings), opened)
        elif title.endswith(PUBLISHED):
            theirs = published(title.removesuffix(PUBLISHED))
        else:
            continue
        for row, name in enumerate(COLUMNS[1 : len(theirs)], 1):
            pair = [np.stack([each[0], in_db(each[row], name)]) for each in (ours, theirs)]
            if (result := bd_rate(*pair)) is not None:
                found[f"BD-rate against {title}: by {name}"] = result[0]
                if name == "PSNR":
                    found[f"BD-rate against {title}: our bpp, lowest"] = result[1]
                    found[f"BD-rate against {title}: our bpp, highest"] = result[2]
    return found


def published(name: str) -> np.ndarray:
    """Published averages of a codec, rows as in `COLUMNS`, rates rising."""
    text = (ROOT / "promptcodec/evaluation/anchors.json").read_text("utf-8")
    codecs = json.loads(text)["codecs"]
    facts = codecs.get(name) or codecs[f"{name} (paper)"]
    keys = ("bpp", "psnr_rgb", "ms_ssim_rgb")
    rows = np.array([facts[key] for key in keys if key in facts])
    return rows[:, np.argsort(rows[0])]


def in_db(values: np.ndarray, name: str) -> np.ndarray:
    """Averages on the scale of curves: MS-SSIM in dB."""
    return values if name == "PSNR" else -10 * np.log10(1 - values)


def curve(
    pictures: list[Image.Image],
    settings: Sequence[Any],
    code: Callable[[Image.Image, Any], bytes],
    show: Callable[[bytes], Image.Image],
) -> np.ndarray:
    """Means over the pictures at each setting, rows as in `COLUMNS`."""
    points = []
    for setting in settings:
        rows = []
        for picture in pictures:
            data = code(picture, setting)
            before, after = (np.asarray(x, np.float64) for x in (picture, show(data)))
            bits = 8 * len(data) / (picture.width * picture.height)
            decibels = 10 * np.log10(255**2 / np.mean((before - after) ** 2))
            rows.append((bits, decibels, ms_ssim(before, after)))
        points.append(np.mean(rows, axis=0))
    return np.transpose(points)


def ms_ssim(before: np.ndarray, after: np.ndarray) -> float:
    """Multi-scale similarity of two pictures, (H, W, 3) of 0 to 255, averaged over channels."""
    at = np.arange(11) - 5
    window = np.exp(-(at**2) / (2 * 1.5**2))
    window /= window.sum()

    def blurred(x: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            x = correlate1d(x, window, axis=axis)
        return x[5:-5, 5:-5]

    total, last = np.ones(3), len(SCALES) - 1
    for scale, weight in enumerate(SCALES):
        a, b = blurred(before), blurred(after)
        spread = blurred(before**2) - a * a + blurred(after**2) - b * b
        both = blurred(before * after) - a * b
        alike = (2 * both + (0.03 * 255) ** 2) / (spread + (0.03 * 255) ** 2)
        if scale == last:
            alike *= (2 * a * b + (0.01 * 255) ** 2) / (a * a + b * b + (0.01 * 255) ** 2)
        total *= np.maximum(alike.mean(axis=(0, 1)), 0.0) ** weight
        before, after = halved(before), halved(after)
    return float(total.mean())


def halved(x: np.ndarray) -> np.ndarray:
    """Means of 2x2 pixels; an odd side has a border of zeros at both ends."""
    padded = np.pad(x, [(side % 2, side % 2) for side in x.shape[:2]] + [(0, 0)])
    height, width = (side // 2 for side in padded.shape[:2])
    return padded[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3))


def bd_rate(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float] | None:
    """Mean difference in rate at equal quality over the common range, in per cent.

    Args:
        ours: rates and qualities, (2, points), both rising.
        theirs: the same of a rival.
    Returns:
        The difference and our rates at the ends of the range; None without a common range.
    """
    low, high = (f(ours[1][k], theirs[1][k]) for f, k in ((max, 0), (min, -1)))
    if low >= high:
        return None
    at = np.linspace(low, high, SAMPLES)
    logs = [PchipInterpolator(each[1], np.log(each[0]))(at) for each in (ours, theirs)]
    mean = np.trapezoid(logs[0] - logs[1], at) / (high - low)
    return float(100 * (np.exp(mean) - 1)), float(np.exp(logs[0][0])), float(np.exp(logs[0][-1]))


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

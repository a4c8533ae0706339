"""One picture beside its peers at equal bytes: a PNG for documents, a page with a slider."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from promptcodec.evaluation.measure import Measurement
from promptcodec.evaluation.reports.equal_size import View, views
from promptcodec.evaluation.reports.html_page import Slide, write_page
from promptcodec.io.atomic import write_atomically
from promptcodec.io.load import load_picture
from promptcodec.io.save import encode_file

LABEL_HEIGHT = 28  # px
MIN_FONT = 8  # px


@dataclass(frozen=True)
class Row:
    """All codecs at the bytes of one of our rates.

    Attributes:
        rate: label of our rate.
        views: the original, ours, the peers.
    """

    rate: str
    views: tuple[View, ...]


def compare_picture(path: Path, measurement: Measurement) -> list[Row]:
    """Compress one picture at each of our rates and by each peer within as many bytes.

    Args:
        path: of the picture.
        measurement: rates and peers.

    Raises:
        PictureError: it is no picture.
    """
    picture = load_picture(path, max_pixels=measurement.max_pixels)
    return [
        Row(point.label, tuple(views(picture, point, measurement.peers)))
        for point in measurement.points
    ]


def render_rows(rows: Sequence[Row]) -> str:
    """A table for people: bytes, bpp and PSNR of each codec at each rate."""
    width = max(len(view.title) for row in rows for view in row.views)
    lines = [f"{'':<{width}}{'bytes':>11}{'bpp':>9}{'PSNR':>11}"]
    for row in rows:
        lines += [
            f"{view.title:<{width}}{view.size:>11,} {view.bpp:>8.3f} {view.psnr:>7.2f} dB"
            for view in row.views
            if view.size is not None
        ]
    return "\n".join(lines)


def facts_of(rows: Sequence[Row]) -> list[dict]:
    """The table as JSON."""
    return [
        {"rate": row.rate, "codec": each.title, "bytes": each.size, "bpp": each.bpp}
        | {"psnr": each.psnr}
        for row in rows
        for each in row.views
        if each.size is not None
    ]


def write_sheet(rows: Sequence[Row], path: Path, *, force: bool) -> None:
    """All views as one PNG, a row for each rate.

    Raises:
        OutputError: it cannot be written.
    """
    strips = [
        np.asarray(side_by_side([(view.caption, Image.fromarray(view.rgb)) for view in row.views]))
        for row in rows
    ]
    sheet = Image.fromarray(np.concatenate(strips))
    write_atomically(path, encode_file(sheet, ".png"), force=force)


def write_slider(rows: Sequence[Row], path: Path, *, title: str, force: bool) -> None:
    """The views as a page with a slider.

    Raises:
        UsageError: the page would be too large.
        OutputError: it cannot be written.
    """
    slides = [Slide(row.rate, row.views) for row in rows]
    write_page(path, "compare.html", title=title, data={}, slides=slides, force=force)


def side_by_side(labelled: list[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures of one size in a row, each with its label above it, in letters that fit."""
    width, height = labelled[0][1].size
    row = Image.new("RGB", (width * len(labelled), height + LABEL_HEIGHT), "white")
    draw = ImageDraw.Draw(row)
    size = LABEL_HEIGHT // 2
    widest = max(
        draw.textlength(label, font=ImageFont.load_default(size=size)) for label, _ in labelled
    )
    size = max(MIN_FONT, min(size, int(size * (width - 16) / widest)))
    font = ImageFont.load_default(size=size)
    for column, (label, picture) in enumerate(labelled):
        row.paste(picture, (column * width, LABEL_HEIGHT))
        draw.text((column * width + 8, LABEL_HEIGHT // 4), label, fill="black", font=font)
    return row

"""One picture beside baselines at equal bytes: a PNG for documents, a page with a slider."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from promptcodec.evaluation.measure import Measurement
from promptcodec.evaluation.reports.equal_size import Slide, at_equal_size
from promptcodec.io.atomic import write_atomically
from promptcodec.io.pictures import Picture
from promptcodec.io.save import encode_file

LABEL_HEIGHT = 28  # px
MIN_FONT = 8  # px


def compare_picture(picture: Picture, measurement: Measurement) -> list[Slide]:
    """Compress one picture at each of our rates, and by each baseline within as many bytes.

    Args:
        picture: picture to compress.
        measurement: rates and baselines.
    """
    first = measurement.points[0]
    first.decode(first.encode(picture.rgb[:64, :64]).data)  # warm-up, so that set-up is not timed
    return [
        Slide(point.label, at_equal_size(picture, point, measurement.codecs))
        for point in measurement.points
    ]


def render_slides(slides: Sequence[Slide]) -> str:
    """Text table of bytes, bpp, PSNR and our seconds of each codec at each rate."""
    width = max(len(view.title) for slide in slides for view in slide.views)
    lines = [f"{'':<{width}}{'bytes':>11}{'bpp':>9}{'PSNR':>11}{'encode':>9}{'decode':>9}"]
    for view in (view for slide in slides for view in slide.views if view.size is not None):
        line = f"{view.title:<{width}}{view.size:>11,} {view.bpp:>8.3f} {view.psnr:>7.2f} dB"
        lines.append(line + "".join(f"{each:>7.2f} s" for each in view.seconds or ()))
    return "\n".join(lines)


def facts_of(slides: Sequence[Slide]) -> list[dict]:
    """The same table, JSON-ready."""
    return [
        {
            "rate": slide.title,
            "codec": view.title,
            "bytes": view.size,
            "bpp": view.bpp,
            "psnr": view.psnr,
            "encode_seconds": view.seconds and view.seconds[0],
            "decode_seconds": view.seconds and view.seconds[1],
        }
        for slide in slides
        for view in slide.views
        if view.size is not None
    ]


def write_sheet(slides: Sequence[Slide], path: Path, *, force: bool) -> None:
    """Write all views as one PNG, a row for each rate.

    Raises:
        OutputError: the file cannot be written.
    """
    strips = [
        np.asarray(side_by_side([(view.caption, Image.fromarray(view.rgb)) for view in row.views]))
        for row in slides
    ]
    sheet = Image.fromarray(np.concatenate(strips))
    write_atomically(path, encode_file(sheet, ".png"), force=force)


def side_by_side(labelled: list[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures of one size in a row, each under a label whose font shrinks until it fits."""
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

"""HTML pages of one file, with style, scripts, figures and pictures inside.

The templates are the files of `templates/`; a content security policy forbids every request.
"""

import base64
import html
import io
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from PIL import Image

from promptcodec.errors import UsageError
from promptcodec.evaluation.reports.equal_size import DecodedView, Slide
from promptcodec.io.atomic import write_atomically

MAX_BYTES = 5_000_000  # of a page
PICTURE_BYTES = 4_000_000  # of the pictures in it
MIN_WINDOW = 64  # px


def write_page(
    path: Path, template: str, *, title: str, data: dict, slides: Sequence[Slide], force: bool
) -> None:
    """Write a page atomically.

    Args:
        path: file to write.
        template: name of an HTML file in `templates/`.
        title: title of the page.
        data: JSON-ready data of the script.
        slides: pictures of the slider; cropped around the middle if they would be too large.
        force: whether to replace an existing file.

    Raises:
        UsageError: the page would be too large even with cropped pictures.
        OutputError: the page cannot be written.
    """
    facts = json.dumps({**data, "slides": embed(slides)}, allow_nan=False)
    text = _template(template)
    for name in ("style.css", "slider.js", "chart.js", "report.js"):
        text = text.replace(f"/*{name}*/", _template(name))
    # An escaped "<" cannot end the script element early.
    text = text.replace("{{title}}", html.escape(title))
    text = text.replace("{{data}}", facts.replace("<", "\\u003c"))
    content = text.encode()
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"{path} would take {len(content):,} bytes, above {MAX_BYTES:,}: show fewer pictures"
        )
    write_atomically(path, content, force=force)


def embed(slides: Sequence[Slide]) -> list[dict]:
    """Slides with their pictures as lossless files of at most `PICTURE_BYTES` in all."""
    if not slides:
        return []
    shapes = [slide.views[0].rgb.shape for slide in slides]
    window = float(max(max(shape[:2]) for shape in shapes))
    while True:
        files = [[_lossless(view, int(window)) for view in slide.views] for slide in slides]
        total = sum(len(file) for row in files for file in row)
        if total <= PICTURE_BYTES or window <= MIN_WINDOW:
            break
        window = max(0.95 * window * (PICTURE_BYTES / total) ** 0.5, MIN_WINDOW)
    return [
        {
            "title": slide.title,
            "cropped": max(slide.views[0].rgb.shape[:2]) > int(window),
            "views": [
                {"caption": view.caption, "title": view.title, "source": file}
                for view, file in zip(slide.views, row, strict=True)
            ],
        }
        for slide, row in zip(slides, files, strict=True)
    ]


def _lossless(view: DecodedView, window: int) -> str:
    """The middle of a picture, `window` px at most each way, as a data URI."""
    height, width = view.rgb.shape[:2]
    high, wide = min(height, window), min(width, window)
    top, left = (height - high) // 2, (width - wide) // 2
    buffer = io.BytesIO()
    picture = Image.fromarray(view.rgb[top : top + high, left : left + wide])
    picture.save(buffer, "WEBP", lossless=True, quality=60, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _template(name: str) -> str:
    folder = resources.files("promptcodec.evaluation.reports").joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8")

"""Screenshots, documents and mixed pages, drawn by functions of a seed.

Text is drawn with the fonts of matplotlib, so that every machine has them.
"""

from __future__ import annotations

import colorsys
import io
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from promptcodec.io.samples import bundled, photograph

WORDS = (
    "rate tile header stream value index entropy picture latent table channel window decoder "
    "report budget quarter measure north winter garden station letter market signal coast forest "
    "bridge harbour engine paper method result figure sample volume of the and in to for with a is"
).split()
Colour = tuple[int, int, int]
INK, WHITE, SHADE = (33, 37, 41), (255, 255, 255), (246, 248, 250)


@cache
def font(size: int, name: str = "DejaVuSans") -> ImageFont.FreeTypeFont:
    """A font of matplotlib."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(path), size)


def sentence(rng: random.Random, words: int) -> str:
    """Words in any order."""
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."


def bright(rng: random.Random) -> Colour:
    """A saturated colour."""
    rgb = colorsys.hls_to_rgb(rng.random(), rng.uniform(0.35, 0.6), rng.uniform(0.6, 1.0))
    red, green, blue = (round(255 * value) for value in rgb)
    return red, green, blue


def paragraph(
    draw: ImageDraw.ImageDraw,
    rng: random.Random,
    box: tuple[int, int, int, int],
    *,
    size: int,
    fill: Colour = INK,
) -> int:
    """Lines of text that fill a box (left, top, right, bottom); returns the row after the last."""
    left, top, right, bottom = box
    while top + 1.5 * size < bottom:
        line = sentence(rng, max(3, round((right - left) / (3.4 * size))))
        while draw.textlength(line, font(size)) > right - left:
            line = line[:-1]
        draw.text((left, top), line, fill, font(size))
        top += round(1.5 * size)
    return top


def document(rng: random.Random) -> Image.Image:
    """A page of text with headings."""
    image = Image.new("RGB", (850, 1100), WHITE)
    draw, top = ImageDraw.Draw(image), 70
    size = rng.choice((12, 13, 14, 16))
    while top < 980:
        draw.text((80, top), sentence(rng, 4), rng.choice((INK, bright(rng))), font(size + 10))
        end = top + 40 + rng.choice((120, 200, 280))
        top = paragraph(draw, rng, (80, top + 40, 770, min(end, 1040)), size=size) + 24
    return image


def editor(rng: random.Random) -> Image.Image:
    """A window with source text in colours."""
    dark = rng.random() < 0.6
    ground, ink = ((30, 30, 36), (212, 212, 220)) if dark else (WHITE, INK)
    image = Image.new("RGB", (1280, 800), ground)
    draw = ImageDraw.Draw(image)
    colours = [ink, *(bright(rng) for _ in range(4))]
    draw.rectangle((0, 0, 1280, 36), fill=(60, 60, 70) if dark else (225, 228, 232))
    draw.rectangle((0, 36, 240, 800), fill=(38, 38, 46) if dark else SHADE)
    for row in range(22):
        draw.text((20, 52 + 32 * row), rng.choice(WORDS) + ".py", ink, font(14))
    size = rng.choice((13, 15))
    for row in range(int(740 / (1.45 * size))):
        x, y = 300 + 28 * rng.choice((0, 1, 1, 2, 3)), 48 + 1.45 * row * size
        draw.text((256, y), f"{row + 1:3d}", (128, 128, 136), font(size, "DejaVuSansMono"))
        for word in rng.choices(WORDS, k=rng.choice((0, 2, 4, 6, 8))):
            text = word + rng.choice((" ", " = ", "(", "): ", ", "))
            draw.text((x, y), text, rng.choice(colours), font(size, "DejaVuSansMono"))
            x += int(draw.textlength(text, font(size, "DejaVuSansMono")))
    return image


def chart(rng: random.Random) -> Image.Image:
    """Curves, bars or a heat map, by matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 6.4), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    values = np.random.default_rng(rng.getrandbits(32))
    for axis in np.ravel(axes):
        kind = rng.choice(("lines", "bars", "heat", "points"))
        if kind == "lines":
            axis.plot(values.normal(size=(60, 4)).cumsum(axis=0))
            axis.grid(True)
        elif kind == "bars":
            axis.bar(range(12), values.random(12), color=[[c / 255 for c in bright(rng)]])
        elif kind == "heat":
            axis.imshow(values.random((9, 9)), cmap=rng.choice(("viridis", "magma", "coolwarm")))
        else:
            axis.scatter(*values.normal(size=(2, 150)), c=values.random(150), s=30)
        axis.set_title(sentence(rng, 3))
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def dashboard(rng: random.Random) -> Image.Image:
    """Cards, buttons and bars of an application."""
    image = Image.new("RGB", (1366, 768), (241, 243, 246))
    draw, accent = ImageDraw.Draw(image), bright(rng)
    draw.rectangle((0, 0, 1366, 56), fill=accent)
    draw.text((24, 14), sentence(rng, 3), WHITE, font(22))
    for row, column in ((r, c) for r in range(3) for c in range(4)):
        left, top = 24 + 334 * column, 80 + 228 * row
        draw.rounded_rectangle((left, top, left + 316, top + 208), 10, WHITE, (214, 218, 224))
        draw.text((left + 16, top + 14), sentence(rng, 3)[:26], INK, font(16))
        if rng.random() < 0.5:
            for n in range(10):
                height, x = rng.randrange(10, 120), left + 20 + 28 * n
                draw.rectangle((x, top + 190 - height, x + 18, top + 190), fill=accent)
        else:
            draw.text((left + 16, top + 50), f"{rng.randrange(10**6):,}", accent, font(36))
            paragraph(draw, rng, (left + 16, top + 104, left + 300, top + 196), size=12)
    return image


def sheet(rng: random.Random) -> Image.Image:
    """A table of numbers."""
    image = Image.new("RGB", (1200, 900), WHITE)
    draw, height = ImageDraw.Draw(image), rng.choice((22, 26))
    draw.rectangle((0, 0, 1200, height), fill=(226, 239, 218))
    for row in range(900 // height + 1):
        draw.line((0, row * height, 1200, row * height), (208, 212, 218))
        for column in range(10):
            text = rng.choice(WORDS) if row == 0 or column == 0 else f"{rng.gauss(0, 900):,.2f}"
            fill = (190, 30, 30) if text.startswith("-") else INK
            draw.text((120 * column + 6, row * height + 4), text, fill, font(height - 11))
    for column in range(11):
        draw.line((120 * column, 0, 120 * column, 900), (208, 212, 218))
    return image


def slide(rng: random.Random) -> Image.Image:
    """Large text, flat shapes and a gradient."""
    image = Image.new("RGB", (1280, 720), WHITE)
    top = np.linspace(bright(rng), bright(rng), 180)
    image.paste(Image.fromarray(np.repeat(top[:, None].astype(np.uint8), 1280, axis=1)))
    draw = ImageDraw.Draw(image)
    draw.text((60, 60), sentence(rng, 4), WHITE, font(48))
    for row in range(4):
        draw.ellipse((64, 246 + 90 * row, 84, 266 + 90 * row), fill=bright(rng))
        draw.text((110, 238 + 90 * row), sentence(rng, 5), INK, font(28))
    for _ in range(3):
        x, y = rng.randrange(820, 1080), rng.randrange(220, 520)
        draw.ellipse((x, y, x + 160, y + 160), fill=bright(rng), outline=INK, width=3)
    return image


GRAPHICS: tuple[Callable[[random.Random], Image.Image], ...] = (
    document,
    editor,
    chart,
    dashboard,
    sheet,
    slide,
)


def mixed(rng: random.Random, photographs: Sequence[Path]) -> Image.Image:
    """A page of text with one to three photographs."""
    width, height = rng.choice(((1280, 960), (1000, 1400), (1600, 900)))
    image = Image.new("RGB", (width, height), rng.choice((WHITE, SHADE, (24, 26, 30))))
    draw = ImageDraw.Draw(image)
    ink = INK if sum(image.getpixel((0, 0))) > 384 else (220, 222, 226)  # type: ignore[arg-type]
    draw.text((40, 30), sentence(rng, 5), ink, font(34))
    top = 100
    while top < height - 200:
        wide, high = rng.choice(((480, 320), (640, 400), (400, 300)))
        high = min(high, height - top - 40)
        left = rng.choice((40, width - wide - 40))
        path = photographs[rng.randrange(len(photographs))]
        image.paste(Image.fromarray(photograph(path, width=wide, height=high)), (left, top))
        text = (wide + 70, width - 40) if left == 40 else (40, left - 30)
        paragraph(draw, rng, (text[0], top, text[1], top + high), size=14, fill=ink)
        top += high + 30
    return image


def graphics(count: int) -> dict[str, Image.Image]:
    """That many screenshots and documents, of every kind in turn."""
    found = {}
    for number in range(count):
        kind = GRAPHICS[number % len(GRAPHICS)]
        found[f"{kind.__name__}-{number // len(GRAPHICS)}"] = kind(random.Random(number))
    return found


def mixed_pages(count: int, photographs: Sequence[Path] = ()) -> dict[str, Image.Image]:
    """That many pages with photographs; without files, with the one of the package."""
    paths = list(photographs) or [bundled()]
    return {f"mixed-{n}": mixed(random.Random(1000 + n), paths) for n in range(count)}

"""Classic codecs run here, on the same pictures, so that a comparison owes nothing to others.

Each picture is compressed to a real file by Pillow, at several qualities, and read back.
"""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import PIL
from PIL import Image

from promptcodec.errors import UsageError
from promptcodec.evaluation.bdrate import Curve
from promptcodec.evaluation.metrics import bpp, psnr


@dataclass(frozen=True)
class Jpeg:
    """JPEG by libjpeg-turbo as Pillow bundles it.

    Attributes:
        optimize: Huffman tables fitted to the picture; smaller at no loss.
        full_chroma: 4:4:4 in place of the usual 4:2:0.
        qualities: lowest to highest.
    """

    name: ClassVar[str] = "jpeg"
    optimize: bool = True
    full_chroma: bool = False
    qualities: tuple[int, ...] = (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)

    def compress(self, picture: Image.Image, quality: int) -> bytes:
        """One picture as the bytes of a .jpg file."""
        buffer = io.BytesIO()
        subsampling = "4:4:4" if self.full_chroma else "4:2:0"
        picture.save(
            buffer, "JPEG", quality=quality, optimize=self.optimize, subsampling=subsampling
        )
        return buffer.getvalue()


@dataclass(frozen=True)
class WebP:
    """Lossy WebP by libwebp as Pillow bundles it.

    Attributes:
        method: effort, 0 to 6 (slowest, smallest).
        qualities: lowest to highest.
    """

    name: ClassVar[str] = "webp"
    method: int = 6
    qualities: tuple[int, ...] = (1, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)

    def compress(self, picture: Image.Image, quality: int) -> bytes:
        """One picture as the bytes of a .webp file."""
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality, method=self.method)
        return buffer.getvalue()


Baseline = Jpeg | WebP

BASELINES: dict[str, Baseline] = {
    "jpeg": Jpeg(),
    "jpeg-444": Jpeg(full_chroma=True),
    "webp": WebP(),
}
"""By the name that `--against` takes."""


@dataclass(frozen=True)
class BaselinePoint:
    """One picture at one quality."""

    picture: str
    quality: int
    bytes: int
    bpp: float
    psnr: float


@dataclass(frozen=True)
class AveragePoint:
    """One quality, per-picture bpp and PSNR averaged over the set."""

    quality: int
    bpp: float
    psnr: float


@dataclass(frozen=True)
class BaselineResult:
    """A sweep over a set of pictures.

    Attributes:
        name: key in `BASELINES`.
        options: what was passed to Pillow, and its version.
        averages: one for each quality.
        pictures: one for each picture and quality.
    """

    name: str
    options: dict[str, object]
    averages: tuple[AveragePoint, ...]
    pictures: tuple[BaselinePoint, ...]

    def curve(self) -> Curve:
        """The averages as a curve; `UsageError` where they are not strictly monotone."""
        return Curve(
            self.name,
            tuple(point.bpp for point in self.averages),
            tuple(point.psnr for point in self.averages),
        )


def find_baselines(names: Sequence[str]) -> dict[str, Baseline]:
    """The baselines of these names, in this order.

    Raises:
        UsageError: there is none of that name.
    """
    for name in names:
        if name not in BASELINES:
            raise UsageError(f"no baseline {name!r}: choose among {', '.join(BASELINES)}")
    return {name: BASELINES[name] for name in names}


def sweep(codec: Baseline, rgb: np.ndarray, *, picture: str, grey: bool) -> list[BaselinePoint]:
    """Compress one picture at every quality of a baseline.

    Args:
        codec: which one.
        rgb: uint8 (H, W, 3).
        picture: its name in the records.
        grey: the picture has one channel, and the baseline may profit from that.
    """
    source = Image.fromarray(rgb[..., 0] if grey else rgb)
    height, width = rgb.shape[:2]
    points = []
    for quality in codec.qualities:
        data = codec.compress(source, quality)
        with Image.open(io.BytesIO(data)) as decoded:
            quality_db = psnr(rgb, np.asarray(decoded.convert("RGB")))
        rate = bpp(len(data), width=width, height=height)
        points.append(BaselinePoint(picture, quality, len(data), rate, quality_db))
    return points


def summarise(name: str, codec: Baseline, points: Sequence[BaselinePoint]) -> BaselineResult:
    """Average the sweeps of several pictures.

    Args:
        name: key in `BASELINES`.
        codec: the baseline that made the points.
        points: of all pictures and all qualities, at least one picture.
    """
    averages = []
    for quality in codec.qualities:
        same = [point for point in points if point.quality == quality]
        averages.append(
            AveragePoint(
                quality,
                float(np.mean([point.bpp for point in same])),
                float(np.mean([point.psnr for point in same])),
            )
        )
    options = {"pillow": PIL.__version__, **asdict(codec)}
    return BaselineResult(name, options, tuple(averages), tuple(points))

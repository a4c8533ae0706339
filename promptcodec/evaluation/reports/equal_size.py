"""One picture by several codecs at equal bytes, and pictures side by side."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image

from promptcodec.evaluation.codecs.registry import CLASSIC, TITLES, BaselineCodec
from promptcodec.evaluation.measure import CurvePoint
from promptcodec.evaluation.metrics import bpp, psnr
from promptcodec.io.pictures import Picture

_LOWEST = {"jpeg": 1, "jpeg-444": 1, "avif": 1}  # below the lowest quality of the sweep


@dataclass(frozen=True)
class DecodedView:
    """One picture decoded by one codec.

    Attributes:
        title: name of the codec, with its setting.
        size: bytes of the file; None for the original.
        bpp: bits per pixel, 8 * bytes / pixels; None for the original.
        psnr: PSNR over RGB, dB; None for the original.
        rgb: decoded pixels, uint8 (H, W, 3).
        seconds: time to encode and to decode; None after a search for the setting.
    """

    title: str
    size: int | None
    bpp: float | None
    psnr: float | None
    rgb: np.ndarray
    seconds: tuple[float, float] | None = None

    @property
    def caption(self) -> str:
        """Title, bytes, bpp and PSNR on one line."""
        if self.size is None:
            return self.title
        return f"{self.title}, {self.size:,} bytes, {self.bpp:.3f} bpp, {self.psnr:.2f} dB"


@dataclass(frozen=True)
class Slide:
    """Views of one picture at equal bytes.

    Attributes:
        title: name of the picture or of our rate.
        views: views of one size: the original, ours, the baselines.
    """

    title: str
    views: Sequence[DecodedView]


def at_equal_size(
    picture: Picture, point: CurvePoint, codecs: dict[str, BaselineCodec]
) -> list[DecodedView]:
    """The original, ours, and each baseline with at most as many bytes as ours.

    A baseline that needs more bytes even at its lowest setting is shown at that setting.

    Args:
        picture: original picture.
        point: rate point of our codec.
        codecs: baselines by name.
    """
    source = picture.rgb[..., 0] if picture.grey else picture.rgb
    start = time.perf_counter()
    data = point.encode(source).data
    middle = time.perf_counter()
    decoded = point.decode(data)
    seconds = middle - start, time.perf_counter() - middle
    ours = _view(f"promptcodec, {point.label}", len(data), decoded, picture.rgb)
    views = [
        DecodedView("original", None, None, None, picture.rgb),
        replace(ours, seconds=seconds),
    ]
    for name, codec in codecs.items():
        compress = partial(codec.compress, Image.fromarray(source))
        setting, file = largest_within(compress, len(data), settings=_settings(name, codec))
        title = f"{TITLES.get(name, name)}, quality {setting}"
        views.append(_view(title, len(file), codec.decompress(file), picture.rgb))
    return views


def largest_within(
    compress: Callable[[int], bytes], limit: int, *, settings: Sequence[int] = range(1, 96)
) -> tuple[int, bytes]:
    """Highest setting whose file has at most `limit` bytes.

    Args:
        compress: function from a setting to the bytes of a file, whose size rises with it.
        limit: largest number of bytes.
        settings: settings, lowest first.

    Returns:
        The setting and its file; the lowest setting if all files are larger.
    """
    low, high = 0, len(settings) - 1
    best = compress(settings[0])
    while low < high:
        middle = (low + high + 1) // 2
        data = compress(settings[middle])
        if len(data) <= limit:
            low, best = middle, data
        else:
            high = middle - 1
    return settings[low], best


def _settings(name: str, codec: BaselineCodec) -> Sequence[int]:
    if name not in CLASSIC:
        return codec.qualities  # each is a separate model
    return range(_LOWEST.get(name, codec.qualities[0]), codec.qualities[-1] + 1)


def _view(title: str, size: int, decoded: Image.Image, original: np.ndarray) -> DecodedView:
    rgb = np.asarray(decoded.convert("RGB"))
    height, width = original.shape[:2]
    return DecodedView(title, size, bpp(size, width=width, height=height), psnr(original, rgb), rgb)

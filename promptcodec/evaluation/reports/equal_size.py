"""One picture by several codecs at equal bytes: the fair way to look at them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from promptcodec.evaluation.codecs.registry import CLASSIC, TITLES, Peer
from promptcodec.evaluation.measure import RatePoint
from promptcodec.evaluation.metrics import bpp, psnr
from promptcodec.io.pictures import Picture

_LOWEST = {"jpeg": 1, "jpeg-444": 1, "avif": 1}  # below the sweep, whose low end serves no one


@dataclass(frozen=True)
class View:
    """One codec on one picture.

    Attributes:
        title: of the codec, with its setting.
        size: bytes of the file; None is the original.
        bpp: 8 * bytes / pixels; None is the original.
        psnr: dB over RGB; None is the original.
        rgb: decoded, uint8 (H, W, 3).
    """

    title: str
    size: int | None
    bpp: float | None
    psnr: float | None
    rgb: np.ndarray

    @property
    def caption(self) -> str:
        """Title, bytes, bpp and PSNR on one line."""
        if self.size is None:
            return self.title
        return f"{self.title}, {self.size:,} bytes, {self.bpp:.3f} bpp, {self.psnr:.2f} dB"


def views(picture: Picture, point: RatePoint, peers: dict[str, Peer]) -> list[View]:
    """The original, ours, and each peer with as many bytes as ours at most.

    A peer that needs more even at its lowest setting is shown at that one; its size says so.

    Args:
        picture: what is shown.
        point: our rate.
        peers: by name.
    """
    source = picture.rgb[..., 0] if picture.grey else picture.rgb
    data = point.encode(source).data
    decoded = point.decode(data)
    found = [
        View("original", None, None, None, picture.rgb),
        _view(f"promptcodec, {point.label}", len(data), decoded, picture.rgb),
    ]
    for name, peer in peers.items():
        setting, file = largest_within(
            lambda quality, peer=peer: peer.compress(Image.fromarray(source), quality),
            len(data),
            settings=_settings(name, peer),
        )
        title = f"{TITLES.get(name, name)}, quality {setting}"
        found.append(_view(title, len(file), peer.decompress(file), picture.rgb))
    return found


def largest_within(
    compress: Callable[[int], bytes], limit: int, *, settings: Sequence[int] = range(1, 96)
) -> tuple[int, bytes]:
    """Highest setting whose file is not above a number of bytes.

    Args:
        compress: setting to the bytes of a file; files grow along the settings.
        limit: bytes.
        settings: lowest first.

    Returns:
        The setting and its file; the lowest where even that is above the limit.
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


def _settings(name: str, peer: Peer) -> Sequence[int]:
    if name not in CLASSIC:
        return peer.qualities  # there is nothing between two models
    return range(_LOWEST.get(name, peer.qualities[0]), peer.qualities[-1] + 1)


def _view(title: str, size: int, decoded: Image.Image, original: np.ndarray) -> View:
    rgb = np.asarray(decoded.convert("RGB"))
    height, width = original.shape[:2]
    return View(title, size, bpp(size, width=width, height=height), psnr(original, rgb), rgb)

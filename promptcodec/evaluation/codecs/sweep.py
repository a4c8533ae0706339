"""Peers run here, on the same pictures, so that a comparison owes nothing to others.

Each picture is compressed to a real file at several qualities and read back.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from promptcodec.evaluation.bdrate import Curve
from promptcodec.evaluation.codecs.registry import Peer
from promptcodec.evaluation.metrics import bpp
from promptcodec.evaluation.perceptual import Judge


@dataclass(frozen=True)
class BaselinePoint:
    """One picture at one quality.

    Attributes:
        picture: its name.
        quality: setting of the peer.
        bytes: of the file.
        bpp: 8 * bytes / pixels.
        psnr: dB over RGB.
        ms_ssim: 0 to 1; None where it was not measured.
        lpips: 0 is best; None where it was not measured.
        encode_seconds: wall time, picture in memory to bytes.
        decode_seconds: wall time, bytes to picture in memory.
    """

    picture: str
    quality: int
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float | None = None
    lpips: float | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None


@dataclass(frozen=True)
class AveragePoint:
    """One quality over the set: means of rate and quality, medians of times."""

    quality: int
    bpp: float
    psnr: float
    ms_ssim: float | None = None
    lpips: float | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None


@dataclass(frozen=True)
class BaselineResult:
    """A sweep over a set of pictures.

    Attributes:
        name: as `peers.find_peers` takes it.
        options: all that was passed to the codec, and its version.
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


def sweep(
    peer: Peer, rgb: np.ndarray, *, picture: str, grey: bool, judge: Judge | None = None
) -> list[BaselinePoint]:
    """Compress one picture at every quality of a peer.

    Args:
        peer: which one.
        rgb: uint8 (H, W, 3).
        picture: its name in the records.
        grey: the picture has one channel, and the peer may profit from that.
        judge: the metrics; None is PSNR alone.
    """
    judge = judge or Judge()
    source = Image.fromarray(rgb[..., 0] if grey else rgb)
    height, width = rgb.shape[:2]
    points = []
    for quality in peer.qualities:
        start = time.perf_counter()
        data = peer.compress(source, quality)
        middle = time.perf_counter()
        decoded = np.asarray(peer.decompress(data))
        end = time.perf_counter()
        found = judge(rgb, decoded)
        points.append(
            BaselinePoint(
                picture=picture,
                quality=quality,
                bytes=len(data),
                bpp=bpp(len(data), width=width, height=height),
                psnr=found.psnr,
                ms_ssim=found.ms_ssim,
                lpips=found.lpips,
                encode_seconds=middle - start,
                decode_seconds=end - middle,
            )
        )
    return points


def summarise(name: str, peer: Peer, points: Sequence[BaselinePoint]) -> BaselineResult:
    """Average the sweeps of several pictures.

    Args:
        name: as `peers.find_peers` takes it.
        peer: the codec that made the points.
        points: of all pictures and all qualities, at least one picture.
    """
    averages = []
    for quality in peer.qualities:
        same = [point for point in points if point.quality == quality]
        averages.append(
            AveragePoint(
                quality=quality,
                bpp=float(np.mean([point.bpp for point in same])),
                psnr=float(np.mean([point.psnr for point in same])),
                ms_ssim=mean_of([point.ms_ssim for point in same]),
                lpips=mean_of([point.lpips for point in same]),
                encode_seconds=_median_of([point.encode_seconds for point in same]),
                decode_seconds=_median_of([point.decode_seconds for point in same]),
            )
        )
    return BaselineResult(name, peer.options(), tuple(averages), tuple(points))


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of values; None where one of them is missing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _median_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None

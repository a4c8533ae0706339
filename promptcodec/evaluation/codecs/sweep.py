"""Baseline codecs, measured here on the same pictures as ours.

Each picture is compressed to a real file at several qualities and read back.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from promptcodec.evaluation.bdrate import Curve
from promptcodec.evaluation.codecs.registry import BaselineCodec
from promptcodec.evaluation.metrics import bpp
from promptcodec.evaluation.perceptual import QualityMetrics

_AVERAGES = {
    **dict.fromkeys(("bpp", "psnr", "ms_ssim", "ssimulacra2", "lpips"), np.mean),
    **dict.fromkeys(("encode_seconds", "decode_seconds"), np.median),
}


@dataclass(frozen=True, kw_only=True)
class BaselinePoint:
    """One quality of a codec, of one picture or averaged over a set.

    Attributes:
        quality: setting of the codec.
        bpp: bits per pixel, 8 * bytes / pixels.
        psnr: PSNR over RGB, dB.
        ms_ssim: MS-SSIM, 0 to 1; None if it was not measured.
        ssimulacra2: SSIMULACRA 2, 100 is best; None if it was not measured.
        lpips: LPIPS, 0 is best; None if it was not measured.
        encode_seconds: wall time from a picture in memory to bytes.
        decode_seconds: wall time from bytes to a picture in memory.
    """

    quality: int
    bpp: float
    psnr: float
    ms_ssim: float | None = None
    ssimulacra2: float | None = None
    lpips: float | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class BaselinePicture(BaselinePoint):
    """One picture at one quality.

    Attributes:
        picture: name of the picture.
        bytes: size of the file.
    """

    picture: str
    bytes: int


@dataclass(frozen=True)
class BaselineResult:
    """A sweep over a set of pictures.

    Attributes:
        name: name as in `registry.find_codecs`.
        options: options and version of the codec.
        averages: one point for each quality: means of rate and quality, medians of times.
        pictures: one record for each picture and quality.
    """

    name: str
    options: dict[str, object]
    averages: tuple[BaselinePoint, ...]
    pictures: tuple[BaselinePicture, ...]

    def curve(self) -> Curve:
        """The averages as a curve; `UsageError` where they are not strictly monotone."""
        return Curve(
            self.name,
            tuple(point.bpp for point in self.averages),
            tuple(point.psnr for point in self.averages),
        )


def sweep(
    codec: BaselineCodec,
    rgb: np.ndarray,
    *,
    picture: str,
    grey: bool,
    metrics: QualityMetrics | None = None,
) -> list[BaselinePicture]:
    """Compress one picture at every quality of a codec.

    Args:
        codec: baseline to run.
        rgb: picture, uint8 (H, W, 3).
        picture: name in the records.
        grey: whether the codec gets a picture of one channel.
        metrics: metrics to measure; None is PSNR alone.
    """
    metrics = metrics or QualityMetrics()
    source = Image.fromarray(rgb[..., 0] if grey else rgb)
    height, width = rgb.shape[:2]
    points = []
    for quality in codec.qualities:
        start = time.perf_counter()
        data = codec.compress(source, quality)
        middle = time.perf_counter()
        decoded = np.asarray(codec.decompress(data))
        end = time.perf_counter()
        points.append(
            BaselinePicture(
                picture=picture,
                quality=quality,
                bytes=len(data),
                bpp=bpp(len(data), width=width, height=height),
                **asdict(metrics(rgb, decoded)),
                encode_seconds=middle - start,
                decode_seconds=end - middle,
            )
        )
    return points


def summarise(name: str, codec: BaselineCodec, points: Sequence[BaselinePicture]) -> BaselineResult:
    """Average the sweeps of several pictures.

    Args:
        name: name as in `registry.find_codecs`.
        codec: codec of the points.
        points: points of all pictures and qualities, of at least one picture.
    """
    averages = tuple(
        BaselinePoint(
            quality=quality,
            **average([point for point in points if point.quality == quality]),
        )
        for quality in codec.qualities
    )
    return BaselineResult(name, codec.options(), averages, tuple(points))


def average(records: Sequence[Any]) -> dict[str, Any]:
    """Means of rate and quality and medians of times, by name; None where a value is missing.

    Args:
        records: at least one record with the fields of `BaselinePoint`.
    """
    found: dict[str, Any] = {}
    for name, reduce in _AVERAGES.items():
        values = [getattr(record, name) for record in records]
        found[name] = None if None in values else float(reduce(values))
    return found

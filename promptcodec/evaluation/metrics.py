"""Quality and rate of one picture, as every table of this project reports them."""

import math
from typing import Literal

import numpy as np

from promptcodec.coding.distortion import psnr_of, squared_error
from promptcodec.errors import ShapeError, UsageError

Metric = Literal["psnr", "ms-ssim", "ssimulacra2", "lpips"]

METRICS: dict[Metric, dict] = {
    "psnr": {
        "title": "PSNR",
        "axis": "PSNR of RGB (dB)",
        "raw": "PSNR (dB)",
        "field": "psnr",
        "digits": 2,
        "published": "psnr_rgb",
    },
    "ms-ssim": {
        "title": "MS-SSIM",
        "axis": "MS-SSIM of RGB, -10 log10(1 - x) (dB)",
        "raw": "MS-SSIM",
        "field": "ms_ssim",
        "digits": 4,
        "published": "ms_ssim_rgb",
    },
    "ssimulacra2": {
        "title": "SSIMULACRA 2",
        "axis": "SSIMULACRA 2",
        "raw": "SSIMULACRA 2",
        "field": "ssimulacra2",
        "digits": 2,
        "published": "",
    },
    "lpips": {
        "title": "LPIPS",
        "axis": "LPIPS, -10 log10(x) (dB)",
        "raw": "LPIPS",
        "field": "lpips",
        "digits": 4,
        "published": "",
    },
}
"""Labels; "field" is the name in our records, "published" the key in anchors.json."""

MAX_PSNR = 100.0
"""PSNR of identical pictures: finite, so that averages and JSON stay usable."""


def psnr(original: np.ndarray, decoded: np.ndarray) -> float:
    """Peak signal-to-noise ratio over all samples of R, G and B together.

    Args:
        original: original picture, uint8 (H, W, 3).
        decoded: decoded picture of the same shape.

    Returns:
        dB against a peak of 255, at most `MAX_PSNR`.

    Raises:
        ShapeError: the arrays are not both uint8 (H, W, 3) of one size.
    """
    for name, array in (("original", original), ("decoded", decoded)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
            raise ShapeError(
                f"{name} is {array.dtype} {array.shape}; PSNR needs uint8 (H, W, 3): "
                "convert it to 8-bit RGB first"
            )
    if original.shape != decoded.shape:
        raise ShapeError(
            f"original is {original.shape} but decoded is {decoded.shape}; "
            "PSNR needs one size: crop the padding first"
        )
    error = squared_error(original, decoded)
    return min(psnr_of(error, original.size), MAX_PSNR) if error else MAX_PSNR


def to_db(metric: Metric, value: float) -> float:
    """A quality that rises with rate, as curves show it, in dB but for SSIMULACRA 2.

    Args:
        metric: PSNR and SSIMULACRA 2 stay as they are; MS-SSIM becomes
            -10 log10(1 - value), LPIPS -10 log10(value).
        value: quality in the metric's own unit.
    Returns:
        Value of at most `MAX_PSNR`.
    """
    if metric in ("psnr", "ssimulacra2"):
        return value
    distance = 1.0 - value if metric == "ms-ssim" else value
    return -10.0 * math.log10(max(distance, 10 ** (-MAX_PSNR / 10)))


def bpp(num_bytes: int, *, width: int, height: int) -> float:
    """Bits of the whole file per pixel of the original picture.

    Args:
        num_bytes: size of the file, headers included.
        width: width of the original picture, px.
        height: height of the original picture, px.

    Raises:
        UsageError: the picture has no pixels.
    """
    if width < 1 or height < 1:
        raise UsageError(f"a picture of {width}x{height} has no pixels: give its original size")
    return 8.0 * num_bytes / (width * height)

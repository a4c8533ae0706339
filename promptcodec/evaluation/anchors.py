"""Published points of other codecs on the 24 Kodak pictures."""

import json
from importlib import resources

from promptcodec.evaluation.bdrate import Curve


def published() -> dict[str, dict]:
    """The content of anchors.json.

    Returns:
        By codec: "source", "bpp", "psnr_rgb" (dB) and, for some, "ms_ssim_rgb" (0 to 1).
    """
    path = resources.files("promptcodec.evaluation").joinpath("anchors.json")
    return json.loads(path.read_text(encoding="utf-8"))["codecs"]


def kodak_anchors() -> dict[str, Curve]:
    """Published curves by codec; "VTM" is the anchor of BD-rates."""
    return {
        name: Curve(name, tuple(codec["bpp"]), tuple(codec["psnr_rgb"]))
        for name, codec in published().items()
    }

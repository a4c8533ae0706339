"""Metrics beside PSNR: MS-SSIM, SSIMULACRA 2, and LPIPS with weights of the user."""

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from promptcodec.coding.distortion import MS_SSIM_SIDE
from promptcodec.errors import CheckpointError, UsageError
from promptcodec.evaluation.metrics import METRICS, Metric, psnr

MIN_SCORED = 8  # px, the least side that SSIMULACRA 2 is defined for


@dataclass(frozen=True)
class Quality:
    """Similarity of one decoded picture to its original.

    Attributes:
        psnr: PSNR over RGB, dB.
        ms_ssim: MS-SSIM, 0 to 1; None if it is not among the metrics or the picture is too small.
        ssimulacra2: SSIMULACRA 2, 100 is best, below 0 possible; None if it is not among the
            metrics or the picture is too small.
        lpips: LPIPS, 0 is best; None if it is not among the metrics.
    """

    psnr: float
    ms_ssim: float | None = None
    ssimulacra2: float | None = None
    lpips: float | None = None


class QualityMetrics:
    """A set of metrics, applied to pairs of pictures.

    Args:
        metrics: names from `METRICS`; PSNR is always measured.
        lpips_weights: state dict of torchvision's AlexNet, for LPIPS.

    Raises:
        UsageError: a metric is unknown, SSIMULACRA 2 lacks its package, or LPIPS its package or
            its weights.
        CheckpointError: the file holds no weights of AlexNet.
    """

    def __init__(
        self, metrics: Sequence[str] = ("psnr",), *, lpips_weights: Path | None = None
    ) -> None:
        for name in metrics:
            if name not in METRICS:
                raise UsageError(f"no metric {name!r}: choose among {', '.join(METRICS)}")
        self.names = cast("tuple[Metric, ...]", tuple(dict.fromkeys(("psnr", *metrics))))
        if "ssimulacra2" in metrics and not importlib.util.find_spec("ssimulacra2"):
            raise UsageError("SSIMULACRA 2 is not installed: pip install 'promptcodec[eval]'")
        self._lpips = _load_lpips(lpips_weights) if "lpips" in metrics else None

    def __call__(self, original: np.ndarray, decoded: np.ndarray) -> Quality:
        """Compare two pictures, uint8 (H, W, 3) of one size.

        Raises:
            ShapeError: an array has another type, or the sizes differ.
        """
        quality_db = psnr(original, decoded)
        score = None
        if "ssimulacra2" in self.names and min(original.shape[:2]) >= MIN_SCORED:
            score = _ssimulacra2(original, decoded)
        if not {"ms-ssim", "lpips"} & set(self.names):
            return Quality(quality_db, ssimulacra2=score)
        import torch

        pair = [
            torch.from_numpy(np.array(each)).permute(2, 0, 1)[None].float()
            for each in (original, decoded)
        ]
        similarity = distance = None
        with torch.inference_mode():
            if "ms-ssim" in self.names and min(original.shape[:2]) >= MS_SSIM_SIDE:
                from pytorch_msssim import ms_ssim

                similarity = float(ms_ssim(pair[0], pair[1], data_range=255.0))
            if self._lpips is not None:
                distance = float(self._lpips(*(x / 127.5 - 1 for x in pair)))
        return Quality(quality_db, similarity, score, distance)


def _ssimulacra2(original: np.ndarray, decoded: np.ndarray) -> float:
    """SSIMULACRA 2; its package reads files, here of memory."""
    from ssimulacra2 import compute_ssimulacra2

    files = []
    for pixels in (original, decoded):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PPM")
        files.append(file)
    return float(compute_ssimulacra2(*files))


def _load_lpips(weights: Path | None) -> Any:
    """LPIPS on AlexNet: the package's linear layers on the features of the user's weights."""
    if not importlib.util.find_spec("lpips"):
        raise UsageError("LPIPS is not installed: pip install 'promptcodec[lpips]'")
    if weights is None or not weights.is_file():
        raise UsageError(
            "LPIPS needs the weights of torchvision's AlexNet, which do not ship with it: "
            "name your copy of alexnet-owt-7be5be79.pth by --lpips-weights"
        )
    import lpips  # type: ignore[import-not-found]
    import torch

    model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        own = model.net.state_dict()
        layers = {name: name.split(".", 1)[1] for name in own}  # slice2.3.weight -> 3.weight
        model.net.load_state_dict({k: state[f"features.{layers[k]}"] for k in own})
    except Exception as error:  # torch raises many types on damaged files
        raise CheckpointError(
            f"{weights} holds no AlexNet ({type(error).__name__}): get the file again"
        ) from error
    return model.eval()

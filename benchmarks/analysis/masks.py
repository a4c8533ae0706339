"""Mean IoU of masks from latents and from decoded pixels, both out of the same files.

    picture -> TorchCodec.encode -> file -> y_hat -> segmentation head -> mask
                                         '---> g_s -> 8 bit RGB -> network on pixels -> mask

Counts are kept for each picture, so that intervals come from resampling pictures, and the
difference of the two is taken over the same draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from promptcodec.coding.head_config import PIXELS, SEGMENT
from promptcodec.coding.predict import classes_of
from promptcodec.errors import UsageError
from promptcodec.evaluation.bootstrap import MIN_PICTURES, RESAMPLES, Estimate
from promptcodec.evaluation.perceptual import QualityMetrics
from promptcodec.io.atomic import write_atomically
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads import predict
from promptcodec.models.heads.checkpoint import Head
from promptcodec.models.heads.iou import mean_iou
from promptcodec.models.tensors import from_pixels

METRICS = QualityMetrics(("psnr", "ms-ssim"))


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks of one file.

    Args:
        latents: mask of the head, uint8 (H, W).
        decoded: mask of the network on decoded pixels, uint8 (H, W).
        rgb: decoded pixels, uint8 (H, W, 3).
    """

    latents: np.ndarray
    decoded: np.ndarray
    rgb: np.ndarray


def read_masks(codec: TorchCodec, data: bytes, *, pixels: Head) -> Masks:
    """Both masks of a stream.

    Args:
        codec: codec with a segmentation head.
        data: stream.
        pixels: network on decoded pixels.
    Raises:
        UsageError: `pixels` has another task, another input, or other classes than the head.
    """
    check_pixels(pixels, labels=codec.labels(SEGMENT))
    found = codec.segment(data)
    rgb = np.array(codec.decode(data).convert("RGB"))
    x = from_pixels(rgb[None], codec.device)
    with torch.inference_mode():
        scores = predict.scores(pixels, x, lmbda=[1.0])
    height, width = found.shape
    return Masks(found, classes_of(scores[0].cpu().numpy(), height=height, width=width), rgb)


def check_pixels(pixels: Head, *, labels: Sequence[str]) -> None:
    """Refuse a network that cannot be compared with a head.

    Raises:
        UsageError: it has another task, another input, or other classes.
    """
    config = pixels.config
    if config.task != SEGMENT or config.reads != PIXELS:
        raise UsageError(
            f"the network to compare with is to {config.task} {config.reads}; need one to segment "
            "pixels, of a recipe with input decoded"
        )
    if config.labels != tuple(labels):
        raise UsageError(
            f"the network on pixels has {len(config.labels)} labels and the head {len(labels)}, "
            "not all the same; train both on the same set"
        )


@dataclass(frozen=True)
class Overlap:
    """Mean IoU of two ways over a set, 0 to 1.

    Args:
        ours: IoU of the first.
        others: IoU of the second.
        difference: `ours` minus `others`, over the same resamples.
    """

    ours: Estimate
    others: Estimate
    difference: Estimate


def compare_overlap(ours: np.ndarray, others: np.ndarray, *, resamples: int = RESAMPLES) -> Overlap:
    """Mean IoU of both, and of their difference, with percentile intervals over pictures.

    Args:
        ours: `confusion_counts` of each picture, (pictures, classes, classes).
        others: of the same pictures in the same order; may lie between two integers.
        resamples: number of resamples.
    """
    pictures = len(ours)
    draws = np.random.default_rng(0).integers(0, pictures, (resamples, pictures))
    # Counts of draws times counts of pixels: the sums of all resamples as one product.
    often = np.stack([np.bincount(draw, minlength=pictures) for draw in draws])
    drawn = [mean_iou(np.tensordot(often, counts, axes=1)) for counts in (ours, others)]
    values = [float(mean_iou(counts.sum(axis=0))) for counts in (ours, others)]

    def estimate(value: float, samples: np.ndarray) -> Estimate:
        few = pictures < MIN_PICTURES
        return Estimate(value) if few else Estimate.of_draws(value, samples)

    return Overlap(
        ours=estimate(values[0], drawn[0]),
        others=estimate(values[1], drawn[1]),
        difference=estimate(values[0] - values[1], drawn[0] - drawn[1]),
    )


def stream_of(
    codec: TorchCodec,
    picture: torch.Tensor,
    name: str,
    *,
    rate: float,
    gain_steps: float = 0.0,
    folder: Path,
) -> bytes:
    """The file of a picture, uint8 (3, H, W), kept in a folder of the weights that wrote it."""
    own = hashlib.sha256(b"".join((codec.base_hash, *codec.at(rate).hashes))).hexdigest()[:16]
    path = folder / own / f"rate-{rate:g}{gain_steps:+g}" / f"{name}.pc"
    if not path.exists():
        array = picture.permute(1, 2, 0).numpy()
        data = codec.encode(array, rate_index=rate, gain_steps=gain_steps, graphics="never")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    return path.read_bytes()


def quality_of(pairs: Sequence[tuple[torch.Tensor, np.ndarray]]) -> dict[str, float | None]:
    """Means of PSNR, dB, and MS-SSIM; None where a picture is too small for it.

    Args:
        pairs: originals, uint8 (3, H, W), and what was decoded, uint8 (H, W, 3).
    """
    measured = [METRICS(x.permute(1, 2, 0).numpy(), rgb) for x, rgb in pairs]
    similar = [each.ms_ssim for each in measured if each.ms_ssim is not None]
    whole = len(similar) == len(measured)
    return {
        "psnr": float(np.mean([each.psnr for each in measured])),
        "ms_ssim": float(np.mean(similar)) if whole else None,
    }

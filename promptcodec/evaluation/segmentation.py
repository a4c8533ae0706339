"""Mean IoU of masks from latents and from decoded pixels, both out of the same files.

    picture -> TorchCodec.encode -> file -> y_hat -> segmentation head -> mask
                                         '---> g_s -> 8 bit RGB -> network on pixels -> mask

Counts are kept for each picture, so that intervals come from resampling pictures, and the
difference of the two is taken over the same draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from promptcodec.coding.predict import classes_of
from promptcodec.errors import UsageError
from promptcodec.evaluation.bootstrap import CONFIDENCE, MIN_PICTURES, RESAMPLES, Estimate
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads import predict
from promptcodec.models.heads.checkpoint import Head
from promptcodec.models.heads.config import PIXELS, SEGMENT
from promptcodec.models.heads.iou import mean_iou


@dataclass(frozen=True, eq=False)
class Masks:
    """What one file gives.

    Args:
        latents: mask of the head, uint8 (H, W).
        decoded: mask of the network on pixels, likewise.
    """

    latents: np.ndarray
    decoded: np.ndarray


def read_masks(codec: TorchCodec, data: bytes, *, pixels: Head) -> Masks:
    """Both masks of a stream.

    Args:
        codec: with a segmentation head.
        data: the stream.
        pixels: network on decoded pixels.
    Raises:
        UsageError: `pixels` does something else, or has other classes than the head.
    """
    check_pixels(pixels, labels=codec.labels(SEGMENT))
    found = codec.segment(data)
    rgb = np.array(codec.decode(data).convert("RGB"))
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None].to(codec.device).float() / 255.0
    with torch.inference_mode():
        scores = predict.scores(pixels, x, lmbda=[1.0])
    height, width = found.shape
    return Masks(found, classes_of(scores[0].cpu().numpy(), height=height, width=width))


def check_pixels(pixels: Head, *, labels: Sequence[str]) -> None:
    """Refuse a network that cannot be compared with a head.

    Raises:
        UsageError: it does something else, or has other classes.
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
    """Mean IoU over a set, 0 to 1.

    Args:
        latents: of the head.
        decoded: of the network on decoded pixels.
        difference: the first less the second, over the same draws.
    """

    latents: Estimate
    decoded: Estimate
    difference: Estimate


def compare_overlap(
    latents: np.ndarray, decoded: np.ndarray, *, resamples: int = RESAMPLES
) -> Overlap:
    """Mean IoU of both, and of their difference, with percentile intervals over pictures.

    Args:
        latents: `confusion_counts` of each picture, (pictures, classes, classes).
        decoded: of the same pictures in the same order.
        resamples: draws.
    """
    pictures = len(latents)
    draws = np.random.default_rng(0).integers(0, pictures, (resamples, pictures))
    # How often each picture is drawn, times its counts: the sum over a draw as one product.
    often = np.stack([np.bincount(draw, minlength=pictures) for draw in draws])
    drawn = [mean_iou(np.tensordot(often, counts, axes=1)) for counts in (latents, decoded)]
    values = [float(mean_iou(counts.sum(axis=0))) for counts in (latents, decoded)]

    def estimate(value: float, samples: np.ndarray) -> Estimate:
        if pictures < MIN_PICTURES:
            return Estimate(value)
        tails = 50 * (1 - CONFIDENCE), 100 - 50 * (1 - CONFIDENCE)
        low, high = np.percentile(samples, tails)
        return Estimate(value, float(low), float(high))

    return Overlap(
        latents=estimate(values[0], drawn[0]),
        decoded=estimate(values[1], drawn[1]),
        difference=estimate(values[0] - values[1], drawn[0] - drawn[1]),
    )

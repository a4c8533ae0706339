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

from promptcodec.coding.head_config import PIXELS, SEGMENT
from promptcodec.coding.predict import classes_of
from promptcodec.errors import UsageError
from promptcodec.evaluation.bootstrap import MIN_PICTURES, RESAMPLES, Estimate
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads import predict
from promptcodec.models.heads.checkpoint import Head
from promptcodec.models.heads.iou import mean_iou
from promptcodec.models.tensors import from_pixels


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks of one file.

    Args:
        latents: mask of the head, uint8 (H, W).
        decoded: mask of the network on decoded pixels, uint8 (H, W).
    """

    latents: np.ndarray
    decoded: np.ndarray


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
    return Masks(found, classes_of(scores[0].cpu().numpy(), height=height, width=width))


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
    """Mean IoU over a set, 0 to 1.

    Args:
        latents: IoU of the head.
        decoded: IoU of the network on decoded pixels.
        difference: `latents` minus `decoded`, over the same resamples.
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
        resamples: number of resamples.
    """
    pictures = len(latents)
    draws = np.random.default_rng(0).integers(0, pictures, (resamples, pictures))
    # Counts of draws times counts of pixels: the sums of all resamples as one product.
    often = np.stack([np.bincount(draw, minlength=pictures) for draw in draws])
    drawn = [mean_iou(np.tensordot(often, counts, axes=1)) for counts in (latents, decoded)]
    values = [float(mean_iou(counts.sum(axis=0))) for counts in (latents, decoded)]

    def estimate(value: float, samples: np.ndarray) -> Estimate:
        few = pictures < MIN_PICTURES
        return Estimate(value) if few else Estimate.of_draws(value, samples)

    return Overlap(
        latents=estimate(values[0], drawn[0]),
        decoded=estimate(values[1], drawn[1]),
        difference=estimate(values[0] - values[1], drawn[0] - drawn[1]),
    )

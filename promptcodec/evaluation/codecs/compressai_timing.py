"""CompressAI's mbt2018-mean with random weights, the peer of our speed, at the rate next to ours.

Trained weights cannot be downloaded everywhere, and time does not depend on their values with one
exception: the time of entropy coding grows with the bits. The latents of a random model are almost
zero. The last layers are therefore rescaled until the spread of the latents, and of the predicted
scales, gives the published rate of a quality. The quality also decides the width of the network.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor, nn

from promptcodec.evaluation.anchors import published

if TYPE_CHECKING:
    from compressai.models import MeanScaleHyperprior  # type: ignore[import-not-found]

NAME = "mbt2018-mean"
PIXELS_PER_LATENT = 16 * 16
SPREAD = 100.0  # widest over narrowest channel
TRIALS, TOLERANCE = 12, 0.02  # of the search for the rate of whole streams
HOW = (
    "random weights; per channel, the last layer of g_a is rescaled so that the latents of the "
    f"measured picture are centred with log-spaced deviations (a factor of {SPREAD:g} from the "
    "narrowest to the widest channel), the last layer of h_s predicts these deviations, and h_a's "
    "last layer gives z a deviation of 2; all are scaled until the streams take the rate that is "
    "published for the quality, and the quality is that whose rate is nearest to ours"
)


def published_rates() -> dict[int, float]:
    """Published bits per pixel on Kodak by quality, 1 to 8."""
    return dict(enumerate(published()[NAME]["bpp"], 1))


def nearest_quality(bpp: float) -> int:
    """Quality whose published rate is nearest on the logarithm.

    Args:
        bpp: our rate on the measured picture.
    """
    rates = published_rates()
    return min(rates, key=lambda quality: abs(math.log(rates[quality] / bpp)))


def build(x: Tensor, *, quality: int, seed: int = 0) -> "MeanScaleHyperprior":
    """The peer, ready to compress.

    Args:
        x: picture of the measurement, (1, 3, H, W) in [0, 1], multiples of 64 px.
        quality: quality, 1 to 8.
        seed: seed of the weights.
    """
    from compressai.zoo import mbt2018_mean  # type: ignore[import-not-found]

    torch.manual_seed(seed)
    model = mbt2018_mean(quality=quality, pretrained=False).eval()
    with torch.inference_mode(False), torch.no_grad():
        model.h_s[-1].weight.mul_(1e-3)
        wanted = of_latents = published_rates()[quality]
        for _ in range(TRIALS):
            _spread(model, x, of_latents)
            model.update(force=True)
            strings = model.compress(x)["strings"]
            found = 8 * sum(len(group[0]) for group in strings) / (x.shape[2] * x.shape[3])
            if abs(found / wanted - 1.0) < TOLERANCE:
                break
            of_latents *= wanted / found
    return model


def _spread(model: "MeanScaleHyperprior", x: Tensor, bpp: float) -> None:
    """Give the latents of a picture, and their predicted scales, the deviations of a rate."""
    deviations = torch.from_numpy(typical_deviations(model.M, bpp=bpp)).float()
    _rescale(model.g_a[-1], model.g_a(x), deviations)
    _rescale(model.h_a[-1], model.h_a(model.g_a(x)), torch.full((model.N,), 2.0))
    model.h_s[-1].bias.copy_(torch.cat([deviations, torch.zeros(model.M)]))


def typical_deviations(channels: int, *, bpp: float) -> np.ndarray:
    """Deviation of each latent channel; together they give a rate in bits per pixel."""
    shape = np.logspace(0.0, 1.0, channels, base=SPREAD)

    def excess(narrowest: float) -> float:
        return _gaussian_bits(narrowest * shape).sum() / PIXELS_PER_LATENT - bpp

    return np.asarray(brentq(excess, 1e-4, 10.0)) * shape


def _gaussian_bits(deviations: np.ndarray) -> np.ndarray:
    """Entropy of a rounded Gaussian, bits."""
    edges = np.arange(-400.5, 401.0)
    p = np.diff(norm.cdf(edges[None] / deviations[:, None]), axis=1)
    return -(p * np.log2(np.maximum(p, 1e-300))).sum(axis=1)


def _rescale(layer: nn.Conv2d, output: Tensor, deviations: Tensor) -> None:
    """Rescale each output channel of a convolution to zero mean and a deviation, in place."""
    factor = deviations / output.std(dim=(0, 2, 3)).clamp_min(1e-12)
    assert layer.bias is not None  # the model builds all of its layers with one
    layer.weight.mul_(factor[:, None, None, None])
    layer.bias.copy_(factor * (layer.bias - output.mean(dim=(0, 2, 3))))

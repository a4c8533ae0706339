"""CompressAI's mbt2018-mean at quality 4 with random weights, the peer of our speed.

Trained weights cannot be downloaded everywhere, and time does not depend on their values with one
exception: the time of entropy coding grows with the bits. The latents of a random model are almost
zero. The last layers are therefore rescaled until the spread of the latents, and of the predicted
scales, gives the published 0.46 bpp.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor, nn

if TYPE_CHECKING:
    from compressai.models import MeanScaleHyperprior  # type: ignore[import-not-found]

PUBLISHED_BPP = 0.46  # quality 4 on Kodak, promptcodec/evaluation/anchors.json
PIXELS_PER_LATENT = 16 * 16
SPREAD = 100.0  # widest over narrowest channel
HOW = (
    "random weights; per channel, the last layer of g_a is rescaled so that the latents of the "
    f"measured picture are centred with log-spaced deviations (a factor of {SPREAD:g} from the "
    "narrowest to the widest channel) whose entropy is the published "
    f"{PUBLISHED_BPP} bpp, the last layer of h_s predicts these deviations, and h_a's last layer "
    "gives z a deviation of 2"
)


def build(x: Tensor, *, seed: int = 0) -> "MeanScaleHyperprior":
    """The peer, ready to compress.

    Args:
        x: picture of the measurement, (1, 3, H, W) in [0, 1], multiples of 64 px.
        seed: seed of the weights.
    """
    from compressai.zoo import mbt2018_mean  # type: ignore[import-not-found]

    torch.manual_seed(seed)
    model = mbt2018_mean(quality=4, pretrained=False).eval()
    deviations = torch.from_numpy(typical_deviations(model.M)).float()
    with torch.inference_mode(False), torch.no_grad():
        _rescale(model.g_a[-1], model.g_a(x), deviations)
        y = model.g_a(x)
        _rescale(model.h_a[-1], model.h_a(y), torch.full((model.N,), 2.0))
        last = model.h_s[-1]
        last.weight.mul_(1e-3)
        last.bias.copy_(torch.cat([deviations, torch.zeros(model.M)]))
    model.update(force=True)
    return model


def typical_deviations(channels: int) -> np.ndarray:
    """Deviation of each latent channel; together they give the published rate."""
    shape = np.logspace(0.0, 1.0, channels, base=SPREAD)

    def excess(narrowest: float) -> float:
        return _gaussian_bits(narrowest * shape).sum() / PIXELS_PER_LATENT - PUBLISHED_BPP

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

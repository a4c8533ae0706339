"""Entropy tables fitted to the symbols of a trained codec.

Training uses Gaussian likelihoods; the rounded residuals of one table index have a sharper peak and
heavier tails. Tables from counts on training pictures make files smaller at no cost in decoding.
They are symmetric, so that they suit other gains as well.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.entropy.tables import (
    NUM_SCALES,
    Z_MIN,
    gaussian_probabilities,
    quantise_frequencies,
    scales,
    table_range,
)
from promptcodec.coding.gains import FRACTION_BITS, Gains
from promptcodec.config import TILE_STRIDE
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.tensors import arrays_of, pad
from promptcodec.training.optim import device_of

GAIN_STEPS = (-6, -3, 0, 3, 6)  # the tables are for neighbouring rates too
TABLE_PICTURES = 500  # number of training pictures for the counts
PRIOR_COUNT = 1000.0  # weight of the Gaussian prior, in symbols


@torch.inference_mode()
def fit_tables(
    model: CodecModel, pictures: Iterable[Tensor], *, gains: Gains | None = None
) -> EntropyTables:
    """Count symbols over pictures and mix the counts with the model's own densities.

    Args:
        model: trained codec.
        pictures: training pictures, uint8 (3, H, W).
        gains: gains of the one rate of the tables; None is a range of rates.
    """
    model.freeze_scale_path()
    y_counts = [np.zeros(2 * table_range(i) + 2) for i in range(NUM_SCALES)]
    z_counts = np.zeros((model.config.z_channels, 256))
    channels = model.config.latent_channels
    served = [Gains.constant(channels, steps << FRACTION_BITS) for steps in GAIN_STEPS]
    if gains is not None:
        served = [gains]
    device = device_of(model)
    for number, picture in enumerate(pictures):
        x = pad(picture[None].to(device).float() / 255.0, TILE_STRIDE)
        written = arrays_of(model.analyse(x, gains=served[number % len(served)]))
        z, indexes, symbols = [
            part[0] for part in (written.z_hat, written.indexes, written.symbols)
        ]
        for index in np.unique(indexes[indexes > 0]):
            radius = table_range(int(index))
            part = symbols[indexes == index]
            coded = np.where(np.abs(part) > radius, 2 * radius + 1, part + radius)
            y_counts[index] += np.bincount(coded, minlength=2 * radius + 2)
        for channel, values in enumerate(z):
            z_counts[channel] += np.bincount(values.ravel() - Z_MIN, minlength=256)
    z_prior = model.hyperprior.prior.integer_probabilities().cpu().numpy()
    return EntropyTables(
        y=tuple(_y_table(i, counts) for i, counts in enumerate(y_counts)),
        z=np.stack([_mix(c, p) for c, p in zip(z_counts, z_prior, strict=True)]),
    )


def _y_table(index: int, counts: np.ndarray) -> np.ndarray:
    inside = (counts[:-1] + counts[-2::-1]) / 2
    prior = gaussian_probabilities(float(scales()[index]), table_range(index))
    return _mix(np.append(inside, counts[-1]), prior)


def _mix(counts: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return quantise_frequencies(counts + PRIOR_COUNT * prior)

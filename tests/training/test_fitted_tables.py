"""Fitted tables are valid tables and code what they were fitted to in fewer bits."""

import numpy as np
import torch
import torch.nn.functional as F

from promptcodec.coding.entropy.rans import estimate_bits
from promptcodec.coding.entropy.tables import TOTAL
from promptcodec.coding.gains import Gains
from promptcodec.models.checkpoint import density_tables
from promptcodec.models.codec import TorchCodec
from promptcodec.models.tensors import arrays_of
from promptcodec.training.entropy_tables import fit_tables


def test_fitted_tables_are_valid_and_cheaper(tiny_codec: TorchCodec) -> None:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(10, 3, 8, 8, generator=generator)
    smooth = F.interpolate(coarse, size=128, mode="bicubic").clamp(0, 1)
    pictures = (smooth * 255).round().to(torch.uint8)
    model = tiny_codec.model
    fitted = fit_tables(model, pictures)
    for table in (*fitted.y, *fitted.z):
        assert table.min() >= 1 and int(table.sum()) == TOTAL
    for table in fitted.y:
        differs = np.flatnonzero(table[:-1] != table[-2::-1])
        assert len(differs) <= 2  # the rounding remainder may stand on one side of a flat top
    gains = Gains.constant(model.config.latent_channels)
    latents = model.analyse(pictures[:1].float() / 255, gains=gains)
    own = sum(estimate_bits(arrays_of(latents), density_tables(model)))
    assert sum(estimate_bits(arrays_of(latents), fitted)) < own

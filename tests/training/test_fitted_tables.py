"""Fitted tables are valid tables and code what they were fitted to in fewer bits."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from promptcodec.coding.entropy.rans import estimate_bits
from promptcodec.coding.entropy.tables import TOTAL
from promptcodec.coding.gains import FRACTION_BITS, Gains
from promptcodec.models.checkpoint import density_tables
from promptcodec.models.codec import TorchCodec
from promptcodec.models.tensors import arrays_of
from promptcodec.training.entropy_tables import GAIN_STEPS, fit_tables


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


def test_tables_count_what_the_codec_writes(tiny_codec: TorchCodec) -> None:
    """Symbols of a picture as it is coded: levels over 255, padded, at the gains in turn."""
    model = tiny_codec.model
    pictures = torch.randint(0, 256, (2, 3, 40, 72), generator=torch.Generator().manual_seed(2))
    seen = []
    analyse = model.analyse

    def record(x: torch.Tensor, **options: Gains) -> Any:
        seen.append((x, options["gains"]))
        return analyse(x, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "analyse", record)
        fit_tables(model, pictures.to(torch.uint8))
    for (x, gains), picture, steps in zip(seen, pictures, GAIN_STEPS, strict=False):
        assert x.shape == (1, 3, 64, 128)
        assert torch.equal(x[0, :, :40, :72], picture / 255)
        assert gains.log_gains.tolist() == [steps << FRACTION_BITS] * len(gains.log_gains)

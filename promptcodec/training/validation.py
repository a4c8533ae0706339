"""Rate and distortion on held-out pictures, with rounding as in coding."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from promptcodec.coding.adapter import RateAdapter
from promptcodec.coding.distortion import psnr_of
from promptcodec.coding.entropy.rans import EntropyTables, estimate_bits
from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents
from promptcodec.config import TILE_STRIDE
from promptcodec.models.checkpoint import density_tables
from promptcodec.models.codec_model import Adapter, CodecModel
from promptcodec.models.tensors import arrays_of, crop, pad, to_pixels
from promptcodec.training.losses import MS_SSIM_WEIGHT, TrainingMetric, ms_ssim
from promptcodec.training.optim import device_of

SAMPLES = 3


@dataclass(frozen=True)
class Validation:
    """Means over the held-out pictures.

    Args:
        bpp_estimate: ideal code length of y and z under the integer tables, bits per pixel.
        z_bpp: part of z in it.
        psnr: PSNR over RGB, dB.
        mse: mean squared error of x in [0, 1].
        ms_ssim: MS-SSIM; None if it is not the metric.
    """

    bpp_estimate: float
    z_bpp: float
    psnr: float
    mse: float
    ms_ssim: float | None = None

    def figures(self, *, lmbda: float) -> dict[str, float]:
        """Figures by name, with the loss at a rate-distortion weight."""
        distortion = 255.0**2 * self.mse
        if self.ms_ssim is not None:
            distortion = MS_SSIM_WEIGHT * (1.0 - self.ms_ssim)
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return {**known, "loss": self.bpp_estimate + lmbda * distortion}


def transmit(
    model: CodecModel, x: Tensor, *, gains: Gains, adapter: Adapter | None
) -> tuple[Latents[Tensor], Tensor]:
    """Latents of pictures as they are coded, and the pixels that they decode to.

    Args:
        model: model of a base with a frozen scale path.
        x: RGB in [0, 1], (B, 3, H, W).
        gains: per-channel gains of the rate.
        adapter: adapter of the rate; None is the base.
    Returns:
        Latents of padded pictures, and levels of 8 bits as RGB in [0, 1], (B, 3, H, W).
    """
    latents = model.analyse(pad(x, TILE_STRIDE), gains=gains, adapter=adapter)
    x_hat = crop(model.synthesise(latents.y_hat, adapter=adapter), *x.shape[2:]).clamp(0, 1)
    return latents, torch.round(255.0 * x_hat) / 255.0


@torch.inference_mode()
def validate(
    model: CodecModel,
    pictures: list[Tensor],
    *,
    samples: Path | None,
    adapter: RateAdapter | None = None,
    tables: EntropyTables | None = None,
    gain_steps: int = 0,
    metric: TrainingMetric = "psnr",
) -> Validation:
    """Measure a codec on held-out pictures and write the first few side by side.

    Args:
        model: model of a base; its scale path is frozen here if `tables` is None.
        pictures: held-out pictures, uint8 (3, H, W).
        samples: folder for pictures side by side; None writes none.
        adapter: adapter of a rate; None is the base.
        tables: entropy tables of a finished base; None uses the densities of the model.
        gain_steps: shift of every log-gain, in 1/256 of a table step; positive is finer.
        metric: metric of the loss.
    """
    if tables is None:
        model.freeze_scale_path()
        tables = density_tables(model)
    gains = adapter.gains if adapter else Gains.constant(model.config.latent_channels)
    gains = gains.shifted(gain_steps)
    prompts = adapter.network if adapter else None
    rows: list[tuple[float, ...]] = []
    device = device_of(model)
    for number, picture in enumerate(pictures):
        x = picture[None].to(device).float() / 255.0
        height, width = x.shape[2:]
        latents, x_hat = transmit(model, x, gains=gains, adapter=prompts)
        y_bits, z_bits = estimate_bits(arrays_of(latents), tables)
        mse = float((x_hat - x).square().mean())
        psnr = psnr_of(255.0**2 * mse * x.numel(), x.numel())
        more = (float(ms_ssim(x_hat, x)),) if metric == "ms-ssim" else ()
        row = (y_bits + z_bits) / (height * width), z_bits / (height * width), psnr, mse, *more
        rows.append(row)
        if samples is not None and number < SAMPLES:
            samples.mkdir(parents=True, exist_ok=True)
            both = torch.cat([x, x_hat], dim=3)
            Image.fromarray(to_pixels(both)[0]).save(samples / f"{number}.png")
    return Validation(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))

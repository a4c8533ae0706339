"""What a step minimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from promptcodec.models.codec_model import TrainingOutput


class Loss(Protocol):
    """What one step minimises, and what a log says of it."""

    @property
    def loss(self) -> Tensor:
        """Scalar that is differentiated."""
        ...

    def figures(self) -> dict[str, float]:
        """What to log, by name."""
        ...


@dataclass(frozen=True)
class RateDistortion:
    """One step's loss and its parts; every field a scalar tensor.

    Args:
        loss: what is differentiated.
        bpp: bits per pixel of y and z.
        z_bpp: bits per pixel of z.
        mse: mean squared error of x in [0, 1].
    """

    loss: Tensor
    bpp: Tensor
    z_bpp: Tensor
    mse: Tensor

    @property
    def psnr(self) -> Tensor:
        """dB, from the batch's mean squared error."""
        return -10.0 * torch.log10(self.mse.clamp_min(1e-10))

    def figures(self) -> dict[str, float]:
        """Loss, rates and PSNR."""
        return {
            "loss": round(float(self.loss.detach()), 4),
            "bpp": round(float(self.bpp), 4),
            "z_bpp": round(float(self.z_bpp), 4),
            "psnr": round(float(self.psnr), 3),
        }


def rate_distortion(
    output: TrainingOutput,
    x: Tensor,
    *,
    lmbda: float,
    random_gain_weight: float = 0.0,
) -> RateDistortion:
    """bpp + lmbda * 255^2 * mse.

    Args:
        output: of `CodecModel.forward`; without x_hat the rate alone counts.
        x: the pictures, (B, 3, H, W) in [0, 1].
        lmbda: rate-distortion weight.
        random_gain_weight: weight of the rate at a random gain.
    """
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    mse = x.new_zeros(())
    if output.x_hat is not None:
        mse = (output.x_hat.float() - x).square().mean()
    y_bpp, z_bpp = output.y_bits / pixels, output.z_bits / pixels
    loss = y_bpp + z_bpp + lmbda * 255.0**2 * mse
    loss = loss + random_gain_weight * output.random_gain_bits / pixels
    return RateDistortion(
        loss=loss, bpp=(y_bpp + z_bpp).detach(), z_bpp=z_bpp.detach(), mse=mse.detach()
    )

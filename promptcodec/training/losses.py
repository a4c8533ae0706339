"""Losses of a training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from promptcodec.coding.distortion import psnr_of
from promptcodec.models.codec_model import TrainingOutput


class Loss(Protocol):
    """Loss of one step and the figures that a log has of it."""

    @property
    def loss(self) -> Tensor:
        """Scalar that is differentiated."""
        ...

    def figures(self) -> dict[str, float]:
        """Figures for the log, by name."""
        ...


@dataclass(frozen=True)
class RateDistortion:
    """One step's loss and its parts; every field a scalar tensor.

    Args:
        loss: bpp + lambda * 255^2 * mse.
        bpp: bits per pixel of y and z.
        z_bpp: bits per pixel of z.
        mse: mean squared error of x in [0, 1].
    """

    loss: Tensor
    bpp: Tensor
    z_bpp: Tensor
    mse: Tensor

    def figures(self) -> dict[str, float]:
        """Loss, rates and PSNR."""
        rates = rounded(loss=self.loss, bpp=self.bpp, z_bpp=self.z_bpp)
        return {**rates, "psnr": round(psnr(self.mse), 3)}


@dataclass(frozen=True)
class ClassificationLoss:
    """One step's loss of a classifier or a segmentation head; scalars.

    Args:
        loss: cross-entropy, nats.
        accuracy: share of the pictures, or of the labelled pixels, whose largest logit is right.
    """

    loss: Tensor
    accuracy: Tensor

    def figures(self) -> dict[str, float]:
        """Loss and accuracy."""
        return rounded(loss=self.loss, accuracy=self.accuracy)


def rounded(**values: Tensor) -> dict[str, float]:
    """Scalars as a log has them, to four decimals."""
    return {name: round(float(value.detach()), 4) for name, value in values.items()}


def psnr(mse: Tensor) -> float:
    """PSNR, dB, of a mean squared error of x in [0, 1]."""
    return psnr_of(255.0**2 * float(mse.detach()), 1)


def rate_distortion(
    output: TrainingOutput,
    x: Tensor,
    *,
    lmbda: float,
    random_gain_weight: float = 0.0,
) -> RateDistortion:
    """bpp + lmbda * 255^2 * mse.

    Args:
        output: output of `CodecModel.forward`; without x_hat only the rate counts.
        x: pictures, (B, 3, H, W) in [0, 1].
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

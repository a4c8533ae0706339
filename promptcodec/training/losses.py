"""Losses of a training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from promptcodec.coding.distortion import MS_SSIM_SIDE, psnr_of
from promptcodec.errors import ConfigError
from promptcodec.models.codec_model import TrainingOutput

TrainingMetric = Literal["psnr", "ms-ssim"]
MS_SSIM_WEIGHT = 1280.0
"""Weight of 1 - MS-SSIM over lambda, whose distortion is in squared levels.

CompressAI trains pairs of models of about one rate: 2.4 and 0.0018, 16.64 and 0.013, 220 and 0.18
among others, which are 1,222 to 1,333 apart (docs of its zoo, read in 2026)."""


def check_metric(metric: str, *, crop: int) -> None:
    """Refuse a metric that is unknown, or has no value for a crop of that side, px.

    Raises:
        ConfigError: it is one of these.
    """
    if metric not in get_args(TrainingMetric):
        known = " or ".join(get_args(TrainingMetric))
        raise ConfigError(f"metric is {metric!r}; need {known}")
    if metric == "ms-ssim" and crop < MS_SSIM_SIDE:
        raise ConfigError(f"metric ms-ssim needs crops of {MS_SSIM_SIDE} px; crop is {crop}")


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
        loss: bpp + lambda * 255^2 * mse, or bpp + lambda * `MS_SSIM_WEIGHT` * (1 - ms_ssim).
        bpp: bits per pixel of y and z.
        z_bpp: bits per pixel of z.
        mse: mean squared error of x in [0, 1].
        ms_ssim: MS-SSIM; None if the loss does not need it.
    """

    loss: Tensor
    bpp: Tensor
    z_bpp: Tensor
    mse: Tensor
    ms_ssim: Tensor | None = None

    def figures(self) -> dict[str, float]:
        """Loss, rates, PSNR and, where it is known, MS-SSIM."""
        rates = rounded(loss=self.loss, bpp=self.bpp, z_bpp=self.z_bpp)
        more = {} if self.ms_ssim is None else rounded(ms_ssim=self.ms_ssim)
        return {**rates, "psnr": round(psnr(self.mse), 3), **more}


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
    metric: TrainingMetric = "psnr",
) -> RateDistortion:
    """bpp + lmbda * 255^2 * mse, or what replaces it for a metric.

    Args:
        output: output of `CodecModel.forward`; without x_hat only the rate counts.
        x: pictures, (B, 3, H, W) in [0, 1].
        lmbda: rate-distortion weight.
        random_gain_weight: weight of the rate at a random gain.
        metric: metric of the distortion.
    """
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    mse, similarity = x.new_zeros(()), None
    if output.x_hat is not None:
        mse = (output.x_hat.float() - x).square().mean()
    y_bpp, z_bpp = output.y_bits / pixels, output.z_bits / pixels
    distortion = 255.0**2 * mse
    if metric == "ms-ssim" and output.x_hat is not None:
        similarity = ms_ssim(output.x_hat, x)
        distortion = MS_SSIM_WEIGHT * (1.0 - similarity)
    loss = y_bpp + z_bpp + lmbda * distortion
    loss = loss + random_gain_weight * output.random_gain_bits / pixels
    return RateDistortion(
        loss=loss,
        bpp=(y_bpp + z_bpp).detach(),
        z_bpp=z_bpp.detach(),
        mse=mse.detach(),
        ms_ssim=None if similarity is None else similarity.detach(),
    )


def ms_ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """MS-SSIM over RGB, a scalar in float32, mean over pictures.

    Args:
        x_hat: reconstructions, (B, 3, H, W), about [0, 1].
        x: pictures of that shape in [0, 1], at least `MS_SSIM_SIDE` a side.
    Source: Wang, Simoncelli and Bovik 2003, by pytorch-msssim.
    """
    from pytorch_msssim import ms_ssim as similarity

    with torch.autocast(x.device.type, enabled=False):
        return similarity(x_hat.float(), x.float(), data_range=1.0)

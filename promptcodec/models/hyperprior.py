"""Hyperprior: side information z, the means it predicts, and the exact integer scale path.

    y -> h_a -> z -> round, clip to int8 -> z_hat -+-> h_means -> features for the context (float)
                                                   '-> scale path -> table indexes (exact)

Source: Minnen et al. 2018, arXiv:1809.02736; Balle et al. 2019 for integer decoding. Differs: the
scales come from z_hat alone, so that the entropy decoder depends on no result in floating point.
"""

from __future__ import annotations

import copy
import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.entropy.tables import NUM_SCALES, Z_MAX, Z_MIN
from promptcodec.coding.scale_path import (
    ACTIVATION_BITS,
    ACTIVATION_MAX,
    INDEX_BITS,
    INDEX_ROOM,
    WEIGHT_BITS,
)
from promptcodec.config import CodecConfig


def conv3x3(channels: int, out: int, *, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution with replicate padding.

    A training crop has only a few elements at 1/64. With zero padding nearly all of them are next
    to a border, unlike those of a whole picture, and the indexes of whole pictures are wrong.
    """
    return nn.Conv2d(channels, out, 3, stride=stride, padding=1, padding_mode="replicate")


class ChannelUnits(nn.Module):
    """Latents in units of their channel's deviation; deviations differ a hundredfold.

    Args:
        channels: M.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.units: Tensor
        self.register_buffer("units", torch.ones(channels))

    def forward(self, y: Tensor) -> Tensor:
        """Map y (B, M, h, w) to the same shape."""
        return y / self.units[:, None, None]


class ScalePath(nn.Module):
    """Map from z_hat to table indexes, trained in float and run in integers.

    Convolutions at 1/64, 1/32 and 1/16 with ReLU and pixel shuffles, the last one 1x1.
    `integer_indexes` computes on integer-valued float64 tensors; every sum stays below 2^53, so it
    is exact on any device, with any thread count, batch and order of summation.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        width = config.scale_channels
        self.layers = nn.ModuleList(
            [
                conv3x3(config.z_channels, 4 * width),
                conv3x3(width, 4 * width),
                nn.Conv2d(width, config.latent_channels, 1),
            ]
        )
        last = self.convolutions[-1]
        last.bias = nn.Parameter(torch.full_like(cast("Tensor", last.bias), 1.5))  # sigma 1.4

    def forward(self, z_hat: Tensor) -> Tensor:
        """Table index as a real number, for training.

        Args:
            z_hat: rounded z, (B, Cz, h, w).
        Returns:
            Unclamped index, (B, M, 4 h, 4 w).
        """
        x = z_hat
        limit = ACTIVATION_MAX / (1 << ACTIVATION_BITS)
        for layer in self.layers[:-1]:
            x = F.pixel_shuffle(torch.clamp(layer(x), 0.0, limit), 2)
        return self.layers[-1](x) * (1 << INDEX_BITS)

    @property
    def convolutions(self) -> list[nn.Conv2d]:
        """The layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]

    @torch.no_grad()
    def quantised(self) -> list[tuple[Tensor, Tensor]]:
        """Integer weights (out, in * k * k) and biases (out,) of each layer, int64."""
        result = []
        for layer in self.convolutions:
            weight = torch.round(layer.weight.double() * (1 << WEIGHT_BITS)).flatten(1)
            bias = torch.round(
                cast("Tensor", layer.bias).double() * (1 << (WEIGHT_BITS + ACTIVATION_BITS))
            )
            result.append((weight.to(torch.int64), torch.round(bias).to(torch.int64)))
        return result


def integer_indexes(z_hat: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Run the scale path in exact arithmetic.

    Args:
        z_hat: integers in [-128, 127], (B, Cz, h, w), any dtype.
        layers: integer weights and biases as float64 tensors, from `ScalePath.quantised`.
    Returns:
        Unclamped table indexes, (B, M, 4 h, 4 w), int32.
    """
    with torch.autocast(z_hat.device.type, enabled=False):
        x = z_hat.to(torch.float64) * (1 << ACTIVATION_BITS)
        half = float(1 << (WEIGHT_BITS - 1))
        for weight, bias in layers[:-1]:
            x = torch.floor((_exact_conv(x, weight, bias) + half) / (1 << WEIGHT_BITS))
            x = F.pixel_shuffle(x.clamp_(0.0, ACTIVATION_MAX), 2)
        weight, bias = layers[-1]
        bits = WEIGHT_BITS + ACTIVATION_BITS - INDEX_BITS
        x = torch.floor((_exact_conv(x, weight, bias) + float(1 << (bits - 1))) / (1 << bits))
        return x.clamp_(-INDEX_ROOM, 2 * NUM_SCALES).to(torch.int32)


def _exact_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """1x1 or 3x3 convolution as a matrix product.

    Kernels that transform their input (Winograd, FFT) would not be exact.
    """
    b, c, h, w = x.shape
    if weight.shape[1] == c:
        columns = x.flatten(2)
    else:
        columns = F.unfold(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3)  # (B, C * 9, h * w)
    return (weight @ columns + bias[:, None]).view(b, -1, h, w)


class FactorizedPrior(nn.Module):
    """Density of each channel of z: a mixture of logistics, symmetric tails, no quantiles.

    Args:
        channels: Cz.
        components: number of logistics in a mixture.
    """

    def __init__(self, channels: int, *, components: int = 3) -> None:
        super().__init__()
        spread = torch.linspace(-4.0, 4.0, components)
        self.means = nn.Parameter(spread.repeat(channels, 1))
        self.log_scales = nn.Parameter(torch.full((channels, components), math.log(3.0)))
        self.logits = nn.Parameter(torch.zeros(channels, components))

    def cdf(self, x: Tensor) -> Tensor:
        """P(Z <= x) for x of shape (Cz, n)."""
        weights = torch.softmax(self.logits, dim=1)[:, :, None]
        scale = torch.exp(-self.log_scales)[:, :, None]
        return (weights * torch.sigmoid((x[:, None] - self.means[:, :, None]) * scale)).sum(1)

    def forward(self, z: Tensor) -> Tensor:
        """Probability of the unit interval around each element, shape of z (B, Cz, h, w)."""
        b, c, h, w = z.shape
        flat = z.transpose(0, 1).reshape(c, -1)
        p = self.cdf(flat + 0.5) - self.cdf(flat - 0.5)
        return p.view(c, b, h, w).transpose(0, 1)

    @torch.no_grad()
    def integer_probabilities(self) -> Tensor:
        """P(Z = k) for k in -128..127 with the tails in the ends, (Cz, 256) float64."""
        edges = torch.arange(Z_MIN, Z_MAX, dtype=torch.float64) + 0.5
        cdf = copy.deepcopy(self).cpu().double().cdf(edges.expand(len(self.means), -1))
        ends = torch.zeros(len(self.means), 1, dtype=torch.float64)
        return torch.diff(torch.cat([ends, cdf, ends + 1.0], dim=1), dim=1)


class Hyperprior(nn.Module):
    """h_a, the prior of z, the float mean path and the scale path.

    Args:
        config: the architecture.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        m, n = config.latent_channels, config.hyper_channels
        self.h_a = nn.Sequential(
            ChannelUnits(m),
            conv3x3(m, n) if config.hyper_kernel == 3 else nn.Conv2d(m, n, 1),
            nn.ReLU(),
            conv3x3(n, n, stride=2),
            nn.ReLU(),
            conv3x3(n, config.z_channels, stride=2),
        )
        self.prior = FactorizedPrior(config.z_channels)
        self.h_means = nn.Sequential(
            conv3x3(config.z_channels, 4 * n),
            nn.PixelShuffle(2),
            nn.ReLU(),
            conv3x3(n, 4 * n),
            nn.PixelShuffle(2),
            nn.ReLU(),
        )
        self.scale_path = ScalePath(config)
        # Kaiming initialisation, so that |z| exceeds one half; otherwise z_hat is all zero.
        with torch.no_grad():
            for layer in self.h_a:
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                    nn.init.zeros_(cast("Tensor", layer.bias))

"""Stem of a head: from latents to pixels, or to features that a trained network has at 1/4 to 1/16.

    y_hat -> standardise, scale and shift by the rate
          -+-> Linear -----------------------------------------------------+-> pixel shuffle
           '-> Linear, LayerNorm, + rate -> blocks -> LayerNorm -> Linear -'

The first map is fitted by least squares: pixels are nearly linear in latents, and a network that
reads them then begins where it was. The second way begins at zero. Its blocks, at 1/16, are those
of ConvNeXt (Liu et al. 2022, arXiv:2201.03545): x + MLP(LayerNorm(depthwise 7x7)). The rate is an
input, as adapters of the rates change the latents; scale and shift of channels are those of Perez
et al. 2017, arXiv:1709.07871.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.head_config import FILM_WIDTH, LOG_MIDDLE
from promptcodec.coding.trunk import COARSE, STEM_KERNEL, StemConfig, TrunkConfig
from promptcodec.config import LAMBDAS

RIDGE = 0.03  # regularisation of the least squares, for each position


class ConvBlock(nn.Module):
    """One block, channels last.

    Args:
        width: channels.
        hidden: hidden channels of the MLP.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            width, width, STEM_KERNEL, padding=STEM_KERNEL // 2, groups=width
        )
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, h, w, C) to the same shape."""
        y = self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.mlp(self.norm(y))


class LatentStem(nn.Module):
    """Latents to what a trunk reads.

    Args:
        channels: M.
        config: blocks of the stem.
        trunk: part of a network that reads the output.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, channels: int, config: StemConfig, trunk: TrunkConfig) -> None:
        super().__init__()
        width = config.width
        self.finer = COARSE // trunk.begins
        outputs = trunk.channels * self.finer**2
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))
        last = nn.Linear(FILM_WIDTH, 2 * channels)
        self.film = nn.Sequential(nn.Linear(1, FILM_WIDTH), nn.GELU(), last)
        self.embed = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width)
        self.rate = nn.Linear(1, width)
        self.direct = nn.Linear(channels, outputs)
        self.blocks = nn.ModuleList(ConvBlock(width, config.hidden) for _ in range(config.blocks))
        self.last_norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, outputs)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(self.last.weight)

    @torch.no_grad()
    def fit(self, y_hat: Sequence[Tensor], features: Sequence[Tensor]) -> None:
        """Standardise the latents, and fit the linear map by ridge regression.

        Args:
            y_hat: latents of batches, (B, M, h, w) each.
            features: what the trunk should read of them, (B, C, H, W) each.
        """
        known = torch.cat([_positions(x) for x in y_hat]).double()
        self.center.copy_(known.mean(dim=0))
        self.spread.copy_(known.std(dim=0).clamp_min(1e-3))
        known = (known - self.center) / self.spread
        wanted = [F.pixel_unshuffle(x, self.finer) for x in features]
        target = torch.cat([_positions(x) for x in wanted]).double()
        center = target.mean(dim=0)
        ridge = RIDGE * len(known) * torch.eye(known.shape[1]).to(known)
        solved = torch.linalg.solve(known.T @ known + ridge, known.T @ (target - center))
        self.direct.weight.copy_(solved.T)
        self.direct.bias.copy_(center)

    def forward(self, y_hat: Tensor, lmbda: Tensor) -> Tensor:
        """Pixels or features, (B, C, r h, r w), r = 16 / begins.

        Args:
            y_hat: latents, (B, M, h, w).
            lmbda: rate-distortion weight of each picture's rate, (B,), clamped to the ladder.
        """
        x = (y_hat - self.center[:, None, None]) / self.spread[:, None, None]
        x = x.permute(0, 2, 3, 1)
        rate = (torch.log(lmbda.clamp(LAMBDAS[0], LAMBDAS[-1])) - LOG_MIDDLE)[:, None]
        scale, shift = self.film(rate)[:, None, None, :].chunk(2, dim=-1)
        x = x * (1.0 + scale) + shift
        tokens = self.norm(self.embed(x)) + self.rate(rate)[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens)
        x = self.direct(x) + self.last(self.last_norm(tokens))
        x = x.permute(0, 3, 1, 2)
        return F.pixel_shuffle(x, self.finer) if self.finer > 1 else x


def _positions(x: Tensor) -> Tensor:
    """All positions of a batch (B, C, H, W), (N, C)."""
    return x.movedim(1, -1).flatten(0, -2)

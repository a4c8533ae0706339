"""Stem of a head: from latents to pixels, or to features that a trained network has at 1/4 to 1/16.

    y_hat -> standardise, scale and shift by the rate
          -+-> Linear -----------------------------------------------------+-> pixel shuffle
           '-> Linear, LayerNorm, + rate -> blocks -> LayerNorm -> Linear -'

The first map is fitted by least squares: pixels are nearly linear in latents, and a network that
reads them then begins where it was. The second way begins at zero. Its blocks, at 1/16, are those
of ConvNeXt (Liu et al. 2022, arXiv:2201.03545): x + MLP(LayerNorm(depthwise 7x7)).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.trunk import COARSE, STEM_KERNEL, StemConfig, TrunkConfig
from promptcodec.models.heads.classifier import LatentStem
from promptcodec.models.heads.swin_stages import initialise

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


class FeatureStem(LatentStem):
    """Latents to what a trunk reads.

    Args:
        latent_channels: M.
        config: blocks of the stem.
        trunk: part of a network that reads the output.
    """

    def __init__(self, latent_channels: int, config: StemConfig, trunk: TrunkConfig) -> None:
        super().__init__(latent_channels, config.width, film=True)
        self.finer = COARSE // trunk.begins
        outputs = trunk.channels * self.finer**2
        self.direct = nn.Linear(latent_channels, outputs)
        self.blocks = nn.ModuleList(
            ConvBlock(config.width, config.hidden) for _ in range(config.blocks)
        )
        self.last_norm = nn.LayerNorm(config.width)
        self.last = nn.Linear(config.width, outputs)
        initialise(self)
        self.start_plain()
        nn.init.zeros_(self.last.weight)

    @torch.no_grad()
    def fit(self, y_hat: Sequence[Tensor], features: Sequence[Tensor]) -> None:
        """Standardise the latents, and fit the linear map by ridge regression.

        Args:
            y_hat: latents of batches, (B, M, h, w) each.
            features: what the trunk should read of them, (B, C, H, W) each.
        """
        self.standardise(torch.cat([_positions(x) for x in y_hat]).T[None, :, :, None])
        known = torch.cat([_positions(x) for x in y_hat]).double()
        known = (known - self.center) / self.spread
        wanted = [F.pixel_unshuffle(x, self.finer) for x in features]
        target = torch.cat([_positions(x) for x in wanted]).double()
        center = target.mean(dim=0)
        ridge = RIDGE * len(known) * torch.eye(known.shape[1]).to(known)
        solved = torch.linalg.solve(known.T @ known + ridge, known.T @ (target - center))
        self.direct.weight.copy_(solved.T)
        self.direct.bias.copy_(center)

    def forward(self, y_hat: Tensor, lmbda: Tensor) -> Tensor:
        """Pixels or features, (B, C, r h, r w), r = 16 / begins; see `LatentClassifier.forward`."""
        x, rate = self.shaded(y_hat, lmbda)
        tokens = self.tokens(x, rate)
        for block in self.blocks:
            tokens = block(tokens)
        x = self.direct(x) + self.last(self.last_norm(tokens))
        x = x.permute(0, 3, 1, 2)
        return F.pixel_shuffle(x, self.finer) if self.finer > 1 else x


def _positions(x: Tensor) -> Tensor:
    """All positions of a batch (B, C, H, W), (N, C)."""
    return x.movedim(1, -1).flatten(0, -2)

"""Feature aggregation: features of a head as an additional input of g_s.

    y_hat (B, M, h, w) --- Linear M -> width ----------.
    features at 1/16 (D) - Linear D -> 3 width, GELU -> concatenated -> Linear -> + y_hat -> g_s

Off by default: a decoder with it has to run the head up to 1/16. The last map is initialised to
zero, so that a fresh module is the identity. The control without features has maps of y_hat alone
with as many parameters; the gain of the features is measured against it.

Source: Bai et al. 2022, arXiv:2112.09300. Differs: features of a trained network, added to y_hat.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from promptcodec.coding.trunk import COARSE
from promptcodec.models.heads.network import Classifier

WIDTH = 32  # channels that y_hat adds; the features have three times as many


class Aggregation(nn.Module):
    """Correction that is added to y_hat before g_s.

    Args:
        latent_channels: M.
        channels: channels D of the head's features at 1/16.
        features: whether to use them; False is the control with as many parameters.
    """

    def __init__(self, latent_channels: int, channels: int, *, features: bool = True) -> None:
        super().__init__()
        self.features, part = features, 3 * WIDTH
        inputs = channels if features else latent_channels
        if not features:
            # Equal numbers of parameters: part * D in and part * M out.
            part = round(part * (channels + latent_channels) / (2 * latent_channels))
        self.own = nn.Linear(latent_channels, WIDTH)
        self.other = nn.Linear(inputs, part)
        self.out = nn.Linear(WIDTH + part, latent_channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, y_hat: Tensor, features: Tensor | None) -> Tensor:
        """Corrected y_hat, (B, M, h, w).

        Args:
            y_hat: latents, (B, M, h, w).
            features: features of the head, (B, D, h, w); None for the control.
        """
        x = y_hat.permute(0, 2, 3, 1)
        other = x if features is None else features.permute(0, 2, 3, 1)
        added = self.out(nn.functional.gelu(torch.cat([self.own(x), self.other(other)], dim=-1)))
        return y_hat + added.permute(0, 3, 1, 2)


def features_at_16(head: Classifier, y_hat: Tensor, lmbda: Tensor) -> Tensor:
    """Features of a head at 1/16, (B, D, h, w); arguments as `HeadNetwork.levels`."""
    return head.levels(y_hat, lmbda)[COARSE]

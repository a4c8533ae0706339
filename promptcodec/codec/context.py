"""Context models: what the means of y know beyond the hyperprior.

A context model walks through groups of latents. For each group it predicts the means from the
hyperprior's features and from the groups that are already reconstructed, and asks its caller to
reconstruct the group. Training, encoding and decoding run the same walk; only the caller differs.
A context model never touches the scales: it cannot change what the entropy decoder reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.config import CodecConfig

Reconstruct = Callable[[Tensor], Tensor]  # means (B, M, h, w) -> y_hat (B, M, h, w)


class ContextModel(nn.Module, ABC):
    """Predicts the means of y, group by group."""

    @abstractmethod
    def forward(self, features: Tensor, reconstruct: Reconstruct) -> tuple[Tensor, Tensor]:
        """Walk through all groups.

        Args:
            features: mean features of the hyperprior, (B, N, h, w).
            reconstruct: maps means to y_hat; only the current group's elements of it are used.
        Returns:
            mu and y_hat, both (B, M, h, w).
        """


class NoContext(ContextModel):
    """Means from the hyperprior alone; one group."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.means = nn.Conv2d(config.hyper_channels, config.latent_channels, 1)

    def forward(self, features: Tensor, reconstruct: Reconstruct) -> tuple[Tensor, Tensor]:
        """See `ContextModel.forward`."""
        mu = self.means(features)
        return mu, reconstruct(mu)


class CheckerboardContext(ContextModel):
    """Two groups: the anchors of a checkerboard, then the rest from their reconstructed neighbours.

    Source: He et al. 2021, arXiv:2103.15306. Differs: drives the means only.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        n, m, c = config.hyper_channels, config.latent_channels, config.context_channels
        self.neighbours = nn.Conv2d(m, c, 3, padding=1)
        self.fuse = nn.Conv2d(n + c, n + c, 1)
        self.means = nn.Conv2d(n + c, m, 1)

    def forward(self, features: Tensor, reconstruct: Reconstruct) -> tuple[Tensor, Tensor]:
        """See `ContextModel.forward`."""
        b, _, h, w = features.shape
        anchor = checkerboard(h, w, features.device)
        empty = features.new_zeros(b, self.neighbours.out_channels, h, w)
        mu = self._predict(features, empty)
        known = torch.where(anchor, reconstruct(mu), 0.0)
        # Seen from a non-anchor, anchors stand at odd distances only, and the rest is zero.
        mu = torch.where(anchor, mu, self._predict(features, self.neighbours(known)))
        return mu, torch.where(anchor, known, reconstruct(mu))

    def _predict(self, features: Tensor, context: Tensor) -> Tensor:
        x = torch.cat([features, context], dim=1)
        return self.means(F.relu(self.fuse(x)))


def checkerboard(height: int, width: int, device: torch.device) -> Tensor:
    """Mask (h, w), True at anchors: (0, 0) is none, (0, 1) is one."""
    rows = torch.arange(height, device=device)[:, None]
    return (rows + torch.arange(width, device=device)) % 2 == 1


def build_context(config: CodecConfig) -> ContextModel:
    """The context model that `config.context` names."""
    return {"none": NoContext, "checkerboard": CheckerboardContext}[config.context](config)

"""Context models: means of y from the hyperprior and from latents that are coded before.

A context model goes through groups of latents. For each group it predicts the means from the
hyperprior's features and the groups that are already reconstructed, and calls `reconstruct` for
the group. Encoding and decoding differ only in `reconstruct`. Training is one parallel pass over
given latents. In a codec that writes files the scales never depend on the context model, so the
symbols that are read do not depend on it either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.config import CodecConfig
from promptcodec.models.groups import Grouping, join_halves, split_halves

# (group, mu, shift) -> y_hat, all packed as in `groups`; shift of the table index or None
Reconstruct = Callable[[int, Tensor, "Tensor | None"], Tensor]


class ContextModel(nn.Module, ABC):
    """Predicts the means of y, group by group.

    Args:
        grouping: groups of latents.
    """

    def __init__(self, grouping: Grouping) -> None:
        super().__init__()
        self.grouping = grouping

    @abstractmethod
    def forward(self, features: Tensor, reconstruct: Reconstruct) -> Tensor:
        """Predict and reconstruct all groups in order.

        Args:
            features: mean features of the hyperprior, (B, N, h, w).
            reconstruct: function of the number of a group, its means and the shift of its table
                indexes (None if the scales come from z alone); returns y_hat of the group.
        Returns:
            y_hat, (B, M, h, w).
        """

    def prepare(self, y: Tensor) -> None:
        """Set statistics of an untrained model from latents (B, M, h, w)."""

    def freeze(self) -> None:
        """Compute constants of these weights once, for coding."""

    def parallel(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
        """Means of all groups in one pass over given latents.

        Args:
            features: mean features of the hyperprior, (B, N, h, w).
            y: latents in place of y_hat, (B, M, h, w); noisy y in training.
        Returns:
            mu, and the shift of the table indexes or None; both (B, M, h, w).
        """
        known = self.grouping.split(y)
        means: list[Tensor] = []

        def take(group: int, mu: Tensor, shift: Tensor | None) -> Tensor:
            means.append(mu)
            return known[group]

        self(features, take)
        return self.grouping.join(means), None


class NoContext(ContextModel):
    """Means from the hyperprior alone; one group."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(Grouping((config.latent_channels,)))
        self.means = nn.Conv2d(config.hyper_channels, config.latent_channels, 1)

    def forward(self, features: Tensor, reconstruct: Reconstruct) -> Tensor:
        """See `ContextModel.forward`."""
        return reconstruct(0, self.means(features), None)


class CheckerboardContext(ContextModel):
    """Two groups: the anchors of a checkerboard, then the rest from their reconstructed neighbours.

    Source: He et al. 2021, arXiv:2103.15306. Differs: drives the means only.
    """

    def __init__(self, config: CodecConfig) -> None:
        n, m, c = config.hyper_channels, config.latent_channels, config.context_channels
        super().__init__(Grouping((m,), halves=2))
        self.neighbours = nn.Conv2d(m, c, 3, padding=1)
        self.fuse = nn.Conv2d(n + c, n + c, 1)
        self.means = nn.Conv2d(n + c, m, 1)
        self.y_scale: Tensor
        self.register_buffer("y_scale", torch.ones(m))

    def forward(self, features: Tensor, reconstruct: Reconstruct) -> Tensor:
        """See `ContextModel.forward`."""
        n = features.shape[1]
        of_features, of_context = self.fuse.weight[:, :n], self.fuse.weight[:, n:]
        first, second = split_halves(F.conv2d(features, of_features, self.fuse.bias))
        anchors = reconstruct(0, self.means(F.relu(first)), None)
        # The other half is not coded yet; zeros in its place.
        known = join_halves(anchors, torch.zeros_like(anchors))
        _, seen = split_halves(self.neighbours(known / self.y_scale[:, None, None]))
        second = second + F.conv2d(seen, of_context)
        rest = reconstruct(1, self.means(F.relu(second)), None)
        return join_halves(anchors, rest)

    @torch.no_grad()
    def prepare(self, y: Tensor) -> None:
        """See `ContextModel.prepare`: the size of each channel."""
        self.y_scale.copy_(y.transpose(0, 1).flatten(1).std(dim=1).clamp_min(0.5))

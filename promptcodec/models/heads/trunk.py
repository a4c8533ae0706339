"""Part of a trained network, from features at some resolution, or from pixels, to classes."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class Trunk(nn.Module):
    """Stages of a network.

    Attributes:
        channels: channels of features by px between two of them, from 1/8 on, those that enter
            included.
    """

    channels: dict[int, int]

    @abstractmethod
    def levels(self, x: Tensor) -> dict[int, Tensor]:
        """Features (B, C, H, W) of each resolution by px between two of them, the last of each."""

    @abstractmethod
    def judge(self, x: Tensor) -> Tensor:
        """Logits, (B, classes), from the coarsest features."""

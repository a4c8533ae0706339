"""Heads: stages of a trained network, to classify and to segment, on latents or on pixels.

    y_hat -> stem -> pixels or features -.
    x (3, H, W) -> normalised -----------+-> stages -> mean over the grid -> logits
                                         '-> features at 1/8 and 1/16 -> pyramid -> scores

A classifier is the network from where it begins; a segmentation head ends at 1/16.
Source: Torfason et al. 2018, arXiv:1803.06131 (heads on latents). Differs: stages of a trained
network, one head for all rates.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from promptcodec.coding.head_config import HeadConfig
from promptcodec.coding.trunk import TrunkConfig
from promptcodec.models.heads.inverted_residuals import InvertedTrunk
from promptcodec.models.heads.latent_stem import LatentStem
from promptcodec.models.heads.pyramid import Pyramid
from promptcodec.models.heads.trunk import Trunk


class PixelStem(nn.Module):
    """Pixels as the network is used to them.

    Args:
        trunk: the network.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, trunk: TrunkConfig) -> None:
        super().__init__()
        for name, values in (("mean", trunk.mean), ("spread", trunk.spread)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, x: Tensor, lmbda: Tensor) -> Tensor:
        """Normalised pixels, (B, 3, H, W), of x in [0, 1]; pixels have no rate."""
        return (x - self.mean) / self.spread


class HeadNetwork(nn.Module):
    """A stem and the stages that follow.

    Args:
        config: configuration of the head.
        classes: number of classes of the network's own end; None leaves it out.
    """

    def __init__(self, config: HeadConfig, *, classes: int | None) -> None:
        super().__init__()
        self.config, self.begins = config, config.trunk.begins
        self.stem: LatentStem | PixelStem = PixelStem(config.trunk)
        if config.stem is not None:
            self.stem = LatentStem(config.latent_channels, config.stem, config.trunk)
        self.trunk = build_trunk(config.trunk, classes=classes)

    def levels(self, x: Tensor, lmbda: Tensor) -> dict[int, Tensor]:
        """Features (B, C, H, W) by px between two of them, the last of each resolution.

        Args:
            x: latents, (B, M, h, w), or RGB in [0, 1], (B, 3, H, W), of any size.
            lmbda: rate-distortion weight of each picture's rate, (B,); unused with pixels.
        """
        entered = self.stem(x, lmbda)
        return {self.begins: entered, **self.trunk.levels(entered)}

    @abstractmethod
    def judge(self, levels: dict[int, Tensor]) -> Tensor:
        """Scores of what `levels` returns."""

    def forward(self, x: Tensor, lmbda: Tensor) -> Tensor:
        """Scores, (B, classes, ...); arguments as `levels`."""
        return self.judge(self.levels(x, lmbda))


class Classifier(HeadNetwork):
    """Logits, (B, classes), from latents or pixels.

    Args:
        config: configuration of the head.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config, classes=len(config.labels))

    def judge(self, levels: dict[int, Tensor]) -> Tensor:
        """Logits, (B, classes), of the coarsest features."""
        return self.trunk.judge(levels[max(levels)])


class Segmenter(HeadNetwork):
    """Scores of every class at 1/8 of the picture's resolution, from latents or pixels.

    Those of latents (B, M, h, w) are (B, classes, 2 h, 2 w), those of pixels (B, classes, H / 8,
    W / 8), rounded up.

    Args:
        config: configuration of the head.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config, classes=None)
        self.pyramid = Pyramid(self.trunk.channels, len(config.labels))

    def judge(self, levels: dict[int, Tensor]) -> Tensor:
        """Scores of the features at 1/8 and 1/16."""
        return self.pyramid(levels)


def build_trunk(config: TrunkConfig, *, classes: int | None) -> Trunk:
    """The stages of a config; without classes what follows them is left out."""
    if config.is_timm:
        # Here, so that only heads that need timm import it.
        from promptcodec.models.heads.timm_trunk import TimmTrunk

        return TimmTrunk(config, classes=classes)
    return InvertedTrunk(config, classes=classes)

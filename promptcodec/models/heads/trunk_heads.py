"""Heads with stages of a trained network: to classify and to segment, on latents or on pixels.

    y_hat -> stem -> pixels or features -.
    x (3, H, W) -> normalised -----------+-> stages -> mean over the grid -> logits
                                         '-> features at 1/8, 1/16, 1/32 -> pyramid -> scores

A classifier is the network from where it begins; a segmentation head has no classes of the network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.head_config import DILATIONS, LATENTS, HeadConfig
from promptcodec.coding.predict import SCORE_STRIDE
from promptcodec.coding.trunk import COARSE, FINE, PYRAMID_WIDTH, TrunkConfig
from promptcodec.models.heads.feature_stem import FeatureStem
from promptcodec.models.heads.inverted_residuals import InvertedTrunk
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


class TrunkHead(nn.Module):
    """A stem and the stages that follow.

    Args:
        config: configuration of the head.
        classes: number of classes of the network's own end; None leaves it out.
    """

    def __init__(self, config: HeadConfig, *, classes: int | None) -> None:
        super().__init__()
        trunk = config.trunk
        assert trunk is not None
        self.config, self.begins = config, trunk.begins
        if config.reads == LATENTS:
            assert config.stem is not None
            self.stem = FeatureStem(config.latent_channels, config.stem, trunk)
        else:
            self.stem = PixelStem(trunk)
        self.trunk = build_trunk(trunk, classes=classes)

    def levels(self, x: Tensor, lmbda: Tensor) -> dict[int, Tensor]:
        """Features (B, C, H, W) by px between two of them, the last of each resolution.

        Args:
            x: latents, (B, M, h, w), or RGB in [0, 1], (B, 3, H, W), of any size.
            lmbda: rate-distortion weight of each picture's rate, (B,); unused with pixels.
        """
        entered = self.stem(x, lmbda)
        return {self.begins: entered, **self.trunk.levels(entered)}


class TrunkClassifier(TrunkHead):
    """Logits from latents or pixels.

    Args:
        config: configuration of the head.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config, classes=len(config.labels))

    def forward(self, x: Tensor, lmbda: Tensor) -> Tensor:
        """Logits, (B, classes); arguments as `levels`."""
        return self.judge(self.levels(x, lmbda))

    def judge(self, levels: dict[int, Tensor]) -> Tensor:
        """Logits, (B, classes), of the coarsest features."""
        return self.trunk.judge(levels[max(levels)])


class TrunkSegmenter(TrunkHead):
    """Scores of every class at 1/8 of the picture's resolution, from latents or pixels.

    Args:
        config: configuration of the head.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config, classes=None)
        self.pyramid = LevelPyramid(self.trunk.channels, len(config.labels))

    def forward(self, x: Tensor, lmbda: Tensor) -> Tensor:
        """Scores, (B, classes, 2 h, 2 w), or of pixels (B, classes, H / 8, W / 8), rounded up."""
        return self.pyramid(self.levels(x, lmbda))


class LevelPyramid(nn.Module):
    """Features of several resolutions, summed at 1/8, then four dilated 3x3 convolutions (ASPP).

    Those at 1/16 come by a pixel shuffle, coarser ones by linear interpolation.

    Args:
        channels: channels by px between two features.
        classes: number of classes.
    """

    def __init__(self, channels: dict[int, int], classes: int) -> None:
        super().__init__()
        self.strides = tuple(channels)
        shuffled = {COARSE: (COARSE // FINE) ** 2}
        self.lateral = nn.ModuleList(
            nn.Conv2d(own, PYRAMID_WIDTH * shuffled.get(stride, 1), 1)
            for stride, own in channels.items()
        )
        self.dilated = nn.ModuleList(
            nn.Conv2d(PYRAMID_WIDTH, classes, 3, padding=d, dilation=d) for d in DILATIONS
        )

    def forward(self, levels: dict[int, Tensor]) -> Tensor:
        """Scores, (B, classes, H, W) of the grid at 1/8."""
        rows, columns = levels[self.strides[0]].shape[2:]
        finest = self.strides[0] // FINE
        rows, columns = finest * rows, finest * columns
        total = None
        for stride, lateral in zip(self.strides, self.lateral, strict=True):
            x = lateral(levels[stride])
            if stride == COARSE:
                x = F.pixel_shuffle(x, COARSE // FINE)
            elif stride > COARSE:
                x = F.interpolate(x, scale_factor=stride // SCORE_STRIDE, mode="bilinear")
            x = x[:, :, :rows, :columns]
            total = x if total is None else total + x
        assert total is not None
        x = F.gelu(total)
        return torch.stack([convolve(x) for convolve in self.dilated]).sum(dim=0)


def build_trunk(config: TrunkConfig, *, classes: int | None) -> Trunk:
    """The stages of a config; without classes what follows them is left out."""
    if config.is_timm:
        # Here, so that only heads that need timm import it.
        from promptcodec.models.heads.timm_trunk import TimmTrunk

        return TimmTrunk(config, classes=classes)
    return InvertedTrunk(config, classes=classes)

"""Feature aggregation: features of a head as an additional input of g_s.

    y_hat (B, M, h, w) ----------- Linear M -> D/4 ---.
    first blocks of the head (D) - Linear D -> D/4 each -> concatenated -> Linear -> + y_hat -> g_s

Off by default: a decoder with it has to run the first blocks of a head. The last map is initialised
to zero, so that a fresh module is the identity. The control without features has maps of y_hat
alone with as many parameters; the gain of the features is measured against it.

Source: Bai et al. 2022, arXiv:2112.09300. Differs: blocks of our head, added to y_hat.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from promptcodec.coding.head_config import RESNET
from promptcodec.models.heads.classifier import LatentClassifier

BLOCKS = 3


class Aggregation(nn.Module):
    """Correction that is added to y_hat before g_s.

    Args:
        latent_channels: M.
        width: width D of the head's first stage, a multiple of 4.
        features: whether to use the head's blocks; False is the control with as many parameters.
    """

    def __init__(self, latent_channels: int, width: int, *, features: bool = True) -> None:
        super().__init__()
        part, self.features = width // 4, features
        inputs = width if features else latent_channels
        if not features:
            # Equal numbers of parameters: part * width in, part * M out, for each block.
            part = round(part * (width + latent_channels) / (2 * latent_channels))
        self.own = nn.Linear(latent_channels, width // 4)
        self.others = nn.ModuleList(nn.Linear(inputs, part) for _ in range(BLOCKS))
        self.out = nn.Linear(width // 4 + BLOCKS * part, latent_channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, y_hat: Tensor, read: list[Tensor]) -> Tensor:
        """Corrected y_hat, (B, M, h, w).

        Args:
            y_hat: latents, (B, M, h, w).
            read: outputs of `first_blocks`; unused without features.
        """
        x = y_hat.permute(0, 2, 3, 1)
        inputs = read if self.features else [x] * BLOCKS
        parts = [self.own(x), *(m(i) for m, i in zip(self.others, inputs, strict=True))]
        added = self.out(nn.functional.gelu(torch.cat(parts, dim=-1)))
        return y_hat + added.permute(0, 3, 1, 2)


def first_blocks(head: LatentClassifier, y_hat: Tensor, lmbda: Tensor) -> list[Tensor]:
    """Outputs of the first blocks of a head, (B, h, w, D) each.

    Args:
        head: head with at least `BLOCKS` blocks in its first stage, at 1/16.
        y_hat: latents, (B, M, h, w).
        lmbda: rate-distortion weight of each picture's rate, (B,).
    """
    height, width = y_hat.shape[2:]
    x = head.tokens(y_hat, lmbda)
    channels_first = head.config.body == RESNET
    x = x.permute(0, 3, 1, 2) if channels_first else x
    stage: nn.ModuleList = head.body.stages[0]  # type: ignore[assignment]
    outputs = []
    for block in list(stage)[:BLOCKS]:
        x = block(x)
        shown = x.permute(0, 2, 3, 1) if channels_first else x
        outputs.append(shown[:, :height, :width])
    return outputs

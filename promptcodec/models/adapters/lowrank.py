"""Low-rank updates of the linear maps of a transform.

    weight + up @ down        down (r, inputs * k * k), up (outputs, r), up starts at zero

Prompts change the attention of Swin blocks alone. A finer rate needs details that the maps between
the stages drop before any block. Another kind of pictures needs other blocks. Updates are added to
the weights, at no cost for each pixel.

Source: Hu et al. 2021, arXiv:2106.09685.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from promptcodec.coding.architecture import LinearMap


class LowRankUpdates(nn.Module):
    """One update for each linear map.

    Args:
        maps: linear maps of the transform, in order.
        rank: rank r; 0 has no updates.
    """

    def __init__(self, maps: Sequence[LinearMap], *, rank: int) -> None:
        super().__init__()
        self.maps, self.rank = tuple(maps), rank
        used = self.maps if rank else ()
        sizes = [shape.inputs * shape.kernel**2 for shape in used]
        self.down = nn.ParameterList(
            nn.Parameter(torch.randn(rank, size) * size**-0.5) for size in sizes
        )
        self.up = nn.ParameterList(nn.Parameter(torch.zeros(shape.outputs, rank)) for shape in used)

    def forward(self) -> list[Tensor] | None:
        """Updates, (outputs, inputs, k, k) each; None without any."""
        if not self.rank:
            return None
        return [
            (up @ down).view(shape.outputs, shape.inputs, shape.kernel, shape.kernel)
            for up, down, shape in zip(self.up, self.down, self.maps, strict=True)
        ]

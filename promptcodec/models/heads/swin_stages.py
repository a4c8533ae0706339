"""Swin stages on a grid of tokens, those of Swin-T past its patch embedding.

    (B, H, W, C) -> Swin blocks -> [merge 2x2 tokens -> Swin blocks] ... -> (B, H', W', C')

Source: Liu et al. 2021, arXiv:2103.14030. `timm_names` says where timm keeps the same weights, so
that a pretrained network's stages can be taken over.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from promptcodec.models.swin import SwinBlock


class PatchMerging(nn.Module):
    """Four neighbours into one token: (B, H, W, C) to (B, H/2, W/2, out).

    Args:
        channels: C.
        out: width of the next stage.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Merge; H and W are even."""
        b, h, w, c = x.shape
        # Columns before rows, as timm orders the four.
        x = x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(x.reshape(b, h // 2, w // 2, 4 * c)))


class SwinStages(nn.Module):
    """Stages of Swin blocks, merging between them.

    Args:
        widths: of the stages.
        depths: blocks of each; odd ones shifted.
        window: edge in tokens; the grid of every stage is a multiple of it.
        head_channels: channels of one attention head.
        mlp_ratio: hidden width of an MLP over the stage's width.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        window: int,
        head_channels: int,
        mlp_ratio: float,
    ) -> None:
        super().__init__()
        self.multiple = window << (len(widths) - 1)
        self.merging = nn.ModuleList(PatchMerging(a, b) for a, b in pairwise(widths))
        self.stages = nn.ModuleList(
            nn.ModuleList(
                SwinBlock(
                    width,
                    window=window,
                    shifted=bool(block % 2),
                    head_channels=head_channels,
                    mlp_ratio=mlp_ratio,
                )
                for block in range(depth)
            )
            for width, depth in zip(widths, depths, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, widths[0]), H and W multiples of `multiple`, to the last stage's grid."""
        return self.outputs(x)[-1]

    def outputs(self, x: Tensor) -> list[Tensor]:
        """What every stage gives, (B, H', W', width); see `forward`."""
        found = []
        for number, blocks in enumerate(self.stages):
            if number:
                x = self.merging[number - 1](x)
            for block in blocks:  # type: ignore[union-attr]
                x = block(x)
            found.append(x)
        return found


def timm_names(depths: Sequence[int], *, first: int) -> dict[str, str]:
    """Names of `SwinStages` parameters, each with that of timm's `SwinTransformer`.

    Args:
        depths: blocks of each of our stages.
        first: which of timm's stages our first one is, 2 for the third of Swin-T.
    """
    inside = {
        "norm1": "norm1",
        "norm2": "norm2",
        "attention.qkv": "attn.qkv",
        "attention.proj": "attn.proj",
        "mlp.0": "mlp.fc1",
        "mlp.2": "mlp.fc2",
    }
    names = {}
    for stage, depth in enumerate(depths):
        theirs = f"layers.{first + stage}"
        for block in range(depth):
            for own, other in inside.items():
                for kind in ("weight", "bias"):
                    names[f"stages.{stage}.{block}.{own}.{kind}"] = (
                        f"{theirs}.blocks.{block}.{other}.{kind}"
                    )
            names[f"stages.{stage}.{block}.attention.position_bias"] = (
                f"{theirs}.blocks.{block}.attn.relative_position_bias_table"
            )
        if stage:
            for name in ("norm.weight", "norm.bias", "reduction.weight"):
                names[f"merging.{stage - 1}.{name}"] = f"{theirs}.downsample.{name}"
    return names


def load_timm_stages(stages: SwinStages, state: dict[str, Tensor], *, first: int = 2) -> None:
    """Take the weights of a timm Swin Transformer's stages.

    Args:
        stages: of the same widths, depths and window.
        state: `state_dict()` of timm's network.
        first: which of timm's stages the first one is.
    Raises:
        KeyError: a weight is not there; nothing is changed then.
        RuntimeError: another shape.
    """
    names = timm_names([len(blocks) for blocks in stages.stages], first=first)  # type: ignore[arg-type]
    stages.load_state_dict({own: state[theirs].clone() for own, theirs in names.items()})


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """Weights of a truncated normal, as Swin begins; norms and biases as they are."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

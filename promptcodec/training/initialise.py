"""Start the transforms as the best linear ones: principal components, level by level.

From random weights the transforms spend most of a short training on finding what linear algebra
knows: which 160 of the 768 numbers of a 16x16 block to keep. Here each strided convolution of g_a
starts as the principal components of the 2x2 neighbourhoods below it and g_s as their transpose;
attention and residual blocks start as the identity. Training goes on from a block transform codec.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.codec.hyperprior import INDEX_BITS
from promptcodec.codec.model import CodecModel
from promptcodec.codec.swin import SwinBlock
from promptcodec.codec.tables import SCALE_MIN, SCALE_STEP
from promptcodec.codec.transforms import ResidualBlock
from promptcodec.training.raw_weights import read_start

NOISE = 0.02  # of the orthonormal rows; unused channels need something to grow from


@torch.no_grad()
def initialise_transforms(model: CodecModel, crops: Iterable[Tensor], *, lmbda: float) -> None:
    """Set g_a and g_s to a principal component codec.

    Args:
        model: freshly built.
        crops: RGB in [0, 1], (B, 3, H, W) each, H and W multiples of 16.
        lmbda: rate-distortion weight; sets the step that latents are scaled for.
    """
    pictures = torch.cat(list(crops))
    x = pictures - 0.5
    step = quantisation_step(lmbda)
    for level, down in enumerate(cast("Iterable[nn.Conv2d]", model.g_a.down)):
        up = cast("nn.Conv2d", model.g_s.up[3 - level])
        basis = _principal_components(x, up.in_channels)  # (C_out, C_in, 2, 2)
        deep = down.out_channels  # fewer than all at the last level, where detail goes past
        _set_down(down, basis[:deep])
        _set_up(up, basis)
        if deep < len(basis):
            _set_down(model.g_a.detail, basis[deep:] / step)
            up.weight[:, deep:] *= step
        x = F.conv2d(x, basis, stride=2)
    _set_pointwise(model.g_a.head, 1.0 / step)
    _set_pointwise(model.g_s.stem, step)
    for module in model.modules():
        last: list[nn.Module] = []
        if isinstance(module, SwinBlock):
            last = [module.attention.proj, module.mlp[2]]
        elif isinstance(module, ResidualBlock):
            last = [module.conv2]
        for layer in last:  # a residual branch that adds nothing yet
            nn.init.zeros_(cast("Tensor", layer.weight))
            nn.init.zeros_(cast("Tensor", layer.bias))
    initialise_entropy(model, pictures, parts=("hyperprior", "context"))


@torch.no_grad()
def initialise_entropy(model: CodecModel, crops: Tensor, *, parts: Collection[str]) -> None:
    """Tell a fresh entropy model how much each channel of y varies.

    Args:
        model: with its transforms set.
        crops: RGB in [0, 1], (B, 3, H, W).
        parts: which to set: "hyperprior" (its scale path), "context".
    """
    y = torch.cat([model.g_a(part) for part in crops.split(8)])
    if "context" in parts:
        model.context.prepare(y)
    if "hyperprior" in parts:
        deviation = y.transpose(0, 1).flatten(1).std(dim=1).double().clamp_min(SCALE_MIN)
        index = torch.log(deviation / SCALE_MIN) / SCALE_STEP
        last = model.hyperprior.scale_path.convolutions[-1]
        cast("Tensor", last.bias).copy_((index / (1 << INDEX_BITS)).float())


def warm_start(model: CodecModel, folder: Path, *, parts: Collection[str] = ()) -> list[str]:
    """Copy every weight of a checkpoint that has the same name and shape.

    Args:
        model: freshly built; may be of another architecture.
        folder: of a base checkpoint, or file of weights.
        parts: parts of the model to copy; empty copies all.
    Returns:
        Names of the model's tensors that were not copied.
    Raises:
        CheckpointError: no usable checkpoint there.
    """
    stored = read_start(folder).tensors
    own = model.state_dict()
    fitting = {k: v for k, v in stored.items() if k in own and own[k].shape == v.shape}
    if parts:
        fitting = {k: v for k, v in fitting.items() if k.split(".")[0] in parts}
    model.load_state_dict(own | fitting)
    return sorted(set(own) - set(fitting))


def quantisation_step(lmbda: float) -> float:
    """Step of an orthonormal transform at which bpp + lmbda * 255^2 * mse is least.

    At high rate a coefficient of error D costs 1 / (2 ln 2 D) bits for each unit less of D, and
    weighs lmbda * 255^2 / 3 in the loss; D is step^2 / 12.
    """
    distortion = 3.0 / (2.0 * math.log(2.0) * lmbda * 255.0**2)
    return math.sqrt(12.0 * distortion)


def _principal_components(x: Tensor, count: int) -> Tensor:
    """Rows of an orthonormal basis of 2x2 neighbourhoods, largest variance first."""
    channels = x.shape[1]
    patches = F.unfold(x, 2, stride=2).transpose(1, 2).reshape(-1, 4 * channels).double()
    # No mean is taken off: the constant is a component like the others.
    _, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    rows = vectors.flip(1).T[:count].float()
    basis = torch.zeros(count, 4 * channels)
    basis[: len(rows)] = rows
    return basis.view(count, channels, 2, 2)


def _set_down(layer: nn.Conv2d, basis: Tensor) -> None:
    nn.init.normal_(layer.weight, std=NOISE * layer.weight[0].numel() ** -0.5)
    first = layer.padding[0] if isinstance(layer.padding, tuple) else 0  # tap over the first pixel
    layer.weight[:, :, first : first + 2, first : first + 2] += basis
    nn.init.zeros_(cast("Tensor", layer.bias))


def _set_up(layer: nn.Conv2d, basis: Tensor) -> None:
    """The transpose of `basis`, in the channel order of a pixel shuffle."""
    nn.init.normal_(layer.weight, std=NOISE * layer.weight[0].numel() ** -0.5)
    middle = layer.kernel_size[0] // 2
    rows = basis.permute(1, 2, 3, 0).reshape(-1, basis.shape[0])  # (C_in * 2 * 2, C_out)
    layer.weight[:, :, middle, middle] += rows
    nn.init.zeros_(cast("Tensor", layer.bias))


def _set_pointwise(layer: nn.Conv2d, gain: float) -> None:
    nn.init.normal_(layer.weight, std=gain * NOISE * layer.weight[0].numel() ** -0.5)
    layer.weight[:, :, 0, 0] += gain * torch.eye(layer.out_channels, layer.in_channels)
    nn.init.zeros_(cast("Tensor", layer.bias))

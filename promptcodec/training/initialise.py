"""Initialise the transforms as the best linear ones: principal components, level by level.

From random weights, most of a short training is spent on a problem with a closed solution: which
160 of the 768 numbers of a 16x16 block to keep. Here each strided convolution of g_a starts as the
principal components of the 2x2 neighbourhoods below it and g_s as their transpose; blocks start as
the identity. The initial codec is a block transform codec.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptcodec.coding.architecture import RATIO
from promptcodec.coding.entropy.tables import SCALE_MIN, SCALE_STEP
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.hyperprior import INDEX_BITS, ChannelUnits
from promptcodec.models.stages import ConvolutionBranch, Stage
from promptcodec.models.swin import SwinBlock
from promptcodec.training.growth import grow
from promptcodec.training.raw_weights import read_start

NOISE = 0.02  # norm over that of an orthonormal row; unused channels grow from it


@torch.no_grad()
def initialise_transforms(model: CodecModel, crops: Iterable[Tensor], *, lmbda: float) -> None:
    """Set g_a and g_s to a principal component codec.

    Args:
        model: untrained model.
        crops: RGB in [0, 1], (B, 3, H, W) each, H and W multiples of 16.
        lmbda: rate-distortion weight; determines the quantisation step, the unit of features.
    """
    config = model.config
    g_a, g_s = model.g_a, model.g_s
    pictures = torch.cat(list(crops))
    step = quantisation_step(lmbda)
    cast("Tensor", g_s.step).fill_(step)
    deep, total = config.latent_channels - config.detail_channels, config.latent_channels

    # g_a, level by level. `kernel`: pixel pattern of a feature; `units`: its deviation in steps.
    x, kernel, units = (pictures - 0.5) / step, _identity(3), torch.full((3,), step)
    levels = zip(_convolutions(g_a.down), _stages(g_a.stages), strict=True)
    for number, (down, stage) in enumerate(levels):
        last = number == len(g_a.down) - 1
        basis = _principal_components(x, max(down.out_channels, total * last))
        below = units
        x, kernel = F.conv2d(x, basis, stride=RATIO), _compose(basis, kernel)
        units = _deviation(x)
        kept = basis[: down.out_channels]
        _set_down(down, kept * (below if number else 1.0 / below)[:, None, None])
        stage.units[: len(kept)] = units[: len(kept)]
    latents, y_units = kernel[:total], units[:total]
    _set_block(g_a.head, torch.diag(y_units[:deep])[:, :, None, None])
    if g_a.detail is not None:
        _set_down(g_a.detail, basis[deep:total] * below[:, None, None])
    cast("Tensor", g_s.units).copy_(y_units)
    for module in model.hyperprior.h_a:
        if isinstance(module, ChannelUnits):
            module.units.copy_(y_units)

    # g_s: finer stages have their own components, onto which the patterns of latents are projected.
    x, kernel = (pictures - 0.5) / step, _identity(3)
    levels = zip(_convolutions(g_s.up), _stages(g_s.stages), strict=True)
    finest_first = list(levels)[::-1]
    for number, (up, stage) in enumerate(finest_first):
        if number < len(finest_first) - 1:
            basis = _principal_components(x, up.in_channels)
            x, kernel = F.conv2d(x, basis, stride=RATIO), _compose(basis, kernel)
            units = _deviation(x)
            stage.units[: len(units)] = units
            places = torch.arange(len(basis))
        else:
            basis, units = F.conv2d(latents, kernel, stride=kernel.shape[2]), y_units
            stage.units[:deep] = units[:deep]
            width = g_s.stem.out_channels
            places = torch.cat([torch.arange(deep), width + torch.arange(total - deep)])
        spread = torch.zeros(up.in_channels, *basis.shape[1:])
        spread[places] = basis * units[:, None, None, None]
        _set_up(up, spread)
    _set_block(g_s.stem, torch.diag(y_units[:deep])[:, :, None, None])
    silence_branches(model)
    initialise_entropy(model, pictures, parts=("hyperprior", "context"))


@torch.no_grad()
def initialise_entropy(model: CodecModel, crops: Tensor, *, parts: Collection[str]) -> None:
    """Initialise the entropy model with the standard deviation of each channel of y.

    Args:
        model: model whose transforms are initialised.
        crops: RGB in [0, 1], (B, 3, H, W).
        parts: parts to initialise: "hyperprior" (its scale path), "context".
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
    """Copy the weights of a checkpoint, into larger layers too; new blocks start as the identity.

    Args:
        model: untrained model, of any architecture.
        folder: folder of a base checkpoint, or file of weights.
        parts: parts of the model to copy; empty copies all.
    Returns:
        Names of the model's tensors that were not copied; see `growth` for the others.
    Raises:
        CheckpointError: the folder has no usable checkpoint.
    """
    stored = read_start(folder).tensors
    own = model.state_dict()
    fitting = grow(stored, own)
    if parts:
        fitting = {k: v for k, v in fitting.items() if k.split(".")[0] in parts}
    silence_branches(model, keep=fitting)
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
    """Rows of an orthonormal basis of square neighbourhoods, largest variance first.

    Args:
        x: features, (B, C, H, W).
        count: number of rows, limited to the number of dimensions.
    Returns:
        (rows, C, 2, 2).
    """
    channels = x.shape[1]
    patches = F.unfold(x, RATIO, stride=RATIO).transpose(1, 2)
    patches = patches.reshape(-1, RATIO**2 * channels).double()
    # The mean is not subtracted: the constant is a component like the others.
    _, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    return vectors.flip(1).T[:count].float().view(-1, channels, RATIO, RATIO)


def _set_down(layer: nn.Conv2d, basis: Tensor) -> None:
    first = layer.padding[0] if isinstance(layer.padding, tuple) else 0  # tap over the first pixel
    _set_block(layer, basis, tap=first)


def _set_up(layer: nn.Conv2d, basis: Tensor) -> None:
    """The transpose of `basis`, in the channel order of a pixel shuffle."""
    rows = basis.permute(1, 2, 3, 0).reshape(-1, basis.shape[0])  # (C_in * 2 * 2, C_out)
    _set_block(layer, rows[:, :, None, None], tap=layer.kernel_size[0] // 2)


def _set_block(layer: nn.Conv2d, block: Tensor, *, tap: int = 0, noise: float = NOISE) -> None:
    """Set a part of a convolution; the other weights are noise.

    Args:
        layer: convolution.
        block: weights of its first outputs and inputs, (rows, columns, edge, edge).
        tap: row and column of the kernel where `block` begins.
        noise: standard deviation times the square root of the number of inputs.
    """
    nn.init.normal_(layer.weight, std=noise * layer.weight[0].numel() ** -0.5)
    rows, columns, edge, _ = block.shape
    layer.weight[:rows, :columns, tap : tap + edge, tap : tap + edge] += block
    nn.init.zeros_(cast("Tensor", layer.bias))


def _deviation(x: Tensor) -> Tensor:
    """Root mean square of each channel of (B, C, H, W), (C,), in steps; at least 0.3."""
    return x.square().mean(dim=(0, 2, 3)).sqrt().clamp_min(0.3)


def _convolutions(modules: Iterable[nn.Module]) -> list[nn.Conv2d]:
    return [cast("nn.Conv2d", module) for module in modules]


def _stages(modules: Iterable[nn.Module]) -> list[Stage]:
    return [cast("Stage", module) for module in modules]


def silence_branches(model: nn.Module, *, keep: Collection[str] = ()) -> None:
    """Set the last layers of residual branches to zero, so that blocks start as the identity.

    Args:
        model: model with such blocks.
        keep: names of parameters; the blocks that they are in stay as they are.
    """
    for name, module in model.named_modules():
        if any(other.startswith(f"{name}.") for other in keep if name):
            continue
        last: tuple[nn.Module, ...] = ()
        if isinstance(module, SwinBlock):
            last = (module.attention.proj, module.mlp[2])
        elif isinstance(module, ConvolutionBranch):
            last = (module.last,)
        for parameter in (p for layer in last for p in layer.parameters()):
            nn.init.zeros_(parameter)


def _identity(channels: int) -> Tensor:
    return torch.eye(channels)[:, :, None, None]


def _compose(basis: Tensor, kernel: Tensor) -> Tensor:
    """Pixel pattern of each row of `basis` over a finer level, (rows, 3, edge, edge)."""
    return F.conv_transpose2d(basis, kernel, stride=kernel.shape[2])

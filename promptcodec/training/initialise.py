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

from promptcodec.codec.checkpoint import read_base
from promptcodec.codec.hyperprior import INDEX_BITS, ChannelUnits
from promptcodec.codec.model import CodecModel
from promptcodec.codec.swin import SwinBlock
from promptcodec.codec.tables import SCALE_MIN, SCALE_STEP
from promptcodec.codec.transforms import ResidualBlock
from promptcodec.codec.wide import (
    BottleneckBlock,
    DepthwiseBlock,
    PointwiseBlock,
    WideAnalysis,
    WideSynthesis,
)

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
        if level < 3:
            _set_down(down, basis)
            _set_up(up, basis)
        else:
            # Detail begins where deep latents end, however wide the stage between them is.
            deep, width = model.g_a.head.out_channels, down.out_channels
            detail = basis[deep : deep + model.g_a.detail.out_channels]
            _set_down(down, basis[:width])
            _set_down(model.g_a.detail, detail / step)
            _set_up(
                up, torch.cat([basis[:deep], torch.zeros_like(basis[deep:width]), detail * step])
            )
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
        bias = (index / (1 << INDEX_BITS)).float()
        cast("Tensor", last.bias).copy_(
            bias.repeat_interleave(model.hyperprior.scale_path.shuffle**2)
        )


def warm_start(model: CodecModel, folder: Path, *, parts: Collection[str] = ()) -> list[str]:
    """Copy every weight of a checkpoint that has the same name and shape.

    Args:
        model: freshly built; may be of another architecture.
        folder: of a base checkpoint.
        parts: parts of the model to copy; empty copies all.
    Returns:
        Names of the model's tensors that were not copied.
    Raises:
        CheckpointError: no usable checkpoint there.
    """
    stored = read_base(folder).model.state_dict()
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


def _principal_components(x: Tensor, count: int, ratio: int = 2) -> Tensor:
    """Rows of an orthonormal basis of square neighbourhoods, largest variance first.

    Args:
        x: (B, C, H, W).
        count: rows; no more than there are dimensions are given.
        ratio: edge of a neighbourhood.
    Returns:
        (rows, C, ratio, ratio).
    """
    channels = x.shape[1]
    patches = F.unfold(x, ratio, stride=ratio).transpose(1, 2)
    patches = patches.reshape(-1, ratio**2 * channels).double()
    # No mean is taken off: the constant is a component like the others.
    _, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    return vectors.flip(1).T[:count].float().view(-1, channels, ratio, ratio)


def _set_down(layer: nn.Conv2d, basis: Tensor) -> None:
    nn.init.normal_(layer.weight, std=NOISE * layer.weight[0].numel() ** -0.5)
    first = layer.padding[0] if isinstance(layer.padding, tuple) else 0  # tap over the first pixel
    edge = basis.shape[-1]
    layer.weight[: len(basis), : basis.shape[1], first : first + edge, first : first + edge] += (
        basis
    )
    nn.init.zeros_(cast("Tensor", layer.bias))


def _set_up(layer: nn.Conv2d, basis: Tensor) -> None:
    """The transpose of `basis`, in the channel order of a pixel shuffle."""
    nn.init.normal_(layer.weight, std=NOISE * layer.weight[0].numel() ** -0.5)
    middle = layer.kernel_size[0] // 2
    rows = basis.permute(1, 2, 3, 0).reshape(-1, basis.shape[0])  # (C_in * 2 * 2, C_out)
    layer.weight[: len(rows), : rows.shape[1], middle, middle] += rows
    nn.init.zeros_(cast("Tensor", layer.bias))


def _set_pointwise(layer: nn.Conv2d, gain: float) -> None:
    nn.init.normal_(layer.weight, std=gain * NOISE * layer.weight[0].numel() ** -0.5)
    layer.weight[:, :, 0, 0] += gain * torch.eye(layer.out_channels, layer.in_channels)
    nn.init.zeros_(cast("Tensor", layer.bias))


@torch.no_grad()
def initialise_wide(
    model: CodecModel, crops: Iterable[Tensor], *, lmbda: float, whitening: float = 1.0
) -> None:
    """Set the transforms of `codec.wide` to a principal component codec.

    Args:
        model: freshly built.
        crops: RGB in [0, 1], (B, 3, H, W) each, H and W multiples of 16.
        lmbda: rate-distortion weight; sets the step that latents are scaled for.
        whitening: power of its deviation that a channel of a stage is divided by.
    """
    config = model.config
    g_a, g_s = cast("WideAnalysis", model.g_a), cast("WideSynthesis", model.g_s)
    pictures = torch.cat(list(crops))
    step = quantisation_step(lmbda)
    deep, total = config.latent_channels - config.detail_channels, config.latent_channels

    # g_a: level by level; what a level keeps of the next finer one, and how large it is.
    x, kernel, units = pictures - 0.5, _identity(3), torch.ones(3)
    for number, down in enumerate(cast("Iterable[nn.Conv2d]", g_a.down)):
        last = number == len(g_a.down) - 1
        ratio = g_a.ratios[number]
        basis = _principal_components(x, max(down.out_channels, total * last), ratio)
        below = units
        x, kernel = F.conv2d(x, basis, stride=ratio), _compose(basis, kernel)
        deviation = x.square().mean(dim=(0, 2, 3)).sqrt().clamp_min(1e-4)
        units = deviation**whitening
        kept = basis[: down.out_channels]
        _set_down(down, kept * below[:, None, None] / units[: len(kept), None, None, None])
    y_scale = (deviation[:total] / step).clamp_min(0.3)  # of whole latents
    modules = [g_a, g_s, *(m for m in model.hyperprior.h_a if isinstance(m, ChannelUnits))]
    for module in modules:
        cast("Tensor", module.scale).copy_(y_scale)
    head = torch.diag(units[:deep] / (step * y_scale[:deep]))
    _set_matrix(g_a.head, head)
    if g_a.detail is not None:
        detail = (
            basis[deep:total] * below[:, None, None] / (step * y_scale[deep:, None, None, None])
        )
        _set_down(g_a.detail, detail)
    latents = kernel[:total]  # what each is in pixels, (M, 3, 16, 16)

    # g_s: the stages above the deepest are components of their own; the deepest is projected.
    coefficients, kernel, units = pictures - 0.5, _identity(3), torch.ones(3)
    ratios = g_s.ratios[::-1]
    for number, up in enumerate(reversed(cast("list[nn.Conv2d]", list(g_s.up)))):
        ratio = ratios[number]
        if number == len(ratios) - 1:
            basis = F.conv2d(latents, kernel, stride=latents.shape[2] // ratio)
            rows = basis * (step * y_scale)[:, None, None, None]
            places = torch.cat(
                [torch.arange(deep), g_s.stem.out_channels + torch.arange(total - deep)]
            )
        else:
            basis = _principal_components(coefficients, up.in_channels, ratio)
            coefficients = F.conv2d(coefficients, basis, stride=ratio)
            kernel = _compose(basis, kernel)
            deviation = coefficients.square().mean(dim=(0, 2, 3)).sqrt().clamp_min(1e-4)
            coarse = deviation**whitening
            rows = basis * coarse[:, None, None, None]
            places = torch.arange(len(rows))
        rows = rows / units[: rows.shape[1], None, None]
        wide = torch.zeros(up.in_channels, up.out_channels // ratio**2, ratio, ratio)
        wide[places, : rows.shape[1]] = rows
        _set_up(up, wide)
        if number < len(ratios) - 1:
            units = coarse
    _set_matrix(g_s.stem, torch.eye(g_s.stem.out_channels, deep))

    for shortcut in filter(None, (g_a.shortcut, g_s.shortcut)):
        # The straight line has all of it: the network beside it starts by adding nothing.
        nn.init.zeros_(cast("Tensor", shortcut.bias))
    if g_a.shortcut is not None and g_s.shortcut is not None:
        g_a.shortcut.weight.copy_(latents / (step * y_scale)[:, None, None, None])
        g_s.shortcut.weight.copy_(
            (latents * (step * y_scale)[:, None, None, None]).flatten(1).T[:, :, None, None]
        )
        for layer in filter(None, (g_a.head, g_a.detail, g_s.up[-1])):
            nn.init.zeros_(cast("Tensor", layer.weight))
    for module in model.modules():
        last_layers: list[nn.Module] = []
        if isinstance(module, SwinBlock):
            last_layers = [module.attention.proj, module.mlp[2]]
        elif isinstance(module, ResidualBlock):
            last_layers = [module.conv2]
        elif isinstance(module, BottleneckBlock | DepthwiseBlock | PointwiseBlock):
            last_layers = [module.last]
        for layer in last_layers:
            nn.init.zeros_(cast("Tensor", layer.weight))
            nn.init.zeros_(cast("Tensor", layer.bias))
    initialise_entropy(model, pictures, parts=("hyperprior", "context"))


def _identity(channels: int) -> Tensor:
    return torch.eye(channels)[:, :, None, None]


def _compose(basis: Tensor, kernel: Tensor) -> Tensor:
    """What each row of `basis` over a finer level is in pixels, (rows, 3, edge, edge)."""
    return F.conv_transpose2d(basis, kernel, stride=kernel.shape[2])


def _set_matrix(layer: nn.Conv2d, matrix: Tensor) -> None:
    """A 1x1 convolution; what it does not use has a little noise to grow from."""
    nn.init.normal_(layer.weight, std=NOISE * layer.weight[0].numel() ** -0.5)
    layer.weight[: len(matrix), : matrix.shape[1], 0, 0] += matrix
    nn.init.zeros_(cast("Tensor", layer.bias))

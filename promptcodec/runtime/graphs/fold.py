"""Weights of g_a and g_s in the form that their graphs compute with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from promptcodec.coding.architecture import LAYERS, RATIO
from promptcodec.config import CodecConfig
from promptcodec.runtime.graphs.graph import Array, Parameters
from promptcodec.runtime.graphs.levels import (
    Level,
    decoder_levels,
    encoder_levels,
    layer_names,
    swin_blocks,
)
from promptcodec.runtime.graphs.prompts import PromptWeights, fold_prompts
from promptcodec.runtime.graphs.swin import Heads, fold_block


class Maps:
    """Linear maps of a transform, with the updates of a rate, in units of the stages behind them.

    Args:
        weights: tensors of the base, by name.
        adapter: tensors of a rate, by name; None is the base alone.
        side: "encoder" or "decoder".
        names: names of the maps, in the order of the updates.
    """

    def __init__(
        self, weights: Parameters, adapter: Parameters | None, side: str, names: list[str]
    ) -> None:
        self._weights, self._adapter = weights, adapter or {}
        self._places = {name: f"{side}_maps.{{}}.{n}" for n, name in enumerate(names)}

    def __call__(self, name: str) -> tuple[Array, Array]:
        """Weight (outputs, inputs, k, k) and bias (outputs,)."""
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        up, down = (self._adapter.get(self._places[name].format(own)) for own in ("up", "down"))
        if up is not None and down is not None:
            weight = weight + (up @ down).reshape(weight.shape)
        units = self._weights.get(f"{stage_behind(name)}.units")
        if units is not None:  # a stage, neither latents nor pixels
            units = np.repeat(units, len(bias) // len(units))  # a pixel shuffle lies between
            weight, bias = weight / units[:, None, None, None], bias / units
        return weight, bias


def stage_behind(name: str) -> str:
    """Prefix of the stage that a map ends in."""
    transform, kind, *number = name.split(".")
    if kind not in ("down", "up", "stem"):
        return ""
    place = 0 if kind == "stem" else int(number[0]) + (kind == "up")
    return f"{transform}.stages.{place}"


def fold_analysis(
    weights: Parameters, config: CodecConfig, adapter: Parameters | None
) -> dict[str, Array]:
    """Parameters of the graph of g_a.

    Args:
        weights: tensors of the base, by name.
        config: architecture of the base.
        adapter: tensors of a rate, by name; None is the base alone.
    """
    levels = encoder_levels(config)
    weights = _with_updates(weights, adapter, "encoder", levels)
    ends = ["g_a.head", "g_a.detail"] if config.detail_channels else ["g_a.head"]
    names = [name for level in levels for name in level.maps]
    maps = Maps(weights, adapter, "encoder", [*names, *ends])
    found, heads = _fold_prompts(adapter, "encoder", levels, inputs=3)
    for number, level in enumerate(levels):
        weight, bias = maps(level.maps[0])
        for name in level.maps[1:]:
            weight, bias = joined_patches(weight, bias, *maps(name))
        if not number:
            weight = weight / 255
            bias = bias - 127.5 * weight.sum(axis=(1, 2, 3))
        found[f"level.{level.name}.weight"] = _matrix(weight)
        found[f"level.{level.name}.bias"] = bias
        found |= _fold_blocks(weights, level, config=config, heads=heads)
    for name in ends:
        weight, bias = maps(name)
        own = name.removeprefix("g_a.")
        found |= {f"{own}.weight": _matrix(weight), f"{own}.bias": bias}
    return found


def fold_synthesis(
    weights: Parameters, config: CodecConfig, adapter: Parameters | None
) -> dict[str, Array]:
    """Parameters of the graph of g_s; arguments as `fold_analysis`."""
    levels, render = decoder_levels(config)
    weights = _with_updates(weights, adapter, "decoder", levels)
    first, *others = levels
    names = [name for level in levels for name in level.maps]
    maps = Maps(weights, adapter, "decoder", [*names, *render])
    found, heads = _fold_prompts(adapter, "decoder", levels, inputs=config.latent_channels)
    deep = config.latent_channels - config.detail_channels
    y_units = weights["g_s.units"]
    weight, bias = maps(first.maps[0])
    found["level.0.weight"] = _matrix(weight) / y_units[:deep, None]
    found["level.0.bias"] = bias
    found |= _fold_blocks(weights, first, config=config, heads=heads)
    # What enters the second map: features of the first stage, then detail latents.
    inputs = np.concatenate([np.ones(first.spec.channels, np.float32), y_units[deep:]])
    for number, level in enumerate(others, start=1):
        weight, bias = _squares(maps, level.maps)
        weight = weight / inputs
        found[f"level.{number}.weight"] = weight.transpose(3, 1, 2, 0).reshape(len(inputs), -1)
        found[f"level.{number}.bias"] = bias.transpose(1, 2, 0).ravel()
        found |= _fold_blocks(weights, level, config=config, heads=heads)
        inputs = np.ones(level.spec.channels, np.float32)
    return found | _fold_render(weights, maps, render, inputs)


def _fold_render(
    weights: Parameters, maps: Maps, render: Sequence[str], inputs: Array
) -> dict[str, Array]:
    """The last maps of g_s, in levels of pixels.

    Args:
        weights: tensors of the base, by name.
        maps: its linear maps.
        render: names of those from the last level to the picture.
        inputs: divisor of each channel that enters.
    """
    weight, bias = maps(render[-1])
    step = 255 * weights["g_s.step"]
    if len(render) == 1:
        return {
            "render.weight": weight * step / inputs[:, None, None],
            "render.bias": bias * step + 127.5,
        }
    squares, own = _squares(maps, render[:-1])
    inner = squares.shape[1]
    # The bias of the maps before does not reach the zeros around the grid: it stands for a channel
    # of ones.
    with_bias = np.concatenate([squares / inputs, own[..., None]], axis=3)
    joined = joined_render(weight, with_bias, outer=RATIO)
    bias = np.broadcast_to(bias.reshape(3, 1, RATIO, 1, RATIO), (3, inner, RATIO, inner, RATIO))
    return {
        "render.weight": joined[:, :-1] * step,
        "render.bias": bias.ravel() * step + 127.5,
        "render_border.weight": joined[:, -1:] * step,
        "render_border.bias": np.zeros(len(joined), np.float32),
    }


def _squares(maps: Maps, names: Sequence[str]) -> tuple[Array, Array]:
    """1x1 maps with pixel shuffles behind them as one.

    Args:
        maps: linear maps of a transform.
        names: names of those to join, first one first.
    Returns:
        Weight (outputs, r, r, inputs) and bias (outputs, r, r).
    """
    found: tuple[Array, Array] | None = None
    for name in names:
        weight, bias = maps(name)
        second = weight.reshape(-1, RATIO, RATIO, weight.shape[1])
        second_bias = bias.reshape(-1, RATIO, RATIO)
        found = joined_squares(*found, second, second_bias) if found else (second, second_bias)
    if found is None:
        raise ValueError("no maps to join; need at least one")
    return found


def joined_squares(
    weight: Array, bias: Array, second: Array, second_bias: Array
) -> tuple[Array, Array]:
    """Two 1x1 maps, each with a pixel shuffle behind it, as one.

    Args:
        weight: of the first, (hidden, r, r, inputs).
        bias: of the first, (hidden, r, r).
        second: of the second, (outputs, s, s, hidden).
        second_bias: of the second, (outputs, s, s).
    Returns:
        Weight (outputs, r s, r s, inputs) and bias (outputs, r s, r s).
    """
    outputs, s, edge = len(second), second.shape[1], weight.shape[1] * second.shape[1]
    joined = np.einsum("oijh,habn->oaibjn", second, weight)
    added = np.einsum("oijh,hab->oaibj", second, bias) + second_bias.reshape(outputs, 1, s, 1, s)
    return joined.reshape(outputs, edge, edge, -1), added.reshape(outputs, edge, edge)


def joined_render(weight: Array, squares: Array, *, outer: int) -> Array:
    """1x1 maps with pixel shuffles, then a convolution and a last pixel shuffle, as one of each.

    Args:
        weight: of the convolution, (3 s^2, hidden, k, k).
        squares: weight of the maps before, (hidden, r, r, inputs).
        outer: s, edge of the last pixel shuffle.
    Returns:
        (3 (r s)^2, inputs, k, k).
    """
    outputs, _, kernel, _ = weight.shape
    inner, inputs = squares.shape[1], squares.shape[3]
    found = np.zeros((outputs, inner, inner, inputs, kernel, kernel), np.float32)
    half = kernel // 2
    for row, column, down, right in np.ndindex(inner, inner, kernel, kernel):
        y, x = row + down - half, column + right - half
        tap = weight[:, :, down, right] @ squares[:, y % inner, x % inner]
        found[:, row, column, :, y // inner + half, x // inner + half] += tap
    found = found.reshape(3, outer, outer, inner, inner, inputs, kernel, kernel)
    found = found.transpose(0, 3, 1, 4, 2, 5, 6, 7)
    return found.reshape(-1, inputs, kernel, kernel)


def joined_patches(
    weight: Array, bias: Array, second: Array, second_bias: Array
) -> tuple[Array, Array]:
    """Two convolutions without overlap as one.

    Args:
        weight: of the first, (hidden, inputs, r, r), stride r.
        bias: of the first, (hidden,).
        second: of the second, (outputs, hidden, s, s), stride s.
        second_bias: of the second, (outputs,).
    Returns:
        Weight (outputs, inputs, r s, r s) and bias (outputs,).
    """
    r, s = weight.shape[2], second.shape[2]
    joined = np.einsum("ohij,hcab->ociajb", second, weight)
    shape = (len(second), weight.shape[1], r * s, r * s)
    return joined.reshape(shape), second_bias + second.sum(axis=(2, 3)) @ bias


def _fold_blocks(
    weights: Parameters,
    level: Level,
    *,
    config: CodecConfig,
    heads: Mapping[str, PromptWeights],
) -> dict[str, Array]:
    found: dict[str, Array] = {}
    units = weights[f"{level.name}.units"]
    for block in level.blocks:
        own = f"{block.name}."
        if block.kind == "s":
            found |= {
                own + name: value
                for name, value in fold_block(
                    weights,
                    block.name,
                    heads=Heads(len(units) // config.head_channels, config.head_channels),
                    units=units,
                    prompts=heads.get(block.name),
                ).items()
            }
            continue
        first, second = LAYERS[block.kind]
        for layer, scale in ((first, np.ones_like(weights[f"{own}{first}.bias"])), (second, units)):
            weight, bias = weights[f"{own}{layer}.weight"], weights[f"{own}{layer}.bias"]
            found[f"{own}{layer}.weight"] = weight / scale[:, None, None, None]
            found[f"{own}{layer}.bias"] = bias / scale
    return found


def _with_updates(
    weights: Parameters, adapter: Parameters | None, side: str, levels: Sequence[Level]
) -> Parameters:
    """Weights of a base with a rate's updates of the layers of blocks."""
    if adapter is None or f"{side}_blocks.up.0" not in adapter:
        return weights
    found = dict(weights)
    for number, name in enumerate(layer_names(levels)):
        up, down = (adapter[f"{side}_blocks.{own}.{number}"] for own in ("up", "down"))
        weight = weights[f"{name}.weight"]
        found[f"{name}.weight"] = weight + (up @ down).reshape(weight.shape)
    return found


def _fold_prompts(
    adapter: Parameters | None, side: str, levels: Sequence[Level], *, inputs: int
) -> tuple[dict[str, Array], dict[str, PromptWeights]]:
    if adapter is None or not has_prompts(adapter, side):
        return {}, {}
    return fold_prompts(adapter, side, blocks=swin_blocks(levels), inputs=inputs)


def has_prompts(adapter: Parameters, side: str) -> bool:
    """Whether a gate of a side is open; closed ones add nothing."""
    return any(
        bool(value.any()) for name, value in adapter.items() if name.startswith(f"{side}.gates.")
    )


def _matrix(weight: Array) -> Array:
    """A kernel without overlap as a product with patches, (k * k * inputs, outputs)."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))

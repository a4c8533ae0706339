"""Multiply-accumulates and parameters of every path to a label, for a square picture."""

import copy
from typing import Any

import torch
from torch import nn

from promptcodec.config import LATENT_STRIDE, TILE_STRIDE
from promptcodec.evaluation.speed.complexity import complexity_table, count_macs, count_parameters
from promptcodec.models.codec import TorchCodec

SHARED = ("scale path", "h_means", "context")  # what a server runs before it has y_hat
AT_THE_EDGE = ("g_a", "h_a", *SHARED)


def macs(module: nn.Module, *shapes: tuple[int, ...]) -> int:
    """Multiply-accumulates of a module on inputs of these shapes."""
    ghost = copy.deepcopy(module).to("meta").eval()
    return count_macs(ghost, *[torch.empty(shape, device="meta") for shape in shapes])


def codec_mmac(codec: TorchCodec, *, size: int) -> dict[str, float]:
    """Millions of MACs of each part of a codec, with the padding of the picture."""
    padded = -(-size // TILE_STRIDE) * TILE_STRIDE
    rows = complexity_table(codec.model, width=padded, height=padded)
    return {row.name: row.kmac_per_pixel * padded * padded / 1000 for row in rows}


def server_cost(
    codec: TorchCodec, *, latents: nn.Module, pixels: nn.Module, size: int
) -> dict[str, dict[str, Any]]:
    """From the symbols of a stream, or the pixels of another file, to the label.

    Args:
        codec: codec of the streams.
        latents: head on latents.
        pixels: network on pixels.
        size: edge of the picture, px.
    """
    parts = codec_mmac(codec, size=size)
    entropy = sum(parts[name] for name in SHARED)
    grid = -(-size // LATENT_STRIDE)
    shape = (1, codec.config.codec.latent_channels, grid, grid)
    head = macs(latents, shape, (1,)) / 1e6
    network = macs(pixels, (1, 3, size, size), (1,)) / 1e6
    return {
        "latents": _row(latents, {"entropy_model": entropy, "network": head}),
        "decoded": _row(
            pixels, {"entropy_model": entropy, "g_s": parts["g_s"], "network": network}
        ),
        "classic": _row(pixels, {"network": network}),
    }


def _row(network: nn.Module, parts: dict[str, float]) -> dict[str, Any]:
    return {"mmac": sum(parts.values()), "parts": parts, "parameters": count_parameters(network)}


def edge_cost(
    codec: TorchCodec, rivals: dict[str, nn.Module], *, size: int
) -> dict[str, dict[str, Any]]:
    """All that `encode` computes with networks, its analysis alone, and networks to classify there.

    Args:
        codec: codec of the streams.
        rivals: networks on pixels, by name.
        size: edge of the picture, px.
    """
    parts = codec_mmac(codec, size=size)
    rows = {row.name: row for row in complexity_table(codec.model)}
    found = {
        name: {
            "mmac": sum(parts[each] for each in own),
            "parameters": sum(rows[each].parameters for each in own),
        }
        for name, own in (("encode", AT_THE_EDGE), ("g_a and h_a", ("g_a", "h_a")))
    }
    for name, model in rivals.items():
        found[name] = {
            "mmac": macs(model, (1, 3, size, size)) / 1e6,
            "parameters": count_parameters(model),
        }
    return found

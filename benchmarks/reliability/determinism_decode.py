"""Decode one stream in one way and print the hashes of what was read; see determinism.py."""

import argparse
import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptcodec.bitstream import Container, parse
from promptcodec.coding.entropy.rans import decode_y, decode_z
from promptcodec.config import TILE_STRIDE
from promptcodec.models.codec import TorchCodec
from promptcodec.models.tensors import crop, from_tensor


@dataclass(frozen=True)
class Variant:
    """A way to decode.

    Attributes:
        name: in reports.
        threads: of torch.
        batch: pictures that go through the networks together; the stream's is the second of them.
        onednn: the oneDNN kernels of torch may be used.
        bfloat16: autocast of the float networks.
        compiled: torch.compile in place of eager.
        cuda: on the GPU.
    """

    name: str
    threads: int = 1
    batch: int = 1
    onednn: bool = True
    bfloat16: bool = False
    compiled: bool = False
    cuda: bool = False


@dataclass(frozen=True)
class Decoded:
    """What was read from the stream and made of it.

    Attributes:
        indexes: uint8 (M, h, w).
        symbols: int32 (M, h, w).
        rgb: uint8 (H, W, 3).
    """

    indexes: np.ndarray
    symbols: np.ndarray
    rgb: np.ndarray


@torch.no_grad()
def decode(codec: TorchCodec, container: Container, variant: Variant) -> Decoded:
    """Decode the one tile of a stream, step by step.

    Args:
        codec: the one that wrote it.
        container: the parsed stream.
        variant: how; threads and oneDNN are set by the caller.
    """
    device = torch.device("cuda" if variant.cuda else "cpu")
    model, point = codec.model.to(device), codec.ladder.of_stream(container)
    tables = codec.tables.with_sets(point.z_sets)
    gains = point.gains.shifted(container.gain)
    adapter: Any = point.network and point.network.to(device)
    (tile,) = container.tiles
    rows, columns = -(-container.height // TILE_STRIDE), -(-container.width // TILE_STRIDE)
    steps = (model.indexes, model.reconstruct_latents, model.synthesise)
    find_indexes, rebuild, synthesise = map(compiled, steps) if variant.compiled else steps
    z_hat = decode_z(tile.z, (model.config.z_channels, rows, columns), tables)
    z_batch = among_others(torch.from_numpy(z_hat), variant.batch).to(device)
    own = min(1, variant.batch - 1)
    with torch.autocast(device.type, torch.bfloat16, enabled=variant.bfloat16):
        index_batch = find_indexes(z_batch, gains=gains)
        indexes = index_batch[own].cpu().numpy()
        symbols = decode_y(tile.y, indexes, tables)
        symbol_batch = among_others(torch.from_numpy(symbols), variant.batch).to(device)
        y_hat = rebuild(z_batch, symbol_batch, indexes=index_batch, gains=gains, adapter=adapter)
        x_hat = synthesise(y_hat, adapter=adapter)[own : own + 1].cpu()
    x_hat = crop(x_hat, container.height, container.width)
    return Decoded(indexes, symbols, from_tensor(x_hat))


def compiled(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method of the model through torch.compile, without the inference mode that wraps it.

    Inductor cannot slice an inference tensor ("Cannot set version_counter").
    """
    return torch.compile(partial(inspect.unwrap(method), method.__self__))


def among_others(latent: Tensor, batch: int) -> Tensor:
    """A batch whose second entry is `latent` (its only one if it has one); the others differ."""
    others = [latent.flip(-1), latent, latent.roll(1, dims=-2)]
    return torch.stack(others[:batch] if batch > 1 else [latent])


def main() -> None:
    """Decode, save the picture, print hashes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stream", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--base")
    arguments = parser.parse_args()
    variant = Variant(**json.loads(arguments.variant))
    torch.set_num_threads(variant.threads)
    codec = TorchCodec.load(arguments.base)
    container = parse(arguments.stream.read_bytes())
    with torch.backends.mkldnn.flags(enabled=variant.onednn):
        decoded = decode(codec, container, variant)
    np.save(arguments.picture, decoded.rgb)
    report = {
        "indexes": hashlib.sha256(decoded.indexes.tobytes()).hexdigest(),
        "symbols": hashlib.sha256(decoded.symbols.astype("<i4").tobytes()).hexdigest(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()

"""Cost of every path to a label, at the edge and on the server: MACs, parameters, time.

    python -m benchmarks.analysis.ledger PICTURE --latents DIR --decoded DIR [--small DIR]
        [--sizes 224,512] [--rate 1] [--repeats 40]
        [--threads 1] [--batch 16]
        [--out docs/results/ledger.json]

A server starts from a file: ours, whose latents a head reads or which is decoded for a network on
pixels, or that of a classic codec. The edge writes that file; MobileNets with random weights, which
would classify there instead, are measured beside it. Whole paths from bytes to label are timed in
turn: one file at a time, and on the server many at once; that over latents also on ONNX Runtime,
without torch.
"""

import argparse
import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from benchmarks.common import parse, parser, write_record
from promptcodec.api import Codec
from promptcodec.coding.latents import inside
from promptcodec.config import LATENT_STRIDE, TILE_STRIDE
from promptcodec.evaluation.classification import Files, predict
from promptcodec.evaluation.speed.complexity import complexity_table, count_macs, count_parameters
from promptcodec.evaluation.speed.timing import in_turn, ratio, summarise
from promptcodec.io.load import load_picture
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import Head, read_head
from promptcodec.training.data.augmented import fit
from promptcodec.training.data.inputs import FileInput

EDGE_RIVALS = ("mobilenetv2_100", "mobilenetv3_large_100")
CLASSIC = {"jpeg": 20, "webp": 20, "avif": 30}  # qualities
ONNX = "latents, on ONNX Runtime"
LATENTS, DECODED, SMALL = "latents", "decode, then classify", "decode, then classify at equal MACs"
ENTROPY = {"scale path", "h_means", "context"}  # what a server runs before it has y_hat


def macs(module: nn.Module, *shapes: tuple[int, ...]) -> int:
    """Multiply-accumulates of a module on inputs of these shapes."""
    ghost = copy.deepcopy(module).to("meta").eval()
    return count_macs(ghost, *[torch.empty(shape, device="meta") for shape in shapes])


def main() -> None:
    """Count, time and write the record."""
    options = parser(__doc__, out="ledger")
    options.add_argument("picture", type=Path)
    options.add_argument("--latents", required=True, help="head on latents")
    options.add_argument("--decoded", required=True, help="network on decoded pixels")
    options.add_argument("--small", help="network on decoded pixels with the head's MACs")
    options.add_argument("--sizes", default="224,512", help="edges of the picture, px")
    options.add_argument("--rate", type=float, default=1.0)
    options.add_argument("--repeats", type=int, default=40)
    options.add_argument("--batch", type=int, default=16, help="files at once, beside one")
    arguments = parse(options)
    codec = TorchCodec.load(heads=arguments.latents)
    rgb = torch.from_numpy(load_picture(arguments.picture).rgb.copy()).permute(2, 0, 1)
    heads = {LATENTS: read_head(Path(arguments.latents), base_sha256=codec.base_hash)}
    for name, folder in ((DECODED, arguments.decoded), (SMALL, arguments.small)):
        if folder:
            heads[name] = read_head(Path(folder), base_sha256=b"")
    rivals = {name: timm.create_model(name, num_classes=10).eval() for name in EDGE_RIVALS}
    report = {
        "rate_index": arguments.rate,
        "batch": arguments.batch,
        "sizes": [
            {
                "size": size,
                "cost": {"server": server_macs(codec, heads, size=size)}
                | {"edge": edge_macs(codec, rivals, size=size)},
                "seconds": timings(codec, heads, rivals, fit(rgb, size), arguments),
            }
            for size in map(int, arguments.sizes.split(","))
        ],
        "base_sha256": codec.base_hash.hex(),
    }
    write_record(arguments.out, report)


def server_macs(codec: TorchCodec, heads: dict[str, Head], *, size: int) -> dict[str, Any]:
    """Millions of MACs of each path, from the file's symbols to the label."""
    million = codec_macs(codec, size=size)
    shared = sum(million[name] for name in ENTROPY)
    grid = -(-size // LATENT_STRIDE)
    latents = (1, codec.config.codec.latent_channels, grid, grid)
    found = {}
    for name, head in heads.items():
        shape = latents if name == LATENTS else (1, 3, size, size)
        own = macs(head.model, shape, (1,)) / 1e6
        parts = {"entropy model": shared, "network": own}
        if name != LATENTS:
            parts["g_s"] = million["g_s"]
        found[name] = {
            "mmac": sum(parts.values()),
            "parts": parts,
            "network_parameters": count_parameters(head.model),
        }
    return found


def codec_macs(codec: TorchCodec, *, size: int) -> dict[str, float]:
    """Millions of MACs of each part of a codec, for a square picture with its padding."""
    padded = -(-size // TILE_STRIDE) * TILE_STRIDE
    rows = complexity_table(codec.model, width=padded, height=padded)
    return {row.name: row.kmac_per_pixel * padded * padded / 1000 for row in rows}


def edge_macs(codec: TorchCodec, rivals: dict[str, nn.Module], *, size: int) -> dict[str, Any]:
    """Millions of MACs and parameters of what runs where the picture is taken."""
    million = codec_macs(codec, size=size)
    rows = {r.name: r for r in complexity_table(codec.model)}
    found = {
        name: {"mmac": million[name], "parameters": rows[name].parameters}
        for name in ("g_a", "h_a", "encoding")
    }
    for name, model in rivals.items():
        found[name] = {
            "mmac": macs(model, (1, 3, size, size)) / 1e6,
            "parameters": count_parameters(model),
        }
    return found


def timings(
    codec: TorchCodec,
    heads: dict[str, Head],
    rivals: dict[str, nn.Module],
    picture: Tensor,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Seconds of each path, whole, and ratios to the path over latents."""
    rate, array = arguments.rate, picture.permute(1, 2, 0).numpy()
    data, lmbda = codec.encode(array, rate_index=rate, graphics="never"), codec.at(rate).lmbda

    def from_latents() -> Tensor:
        height, width = array.shape[:2]
        y_hat = inside(codec.latents(data), height=height, width=width)
        return predict(heads[LATENTS], Files([], picture[None], lmbda, y_hat))

    def from_pixels(head: Head) -> Tensor:
        rgb = np.asarray(codec.decode(data).convert("RGB"))
        return predict(head, _shown(rgb))

    without_torch = Codec.load(heads=arguments.latents, engine="onnx", threads=arguments.threads)
    server: dict[str, Callable[[], object]] = {
        LATENTS: from_latents,
        ONNX: lambda: without_torch.classify(data),
    }
    for name in (DECODED, SMALL):
        if name in heads:
            server[name] = lambda name=name: from_pixels(heads[name])
    x = picture[None].float() / 255.0
    edge: dict[str, Callable[[], object]] = {
        "encoding": lambda: codec.encode(array, rate_index=rate, graphics="never")
    }
    for name, model in rivals.items():
        edge[name] = torch.inference_mode()(lambda model=model: model(x))
    for name, quality in CLASSIC.items():
        file_input = FileInput(name)
        content = file_input.compress(picture, quality)
        edge[name] = lambda file_input=file_input, quality=quality: file_input.compress(
            picture, quality
        )
        server[name] = lambda content=content: predict(
            heads[DECODED], _shown(np.asarray(load_picture(content).rgb))
        )
    files = [data] * arguments.batch

    def many_from_pixels(head: Head) -> Tensor:
        return predict(
            head, _shown(*(np.asarray(p.convert("RGB")) for p in codec.decode_batch(files)))
        )

    batches: dict[str, Callable[[], object]] = {
        LATENTS: lambda: codec.classify_batch(files),
        ONNX: lambda: without_torch.classify_batch(files),
    }
    for name in (DECODED, SMALL):
        if name in heads:
            batches[name] = lambda name=name: many_from_pixels(heads[name])
    result: dict[str, Any] = {}
    sides = (("server", server, LATENTS, 1), ("batch", batches, LATENTS, len(files)))
    for side, actions, anchor, count in (*sides, ("edge", edge, "encoding", 1)):
        seconds = in_turn(actions, repeats=arguments.repeats, warm_up=3)
        seconds = {name: [v / count for v in values] for name, values in seconds.items()}
        result[side] = {
            name: {
                "seconds": asdict(summarise(values)),
                "ratio": asdict(ratio(values, seconds[anchor])),
            }
            for name, values in seconds.items()
        }
    return result


def _shown(*rgb: np.ndarray) -> Files:
    pixels = torch.from_numpy(np.stack(rgb)).permute(0, 3, 1, 2)
    return Files([], pixels, 1.0, None)


if __name__ == "__main__":
    main()

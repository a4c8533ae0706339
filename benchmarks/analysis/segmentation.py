"""Mean IoU of masks from latents and from decoded pixels of the same files, at several rates.

    python -m benchmarks.analysis.segmentation DATA --pixels runs/segment-decoded/head
        [--heads DIR] [--base DIR] [--prompts DIR] [--rates 0,1,4,7] [--split test]
        [--streams DIR] [--threads 1] [--out docs/results/segmentation.json]
        [--sheet docs/segmentation.png] [--show 3]

DATA is a folder or zip file with test/images/NAME and test/masks/NAME.png. Values of masks are
indexes of the head's labels; larger ones are pixels without a class. Streams are kept in --streams
for further networks.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from benchmarks.analysis.masks import (
    check_pixels,
    compare_overlap,
    quality_of,
    read_masks,
    stream_of,
)
from benchmarks.analysis.sources import source_of
from benchmarks.common import parse, parser, write_json
from promptcodec.cli.options import parse_rates
from promptcodec.coding.head_config import SEGMENT, HeadConfig
from promptcodec.coding.head_file import head_folder
from promptcodec.evaluation.classification import weights_of
from promptcodec.evaluation.reports.compare import side_by_side
from promptcodec.evaluation.speed.complexity import complexity_table, count_macs, count_parameters
from promptcodec.io import masks
from promptcodec.io.atomic import write_atomically
from promptcodec.io.checkpoints import find_heads
from promptcodec.io.provenance import provenance
from promptcodec.io.save import encode_file
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import Head, build_head, read_head
from promptcodec.models.heads.iou import class_iou, confusion_counts
from promptcodec.training.data.masked import MaskedPictures, read_masked

WIDTH, HEIGHT = 768, 512  # px, at which costs are counted
SIDES = ("latents", "decoded")
SEGMENTER, DECODED_SEGMENTER = "segmentation from latents", "segmentation, decoded first"


def measure(
    codec: TorchCodec, pixels: Head, data: MaskedPictures, *, rate: float, streams: Path
) -> dict[str, Any]:
    """One rate: bpp of the files, mean IoU of both ways, and what both are computed from."""
    classes = len(pixels.config.labels)
    counts: dict[str, list[np.ndarray]] = {side: [] for side in SIDES}
    sizes, bits, area, pairs = [], 0, 0, []
    for name, picture, truth in zip(data.names, data.pictures, data.masks, strict=True):
        stream = stream_of(codec, picture, name, rate=rate, folder=streams)
        found = read_masks(codec, stream, pixels=pixels)
        for side in SIDES:
            own = confusion_counts(getattr(found, side), truth.numpy(), classes=classes)
            counts[side].append(own)
        pairs.append((picture, found.rgb))
        sizes.append(len(stream))
        bits, area = bits + 8 * len(stream), area + truth.numel()
    stacked = {side: np.stack(each) for side, each in counts.items()}
    overlap = compare_overlap(stacked["latents"], stacked["decoded"])
    return {
        "rate_index": rate,
        "bpp": bits / area,
        **quality_of(pairs),
        "miou": {
            "latents": dataclasses.asdict(overlap.ours),
            "decoded": dataclasses.asdict(overlap.others),
            "difference": dataclasses.asdict(overlap.difference),
        },
        "iou": {
            side: [round(value, 5) for value in class_iou(each.sum(axis=0)).tolist()]
            for side, each in stacked.items()
        },
        "pictures": [
            {"name": name, "bytes": size} | {side: _thirds(stacked[side][number]) for side in SIDES}
            for number, (name, size) in enumerate(zip(data.names, sizes, strict=True))
        ],
    }


def _thirds(counts: np.ndarray) -> list[list[int]]:
    """Pixels of each class that are right, in the truth, and found: what IoU needs."""
    return [counts.diagonal().tolist(), counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist()]


def costs(codec: TorchCodec, pixels: Head) -> dict[str, dict[str, float]]:
    """Parameters and kMAC/px of both networks and of g_s, which the second needs first."""
    latents = codec.config.codec.latent_channels
    grid = (1, latents, HEIGHT // 16, WIDTH // 16)
    head = _meta(codec.head(SEGMENT).config)
    lmbda = torch.empty(1, device="meta")
    parts: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {
        "latents": (head, (torch.empty(grid, device="meta"), lmbda)),
        "decoded": (
            _meta(pixels.config),
            (torch.empty(1, 3, HEIGHT, WIDTH, device="meta"), lmbda),
        ),
    }
    (g_s,) = [row for row in complexity_table(codec.model) if row.name == "g_s"]
    found = {"g_s": {"parameters": g_s.parameters, "kmac_per_pixel": g_s.kmac_per_pixel}}
    for name, (module, inputs) in parts.items():
        kmac = count_macs(module, *inputs) / (WIDTH * HEIGHT) / 1000
        found[name] = {"parameters": count_parameters(module), "kmac_per_pixel": kmac}
    return found


def _meta(config: HeadConfig) -> nn.Module:
    return build_head(config).to("meta").eval()


def sheet(
    codec: TorchCodec,
    pixels: Head,
    data: MaskedPictures,
    *,
    rates: list[float],
    count: int,
    streams: Path,
) -> Image.Image:
    """Pictures spread over the set: truth, and both masks at the lowest and the highest rate."""
    labels = codec.labels(SEGMENT)
    rows = []
    for number in np.linspace(0, len(data) - 1, count + 2).round().astype(int)[1:-1]:
        picture = Image.fromarray(data.pictures[number].permute(1, 2, 0).numpy())
        truth = data.masks[number].numpy()
        views = [("annotated", _laid(picture, truth, labels))]
        for rate in (rates[0], rates[-1]):
            stream = stream_of(
                codec, data.pictures[number], data.names[number], rate=rate, folder=streams
            )
            found = read_masks(codec, stream, pixels=pixels)
            bpp = 8 * len(stream) / truth.size
            shown = codec.decode(stream).convert("RGB")
            views += [
                (f"{bpp:.2f} bpp, {what}", _laid(shown, getattr(found, side), labels))
                for side, what in (("latents", "from latents"), ("decoded", "decoded first"))
            ]
        rows.append(np.asarray(side_by_side(views)))
    width = rows[0].shape[1]
    every = np.arange(len(labels), dtype=np.uint8)[None]
    rows.append(np.asarray(masks.legend(masks.shares(every, labels), width=width))[:, :width])
    return Image.fromarray(np.concatenate(rows))


def _laid(picture: Image.Image, mask: np.ndarray, labels: tuple[str, ...]) -> Image.Image:
    """Half as large, the classes over the picture; pixels without a class stay as they are."""
    known = Image.fromarray(np.where(mask < len(labels), 255, 0).astype(np.uint8))
    over = masks.overlay(picture, np.where(mask < len(labels), mask, 0), labels)
    over = over.crop((0, 0, *picture.size))
    return Image.composite(over, picture, known).resize((picture.width // 2, picture.height // 2))


def main() -> None:
    """Measure every rate and write one JSON file and one picture."""
    options = parser(__doc__, out="segmentation")
    options.add_argument("data", type=Path)
    options.add_argument("--pixels", type=Path, required=True, help="network on decoded pixels")
    options.add_argument("--heads", help="default: those of the bundled base")
    options.add_argument("--base", help="default: the bundled one")
    options.add_argument("--prompts", help="default: those of the base")
    options.add_argument("--rates", default="0,1,4,7", help="lowest first")
    options.add_argument("--split", default="test")
    options.add_argument("--streams", type=Path, default=Path("runs/segmentation-streams"))
    options.add_argument("--sheet", type=Path, default=Path("docs/segmentation.png"))
    options.add_argument("--show", type=int, default=3, help="pictures in the sheet")
    arguments = parse(options)
    folder = head_folder(find_heads(arguments.heads, base=arguments.base), SEGMENT)
    codec = TorchCodec.load(arguments.base, arguments.prompts, heads=folder)
    pixels = read_head(arguments.pixels, base_sha256=b"")
    labels = codec.labels(SEGMENT)
    check_pixels(pixels, labels=labels)
    none = tuple(range(len(labels), 256))
    data = read_masked(arguments.data, split=arguments.split, classes=len(labels), ignore=none)
    rates = sorted(parse_rates(arguments.rates) or [rate.index for rate in codec.rates])
    points = []
    for rate in rates:
        points.append(measure(codec, pixels, data, rate=rate, streams=arguments.streams))
        both = points[-1]["miou"]
        difference = both["difference"]
        print(
            f"rate {rate:g}: {points[-1]['bpp']:.3f} bpp, mIoU {both['latents']['value']:.4f} "
            f"from latents, {both['decoded']['value']:.4f} decoded first, difference "
            f"{difference['value']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})",
            flush=True,
        )
    report = {
        "provenance": provenance(),
        "data": arguments.data.name,
        "split": arguments.split,
        "weights": weights_of(
            source_of({SEGMENTER: folder, DECODED_SEGMENTER: arguments.pixels}), codec
        ),
        "labels": labels,
        "costs": costs(codec, pixels),
        "points": points,
    }
    write_json(arguments.out, report, indent=None)
    picture = sheet(
        codec, pixels, data, rates=rates, count=arguments.show, streams=arguments.streams
    )
    write_atomically(arguments.sheet, encode_file(picture, ".png"), force=True)


if __name__ == "__main__":
    main()

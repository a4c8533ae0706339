"""PSNR of a decoder with and without the features of a head, at the same bits.

    promptcodec train-aggregation recipes/aggregation/aggregation.yaml --data DIR
    promptcodec train-aggregation recipes/aggregation/aggregation-control.yaml --data DIR
    python -m benchmarks.analysis.aggregation PICTURES --features runs/aggregation/aggregation
        --control runs/aggregation-control/aggregation [--heads DIR] [--rates 0,2,4,6]
        [--threads 1] [--out docs/results/aggregation.json]

Encoder and files are those of the bundled codec; g_s is trained as long with features and without.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.analysis.sources import source_of
from benchmarks.common import code_file, parse, parser, write_record
from benchmarks.tables.accuracy import LATENTS
from promptcodec.coding.head_file import head_folder
from promptcodec.config import CLASSIFY
from promptcodec.evaluation.classification import weights_of
from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.evaluation.metrics import psnr
from promptcodec.evaluation.speed.complexity import count_parameters
from promptcodec.io.checkpoints import find_heads
from promptcodec.models.codec import TorchCodec
from promptcodec.models.tensors import to_pixels
from promptcodec.training.aggregation import AggregatingDecoder, read_aggregation


@torch.inference_mode()
def rebuilt(
    model: AggregatingDecoder, codec: TorchCodec, data: bytes, *, rate: float
) -> np.ndarray:
    """Pixels of a stream by a decoder with aggregation, padded, uint8 (H, W, 3)."""
    y_hat = codec.latents(data)
    return to_pixels(model(y_hat, model.read(y_hat, rate=rate), rate=rate))[0]


def main() -> None:
    """Measure both decoders and the codec's own."""
    options = parser(__doc__, out="aggregation")
    options.add_argument("pictures", type=Path)
    options.add_argument("--features", type=Path, required=True)
    options.add_argument("--control", type=Path, required=True)
    options.add_argument("--heads", help="the head of the features; default: the bundled one")
    options.add_argument("--rates", default="0,2,4,6")
    arguments = parse(options)
    folder = head_folder(find_heads(arguments.heads), CLASSIFY)
    codec = TorchCodec.load(heads=folder)
    models = {
        name: read_aggregation(folder, codec)
        for name, folder in (("features", arguments.features), ("control", arguments.control))
    }
    pictures = find_pictures(arguments.pictures)
    rows: list[dict[str, Any]] = []
    for rate in map(float, arguments.rates.split(",")):
        bits, quality = [], {name: [] for name in ("codec", *models)}
        for path in pictures:
            file = code_file(codec, path, rate_index=rate)
            height, width = file.rgb.shape[:2]
            bits.append(file.bpp)
            quality["codec"].append(file.psnr)
            for name, model in models.items():
                shown = rebuilt(model, codec, file.data, rate=rate)[:height, :width]
                quality[name].append(psnr(file.rgb, shown))
        means = {name: float(np.mean(values)) for name, values in quality.items()}
        rows.append({"rate_index": rate, "bpp": float(np.mean(bits)), "psnr": means})
        print(rows[-1], flush=True)
    counts = {name: count_parameters(model.aggregation) for name, model in models.items()}
    report = {
        "pictures": len(pictures),
        "rates": rows,
        "parameters": counts,
        "weights": weights_of(source_of({LATENTS: folder}), codec),
    }
    write_record(arguments.out, report)


if __name__ == "__main__":
    main()

"""What the features of a head are worth to the decoder: PSNR at the same bits.

    promptcodec train-aggregation recipes/aggregation/aggregation-nano.yaml --data DIR
    promptcodec train-aggregation recipes/aggregation/aggregation-control.yaml --data DIR
    python -m benchmarks.analysis.aggregation PICTURES --features DIR --control DIR
        [--rates 0,2,4,6] [--threads 1] [--out docs/results/aggregation.json]

Encoder and files are those of the bundled codec; g_s is trained as long with features and without.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.evaluation.metrics import psnr
from promptcodec.io.atomic import write_atomically
from promptcodec.io.load import load_picture
from promptcodec.io.provenance import provenance
from promptcodec.models.codec import TorchCodec
from promptcodec.models.tensors import from_tensor
from promptcodec.training.aggregation import AggregatingDecoder, read_aggregation


@torch.inference_mode()
def rebuilt(
    model: AggregatingDecoder, codec: TorchCodec, data: bytes, *, rate: float
) -> np.ndarray:
    """Pixels of a stream by a decoder with aggregation, padded, uint8 (H, W, 3)."""
    y_hat = codec.latents(data)
    return from_tensor(model(y_hat, model.read(y_hat, rate=rate), rate=rate))


def main() -> None:
    """Measure both decoders and the codec's own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--rates", default="0,2,4,6")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/results/aggregation.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    codec = TorchCodec.load()
    models = {
        name: read_aggregation(folder, codec)
        for name, folder in (("features", arguments.features), ("control", arguments.control))
    }
    pictures = find_pictures(arguments.pictures)
    rows: list[dict[str, Any]] = []
    for rate in map(float, arguments.rates.split(",")):
        bits, quality = [], {name: [] for name in ("codec", *models)}
        for path in pictures:
            rgb = load_picture(path).rgb
            height, width = rgb.shape[:2]
            data = codec.encode(path, rate_index=rate)
            bits.append(8 * len(data) / (height * width))
            quality["codec"].append(psnr(rgb, np.asarray(codec.decode(data).convert("RGB"))))
            for name, model in models.items():
                shown = rebuilt(model, codec, data, rate=rate)[:height, :width]
                quality[name].append(psnr(rgb, shown))
        means = {name: float(np.mean(values)) for name, values in quality.items()}
        rows.append({"rate_index": rate, "bpp": float(np.mean(bits)), "psnr": means})
        print(rows[-1], flush=True)
    counts = {
        name: sum(p.numel() for p in model.aggregation.parameters())
        for name, model in models.items()
    }
    report = {
        "pictures": len(pictures),
        "rates": rows,
        "parameters": counts,
        "base_sha256": codec.base_hash.hex(),
        "provenance": provenance(),
    }
    write_atomically(arguments.out, (json.dumps(report, indent=1) + "\n").encode(), force=True)


if __name__ == "__main__":
    main()

"""Speed and memory against CompressAI's mbt2018-mean (quality 4), in turn in one run.

    python benchmarks/speed.py [--threads 1,2] [--repeats 7] [--base DIR] [--picture FILE]
                               [--out docs/results/speed.json]

Only ratios mean anything: both codecs run on the same threads of the same machine, one after the
other, again and again, in float32 and in bfloat16. Absolute times are on record beside them.
"""

import argparse
import inspect
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import startup
import torch
from PIL import Image

from promptcodec.api import Codec, Precision
from promptcodec.evaluation import memory
from promptcodec.evaluation import peer_model as peer
from promptcodec.evaluation.photographs import bundled, photograph
from promptcodec.evaluation.timing import Summary, in_turn, ratio, summarise
from promptcodec.files import write_atomically
from promptcodec.provenance import provenance

WIDTH, HEIGHT = 768, 512
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
DEFAULT_PRECISION = inspect.signature(Codec.load).parameters["precision"].default


def compare(
    rgb: np.ndarray, *, base: str | None, precision: Precision, threads: int, repeats: int
) -> dict[str, Any]:
    """Encode and decode one picture with both codecs in turn.

    Args:
        rgb: uint8 (H, W, 3), multiples of 64 px.
        base: our checkpoint, None is the bundled one.
        precision: of both codecs.
        threads: of torch, for both.
        repeats: rounds.
    """
    torch.set_num_threads(threads)
    codec = Codec.load(base, precision=precision)
    x = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
    rival = peer.build(x)
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def peer_encode() -> dict:
        with torch.inference_mode(), half:
            return rival.compress(x)

    def peer_decode() -> object:
        with torch.inference_mode(), half:
            return rival.decompress(packed["strings"], packed["shape"])

    packed = peer_encode()
    data = codec.encode(rgb)
    decode_parts: list[dict[str, float]] = []
    seconds = in_turn(
        {
            "ours_encode": lambda: codec.encode(rgb),
            "peer_encode": peer_encode,
            "ours_decode": lambda: decode_parts.append(codec.decode_detailed(data).seconds),
            "peer_decode": peer_decode,
        },
        repeats=repeats,
    )
    # Estimating the rate is no part of encoding: the detailed call is made beside the timed ones.
    encode_parts = [codec.encode_detailed(rgb).seconds for _ in range(repeats + 1)]
    pixels = rgb.shape[0] * rgb.shape[1]
    report: dict[str, Any] = {
        "precision": precision,
        "threads": threads,
        "ours_bpp": 8 * len(data) / pixels,
        "peer_bpp": 8 * sum(len(s) for group in packed["strings"] for s in group) / pixels,
        "seconds": {name: asdict(summarise(values)) for name, values in seconds.items()},
        "encode_parts_seconds": _medians(encode_parts),
        "decode_parts_seconds": _medians(decode_parts),
        "noisy": [name for name, values in seconds.items() if summarise(values).noisy],
    }
    for way, parts in (("encode", encode_parts), ("decode", decode_parts)):
        faster = ratio(seconds[f"peer_{way}"], seconds[f"ours_{way}"])
        report[f"{way}_speedup"] = asdict(faster)
        # The first call warmed up and is not among the measured ones.
        shares = [p["coding"] / s for p, s in zip(parts[1:], seconds[f"ours_{way}"], strict=True)]
        report[f"{way}_coding_share"] = summarise(shares).median
        _say(f"{precision}, {threads} threads, {way}", faster, report)
    return report


def _medians(parts: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.median([part[name] for part in parts[1:]])) for name in parts[0]}


def _say(what: str, faster: Summary, report: dict[str, Any]) -> None:
    noise = f"; NOISY: {', '.join(report['noisy'])}" if report["noisy"] else ""
    print(
        f"{what}: {faster.median:.2f} times as fast "
        f"(quartiles {faster.low:.2f} to {faster.high:.2f}){noise}",
        flush=True,
    )


def measure_memory(source: Path, *, base: str | None, folder: Path) -> list[dict[str, object]]:
    """Peak memory at 0.4 and at 12 megapixels."""
    reports = []
    for width, height in ((WIDTH, HEIGHT), (4000, 3000)):
        path = folder / f"{width}x{height}.png"
        rgb = photograph(source, width=width, height=height)
        Image.fromarray(rgb).save(path, compress_level=1)
        report = memory.measure(str(path), base=base, precision=DEFAULT_PRECISION, threads=1)
        print(f"{width}x{height}: {report['peak_rss_mb']:.0f} MB at most", flush=True)
        reports.append(report)
    return reports


def main() -> None:
    """Measure everything and write one JSON file."""
    parser = argparse.ArgumentParser(description="Speed and memory against a peer.")
    parser.add_argument("--threads", default="1,2", help="comma-separated")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--base", help="checkpoint; default: the bundled one")
    parser.add_argument("--picture", type=Path, help="photograph; default: a bundled one")
    parser.add_argument("--out", type=Path, default=Path("docs/results/speed.json"))
    arguments = parser.parse_args()

    source = arguments.picture or bundled()
    rgb = photograph(source, width=WIDTH, height=HEIGHT)
    load_before = os.getloadavg()
    results = [
        compare(
            rgb,
            base=arguments.base,
            precision=precision,
            threads=int(threads),
            repeats=arguments.repeats,
        )
        for threads in arguments.threads.split(",")
        for precision in PRECISIONS
    ]
    with tempfile.TemporaryDirectory() as scratch:
        memory_reports = measure_memory(source, base=arguments.base, folder=Path(scratch))
        small = Path(scratch) / "small.png"
        Image.fromarray(photograph(source, width=192, height=128)).save(small)
        start = startup.measure(
            small, base=arguments.base, repeats=max(arguments.repeats, 7), folder=Path(scratch)
        )
    slower = start["decode_over_import_torch"]["median"]
    print(f"cold decode: {slower:.2f} times `import torch`")
    report = {
        **provenance(),
        "picture": source.name,
        "size": [WIDTH, HEIGHT],
        "default_precision": DEFAULT_PRECISION,
        "load_average_before": load_before[0],
        "peer": {"model": "compressai mbt2018_mean, quality 4", "how": peer.HOW},
        "comparisons": results,
        "memory": memory_reports,
        "cold_decode": start,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(arguments.out, (json.dumps(report, indent=1) + "\n").encode(), force=True)


if __name__ == "__main__":
    main()

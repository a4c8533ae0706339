"""What effort buys: rate at equal PSNR and seconds a picture, from the bytes of files.

    python -m benchmarks.rates.effort PICTURES [--base DIR] [--levels 0,3,6,9] [--threads 1]
        [--precision float32] [--out docs/results/effort.json]

The curve of effort 0 at gains around the trained one says what PSNR costs without effort; each
level is one point, compared with that curve at its own PSNR. Pictures on record are kept when the
command is run again.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from promptcodec.api import Codec
from promptcodec.evaluation.bdrate import Curve
from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.evaluation.metrics import psnr
from promptcodec.io.atomic import write_atomically
from promptcodec.io.load import load_picture
from promptcodec.io.provenance import provenance
from promptcodec.models.refine import SCHEDULES

GAINS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # of the curve without effort


def measure(codec: Codec, path: Path, *, effort: int, gain_steps: float) -> dict[str, float]:
    """One file: its rate, its PSNR, the seconds it took to write."""
    rgb = load_picture(path).rgb
    start = time.perf_counter()
    data = codec.encode(path, effort=effort, gain_steps=gain_steps)
    took = time.perf_counter() - start
    decoded = np.asarray(codec.decode(data).convert("RGB"))
    return {
        "bpp": 8 * len(data) / (rgb.shape[0] * rgb.shape[1]),
        "psnr": psnr(rgb, decoded),
        "encode_seconds": took,
    }


def summarise(records: dict[str, dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """Means of each level, and its rate against effort 0 at the same PSNR, in per cent.

    Args:
        records: picture -> "effort/gain" -> measurement.
    """
    names = list(records)

    def mean(key: str, what: str) -> float:
        return float(np.mean([records[name][key][what] for name in names]))

    curves = {
        name: Curve(
            name,
            tuple(records[name][f"0/{gain:g}"]["bpp"] for gain in GAINS),
            tuple(records[name][f"0/{gain:g}"]["psnr"] for gain in GAINS),
        )
        for name in names
    }
    rows = []
    shared = set.intersection(*(set(record) for record in records.values()))
    keys = sorted(key for key in shared if key.endswith("/0"))
    for key in keys:
        level = int(key.split("/")[0])
        change = []
        for name in names:
            point = records[name][key]
            if not curves[name].psnr[0] <= point["psnr"] <= curves[name].psnr[-1]:
                raise SystemExit(f"{name}: effort {level} lies off the curve; widen GAINS")
            # The curve read the other way round: rate over PSNR.
            rate = np.interp(point["psnr"], curves[name].psnr, np.log(curves[name].bpp))
            change.append(100.0 * (point["bpp"] / float(np.exp(rate)) - 1.0))
        rows.append(
            {
                "effort": level,
                "steps": SCHEDULES[level].steps,
                "bpp": mean(key, "bpp"),
                "psnr": mean(key, "psnr"),
                "encode_seconds": mean(key, "encode_seconds"),
                "rate_change_percent": float(np.mean(change)),
                "worst_percent": float(np.max(change)),
            }
        )
    return rows


def main() -> None:
    """Measure picture by picture and keep the result file up to date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--base")
    parser.add_argument("--levels", default="0,3,6,9")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/effort.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    codec = Codec.load(arguments.base, [], precision=arguments.precision)
    settings = {
        "base_sha256": codec.base_hash.hex(),
        "precision": arguments.precision,
        "threads": arguments.threads,
        "schedules": [asdict(schedule) for schedule in SCHEDULES],
    }
    records: dict[str, dict[str, dict[str, float]]] = {}
    if arguments.out.exists():
        earlier = json.loads(arguments.out.read_text("utf-8"))
        if earlier["settings"] == settings:
            records = earlier["pictures"]
    wanted = [(int(level), 0.0) for level in arguments.levels.split(",")]
    wanted += [(0, gain) for gain in GAINS]
    for path in find_pictures(arguments.pictures):
        record = records.setdefault(path.name, {})
        for effort, gain in wanted:
            key = f"{effort}/{gain:g}"
            if key not in record:
                record[key] = measure(codec, path, effort=effort, gain_steps=gain)
        report = {
            "settings": settings,
            "provenance": provenance(),
            "levels": summarise(records),
            "pictures": records,
        }
        write_atomically(arguments.out, (json.dumps(report, indent=1) + "\n").encode(), force=True)
        print(path.name, {row["effort"]: row["rate_change_percent"] for row in report["levels"]})


if __name__ == "__main__":
    main()

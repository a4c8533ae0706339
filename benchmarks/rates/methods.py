"""What adapters lose against a codec for each rate, and what other ways to adapt a base lose.

    promptcodec ablate recipes/rates/ablation.yaml --data DIR --out RUNS
    python -m benchmarks.rates.methods PICTURES RUNS [--ceiling base] [--threads 1]
        [--out docs/results/methods.json]

Every method of the ablation in RUNS and the installed ladder, by bytes of files, as BD-rates
against the ceiling: the whole base tuned to each rate. What was measured of the same weights stays.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from promptcodec.api import Codec
from promptcodec.errors import UsageError
from promptcodec.evaluation.bdrate import Curve, bd_rate
from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.evaluation.metrics import psnr
from promptcodec.io.atomic import write_atomically
from promptcodec.io.hub import find_base, find_prompts
from promptcodec.io.load import load_picture
from promptcodec.io.provenance import provenance
from promptcodec.training.ablation import REPORT, result_of
from promptcodec.training.fine_tuning import BASE, PROMPTS

LADDER = "shipped ladder"


def measure(codec: Codec, rate: int, pictures: list[Path]) -> dict[str, Any]:
    """Means over the pictures of bits of the file for each pixel, and of PSNR."""
    bpp, quality = [], []
    for path in pictures:
        rgb = load_picture(path).rgb
        data = codec.encode(path, rate_index=rate)
        bpp.append(8 * len(data) / (rgb.shape[0] * rgb.shape[1]))
        quality.append(psnr(rgb, np.asarray(codec.decode(data).convert("RGB"))))
    return {"bpp": float(np.mean(bpp)), "psnr": float(np.mean(quality))}


def points_of(
    opened: dict[int, Codec], pictures: list[Path], known: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A method's points; those already known of the same weights are taken over."""
    points = []
    for rate, codec in opened.items():
        point = codec.at(rate)
        weights = [codec.base_hash.hex(), *(digest.hex() for digest in point.hashes)]
        found = next((p for p in known if p["weights"] == weights), None)
        points.append(
            found or {"rate_index": rate, "weights": weights, **measure(codec, rate, pictures)}
        )
        print(points[-1], flush=True)
    return points


def against(points: list[dict[str, Any]], ceiling: list[dict[str, Any]]) -> list[float | None]:
    """BD-rate in per cent: over all, then by quarter of the ceiling's log(bpp), lowest first.

    A quarter that a curve reaches only in part is judged on that part, if it is half of it.
    """
    own, best = (
        Curve(name, tuple(p["bpp"] for p in curve), tuple(p["psnr"] for p in curve))
        for name, curve in (("method", points), ("ceiling", ceiling))
    )
    edges = np.exp(np.linspace(np.log(best.bpp[0]), np.log(best.bpp[-1]), 5))
    levels = [best.psnr_at(float(np.clip(e, best.bpp[0], best.bpp[-1]))) for e in edges]
    values: list[float | None] = [bd_rate(own, best)]
    for low, high in pairwise(levels):
        shared = (max(low, own.psnr[0]), min(high, own.psnr[-1]))
        try:
            enough = shared[1] - shared[0] >= (high - low) / 2
            values.append(bd_rate(own, best, between=shared) if enough else None)
        except UsageError:
            values.append(None)
    return values


def main() -> None:
    """Measure every method and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--ceiling", default="base")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/results/methods.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ablation = json.loads((arguments.runs / REPORT).read_text("utf-8"))
    pictures = find_pictures(arguments.pictures)
    known: list[dict[str, Any]] = []
    if arguments.out.exists():
        earlier = json.loads(arguments.out.read_text("utf-8"))
        known = [point for row in earlier["methods"] for point in row["points"]]
    rates = sorted(map(int, ablation["methods"][0]["rates"]))
    rows: list[dict[str, Any]] = []
    for row in ablation["methods"]:
        folder = arguments.runs / row["method"]["name"]
        opened = {}
        for rate in rates:
            result = result_of(folder, rate)
            tuned = (result / PROMPTS).is_dir()
            opened[rate] = (
                Codec.load(result / BASE, result / PROMPTS) if tuned else Codec.load(None, result)
            )
        facts = {name: row[name] for name in ("optimizer", "learning_rate", "steps", "parameters")}
        losses = {rate: value["loss"] for rate, value in row["rates"].items()}
        validations = _validations(folder / f"rate-{rates[-1]}")
        rows.append(
            {
                "method": row["method"],
                **facts,
                "held_out_loss": losses,
                "last_fifth_percent": {rate: _last_fifth(folder / f"rate-{rate}") for rate in rates}
                if len(validations) > 1
                else None,
                "points": points_of(opened, pictures, known),
            }
        )
    ladder = Codec.load()
    shipped = points_of(dict.fromkeys(rates, ladder), pictures, known)
    rows.append({"method": {"name": LADDER}, "points": shipped, **_trained(rates)})
    ceiling = next(r["points"] for r in rows if r["method"]["name"] == arguments.ceiling)
    for row in rows:
        row["bd_rate"] = against(row["points"], ceiling)
    report = {
        "base_sha256": ladder.base_hash.hex(),
        "ceiling": arguments.ceiling,
        "search_steps": ablation["config"]["search_steps"],
        "ablation": ablation["provenance"],
        "methods": rows,
        "provenance": provenance(),
    }
    write_atomically(arguments.out, (json.dumps(report, indent=1) + "\n").encode(), force=True)


def _validations(run: Path) -> list[float]:
    lines = (run / "log.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["validation"]["loss"] for line in lines if '"validation"' in line]


def _last_fifth(run: Path) -> float:
    """How much the held-out loss still fell after the last but one validation, in per cent."""
    before, after = _validations(run)[-2:]
    return 100.0 * (before / after - 1.0)


def _trained(rates: list[int]) -> dict[str, Any]:
    """Steps and parameters of the installed ladder."""
    folders = [f for f in find_prompts(None, base=None) if int(f.name[5:]) in rates]
    records = [json.loads((folder / "training.json").read_text("utf-8")) for folder in folders]
    adapters = Codec.load(find_base(None), folders).ladder.adapters.values()
    counts = [sum(p.numel() for p in adapter.network.parameters()) for adapter in adapters]
    return {"steps": max(record["steps"] for record in records), "parameters": max(counts)}


if __name__ == "__main__":
    main()

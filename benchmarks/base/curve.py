"""Rate of bases at equal PSNR on pictures held out of their training, by global gains.

    python -m benchmarks.base.curve RECIPE BASE [BASE ...] --data DIR [--cache FILE]
        [--out docs/results/base-curve.json]

The first base is what the others are judged against. RECIPE says which pictures are held out. Rates
are ideal code lengths of the integer tables, without headers.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from promptcodec.coding.gains import FRACTION_BITS
from promptcodec.evaluation.bdrate import Curve, bd_rate
from promptcodec.io.atomic import write_atomically
from promptcodec.io.provenance import provenance
from promptcodec.models.checkpoint import read_base
from promptcodec.training.config import BaseTrainingConfig, read_recipe
from promptcodec.training.data.pictures import PictureStore
from promptcodec.training.validation import validate

STEPS = (-8, -4, 0, 4, 8)  # of the tables, by which everything is quantised more finely


def measure(folder: Path, pictures: list[torch.Tensor]) -> dict[str, Any]:
    """Rate and distortion of one base at all gains."""
    base = read_base(folder)
    points = {}
    for steps in STEPS:
        found = validate(
            base.model,
            pictures,
            samples=None,
            tables=base.tables,
            gain_steps=steps << FRACTION_BITS,
        )
        points[steps] = found.figures(lmbda=base.config.lmbda)
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return {"name": folder.name, "sha256": base.sha256.hex(), "points": points, "run": training}


def main() -> None:
    """Measure all bases and write one JSON file."""
    parser = argparse.ArgumentParser(description="Rate of bases at equal PSNR.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("bases", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results/base-curve.json"))
    arguments = parser.parse_args()
    config = read_recipe(arguments.recipe, BaseTrainingConfig).data
    pictures = PictureStore(arguments.data, config, cache=arguments.cache).validation
    rows, curves = [], []
    for folder in arguments.bases:
        row = measure(folder, pictures)
        points = row["points"].values()
        rate = tuple(point["bpp_estimate"] for point in points)
        curves.append(Curve(str(folder), rate, tuple(point["psnr"] for point in points)))
        row["rate_at_equal_psnr"] = bd_rate(curves[-1], curves[0])
        rows.append(row)
        print(f"{folder}: {row['rate_at_equal_psnr']:+.2f} %", flush=True)
    report = {"pictures": len(pictures), "bases": rows, "provenance": provenance()}
    write_atomically(arguments.out, (json.dumps(report, indent=1) + "\n").encode(), force=True)


if __name__ == "__main__":
    main()

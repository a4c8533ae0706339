"""Rate of bases at equal PSNR on pictures held out of their training, by global gains.

    python -m benchmarks.base.curve RECIPE BASE [BASE ...] --data DIR [--cache FILE]
        [--out docs/results/base-curve.json]

The first base is the reference of the others. The data section of RECIPE selects the held-out
pictures. Rates are ideal code lengths of the integer tables, without headers.
"""

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import curve_of, parse, parser, write_record
from promptcodec.coding.gains import FRACTION_BITS
from promptcodec.evaluation.bdrate import bd_rate
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
    options = parser(__doc__, out="base-curve", threads=False)
    options.add_argument("recipe", type=Path)
    options.add_argument("bases", nargs="+", type=Path)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--cache", type=Path)
    arguments = parse(options)
    config = read_recipe(arguments.recipe, BaseTrainingConfig).data
    pictures = PictureStore(arguments.data, config, cache=arguments.cache).validation
    rows, curves = [], []
    for folder in arguments.bases:
        row = measure(folder, pictures)
        curves.append(curve_of(str(folder), [*row["points"].values()], rate="bpp_estimate"))
        row["rate_at_equal_psnr"] = bd_rate(curves[-1], curves[0])
        rows.append(row)
        print(f"{folder}: {row['rate_at_equal_psnr']:+.2f} %", flush=True)
    write_record(arguments.out, {"pictures": len(pictures), "bases": rows})


if __name__ == "__main__":
    main()

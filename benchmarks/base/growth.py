"""What a mature run gains by more of the same, by a decay, or by growing: branches from one state.

    python -m benchmarks.base.growth NAME=RUN[@STEP] ... [--out docs/results/base-growth.json]

A branch is a run folder; with @STEP it is a resumed run, whose steps up to STEP are those of the
start. Its recipe is that of its training state.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from benchmarks.common import parse, parser, write_record
from promptcodec.config import CodecConfig, from_dict
from promptcodec.evaluation.speed.complexity import complexity_table, count_parameters
from promptcodec.models.codec_model import CodecModel

SHAPE = ("encoder_channels", "encoder_blocks", "decoder_channels", "decoder_blocks")


def read_branch(text: str) -> dict[str, Any]:
    """Name, shape, cost and validations of a branch given as NAME=RUN[@STEP]."""
    name, _, place = text.partition("=")
    folder, _, first = place.partition("@")
    run, since = Path(folder), int(first or 0)
    with safe_open(run / "state.safetensors", "pt") as file:
        recipe = json.loads(file.metadata()["extra"])["recipe"]
    pixels = recipe["batch"] * recipe["accumulate"] * recipe["data"]["crop"] ** 2 / 1e9
    found = {}
    for line in (run / "log.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "validation" in record and record["step"] > since:
            steps = record["step"] - since
            found[steps] = {"steps": steps, "gigapixels": steps * pixels, **record["validation"]}
    model = CodecModel(from_dict(CodecConfig, recipe["codec"]))
    costs = {row.name: row.kmac_per_pixel for row in complexity_table(model)}
    return {
        "name": name,
        "shape": {key: recipe["codec"][key] for key in SHAPE},
        "kmac_per_pixel": {part: costs[part] for part in ("g_a", "g_s")},
        "parameters": count_parameters(model),
        "learning_rate": recipe["optimizer"]["learning_rate"],
        "ema_decay": recipe["optimizer"]["ema_decay"],
        "points": [found[steps] for steps in sorted(found)],
    }


def main() -> None:
    """Read the branches and write one JSON file."""
    options = parser(__doc__, out="base-growth", threads=False)
    options.add_argument("branches", nargs="+", metavar="NAME=RUN[@STEP]")
    arguments = parse(options)
    rows = [read_branch(text) for text in arguments.branches]
    write_record(arguments.out, {"branches": rows})
    for row in rows:
        last = row["points"][-1]
        print(f"{row['name']}: {last['loss']:.4f} after {last['gigapixels']:.2f} gigapixels")


if __name__ == "__main__":
    main()

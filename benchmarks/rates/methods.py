"""Loss of adapters, and of other ways to adapt a base, against a codec for each rate.

    promptcodec ablate recipes/rates/ablation.yaml --data DIR --out RUNS
    python -m benchmarks.rates.methods PICTURES RUNS [--ceiling base] [--threads 1]
        [--out docs/results/methods.json]

Every method of the ablation in RUNS and the installed ladder, by bytes of files, as BD-rates
against the ceiling: the whole base tuned to each rate. Points of weights on record are kept.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.common import (
    average_files,
    curve_of,
    parse,
    parser,
    quarters,
    read_record,
    write_record,
)
from promptcodec.api import Codec
from promptcodec.errors import UsageError
from promptcodec.evaluation.bdrate import bd_rate
from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.evaluation.speed.complexity import count_parameters
from promptcodec.io.checkpoints import find_base, find_prompts
from promptcodec.training.ablation import REPORT, result_of
from promptcodec.training.fine_tuning import BASE, PROMPTS

LADDER = "shipped ladder"


def points_of(
    opened: dict[int, Codec], pictures: list[Path], known: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Points of a method; known points of the same weights are reused."""
    points = []
    for rate, codec in opened.items():
        point = codec.at(rate)
        weights = [codec.base_hash.hex(), *(digest.hex() for digest in point.hashes)]
        found = next((p for p in known if p["weights"] == weights), None)
        if found is None:
            found = {"rate_index": rate, "weights": weights}
            found |= average_files(codec, pictures, rate_index=rate)
        points.append(found)
        print(points[-1], flush=True)
    return points


def against(points: list[dict[str, Any]], ceiling: list[dict[str, Any]]) -> list[float | None]:
    """BD-rate in per cent: over all, then by quarter of the ceiling's log(bpp), lowest first.

    A quarter that a curve reaches only in part is judged on that part, if it is half of it.
    """
    own, best = curve_of("method", points), curve_of("ceiling", ceiling)
    values: list[float | None] = [bd_rate(own, best)]
    for low, high in quarters(best):
        shared = (max(low, own.psnr[0]), min(high, own.psnr[-1]))
        try:
            enough = shared[1] - shared[0] >= (high - low) / 2
            values.append(bd_rate(own, best, between=shared) if enough else None)
        except UsageError:
            values.append(None)
    return values


def main() -> None:
    """Measure every method and write the record."""
    options = parser(__doc__, out="methods")
    options.add_argument("pictures", type=Path)
    options.add_argument("runs", type=Path)
    options.add_argument("--ceiling", default="base")
    arguments = parse(options)
    ablation = json.loads((arguments.runs / REPORT).read_text("utf-8"))
    pictures = find_pictures(arguments.pictures)
    earlier = read_record(arguments.out).get("methods", [])
    known = [point for row in earlier for point in row["points"]]
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
    }
    write_record(arguments.out, report)


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
    counts = [count_parameters(adapter.network) for adapter in adapters]
    return {"steps": max(record["steps"] for record in records), "parameters": max(counts)}


if __name__ == "__main__":
    main()

"""Loss of adapters, and of other ways to adapt a base, against a codec for each rate.

    promptcodec ablate recipes/rates/ceiling.yaml --data DIR --out RUNS
    python -m benchmarks.rates.methods PICTURES RUNS [--ceiling base] [--threads 1]
        [--out docs/results/ceiling.json]

Every method of the comparison in RUNS and the installed ladder, from bytes of files, against the
ceiling: the whole base tuned to each rate. At each rate a method is coded at several gains, and its
rate is read from this curve at the PSNR of the ceiling; BD-rates are those of the whole curves.
Runs of the ceiling with other seeds show how large a difference means something. A stopped run goes
on, with the same weights, pictures, code and machine.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import (
    continued,
    identity,
    measure_files,
    parse,
    parser,
    sample_of,
    write_record,
)
from promptcodec.api import Codec
from promptcodec.evaluation.bootstrap import Estimate, Sample, deltas, estimate
from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.evaluation.speed.complexity import count_parameters
from promptcodec.io.checkpoints import find_base, find_prompts
from promptcodec.training.ablation import REPORT, result_of
from promptcodec.training.fine_tuning import BASE, PROMPTS

LADDER = "shipped ladder"
GAINS = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)  # around each rate; three are about a rate


@dataclass(frozen=True)
class Run:
    """One trained codec of one rate.

    Attributes:
        method: name of its method.
        rate: rate index.
        seed: number of its seed, 0 for that of the table.
        codec: codec with the adapter of that rate.
    """

    method: str
    rate: int
    seed: int
    codec: Codec

    @property
    def key(self) -> str:
        """Name in the record, with the hashes of the weights."""
        point = self.codec.at(self.rate)
        weights = [self.codec.base_hash.hex()[:16], *(d.hex()[:16] for d in point.hashes)]
        return f"{self.method}, rate {self.rate}, seed {self.seed}, {' '.join(weights)}"


def measure(run: Run, pictures: Sequence[Path]) -> dict[str, Any]:
    """Rates and PSNRs by picture at every gain."""
    return {
        "method": run.method,
        "rate_index": run.rate,
        "seed": run.seed,
        "gains": [
            measure_files(run.codec, pictures, rate_index=run.rate, gain_steps=gain)
            for gain in GAINS
        ],
    }


def at_equal_psnr(own: dict[str, Any], reference: dict[str, Any]) -> Estimate:
    """Rate against a reference at its PSNR, per cent, averages over pictures.

    Args:
        own: measurement of a method at a rate.
        reference: that of the reference, whose point without gain is met.
    Returns:
        No value where the gains do not reach that PSNR, no interval for few pictures or where
        resamples do not reach it.
    """
    curve = sample_of("method", own["gains"])
    point = {k: np.array(v) for k, v in reference["gains"][GAINS.index(0.0)].items()}

    def percent(chosen: np.ndarray) -> float:
        rate = curve.curve(chosen).bpp_at(float(point["psnr"][chosen].mean()))
        return 100.0 * (rate / float(point["bpp"][chosen].mean()) - 1.0)

    return estimate(percent, len(point["bpp"]))


def noise_of(points: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Largest difference between two seeds at equal PSNR, per cent, by rate with several."""
    found: dict[int, float] = {}
    for first, second in combinations(points, 2):
        if first["rate_index"] == second["rate_index"]:
            value = at_equal_psnr(second, first).value
            if value is not None:
                rate = first["rate_index"]
                found[rate] = max(found.get(rate, 0.0), abs(value))
    return found


def compare(points: Sequence[dict[str, Any]], ceiling: str) -> list[dict[str, Any]]:
    """Each method against the ceiling, at each rate and over all of them.

    Args:
        points: results of `measure`.
        ceiling: name of the method that is the reference.
    """
    by_method: dict[str, dict[int, dict[str, Any]]] = {}
    for point in points:
        if point["seed"] == 0:
            by_method.setdefault(point["method"], {})[point["rate_index"]] = point
    best = by_method[ceiling]

    def whole(name: str) -> Sample:
        middle = GAINS.index(0.0)
        return sample_of(name, [p["gains"][middle] for _, p in sorted(by_method[name].items())])

    return [
        {
            "method": name,
            "at_equal_psnr": {
                rate: asdict(at_equal_psnr(point, best[rate]))
                for rate, point in sorted(own.items())
            },
            "deltas": asdict(deltas(whole(name), whole(ceiling))),
        }
        for name, own in by_method.items()
    ]


def runs_of(ablation: dict[str, Any], folder: Path) -> Iterator[Run]:
    """Every run of a comparison, opened, and the installed ladder at its rates."""
    rates = sorted(ablation["config"]["rates"])
    for row in ablation["methods"]:
        name = row["method"]["name"]
        for rate in rates:
            for seed in range(1 + len(row["rates"][str(rate)]["other_seeds"])):
                result = result_of(folder / name, rate, seed=seed)
                tuned = (result / PROMPTS).is_dir()
                # torch, as tuned codecs have no graphs: one engine for all.
                codec = (
                    Codec.load(result / BASE, result / PROMPTS, engine="torch")
                    if tuned
                    else Codec.load(None, result, engine="torch")
                )
                yield Run(name, rate, seed, codec)
    ladder = Codec.load(engine="torch")
    yield from (Run(LADDER, rate, 0, ladder) for rate in rates)


def main() -> None:
    """Measure every method and write the record."""
    options = parser(__doc__, out="ceiling")
    options.add_argument("pictures", type=Path)
    options.add_argument("runs", type=Path)
    options.add_argument("--ceiling", default="base")
    arguments = parse(options)
    ablation = json.loads((arguments.runs / REPORT).read_text("utf-8"))
    pictures = find_pictures(arguments.pictures)
    ladder = Codec.load(engine="torch")
    if ablation["base_sha256"] != ladder.base_hash.hex():
        raise SystemExit(f"{arguments.runs} is of another base than the installed one: train again")
    wanted = identity(ladder, pictures, ceiling=arguments.ceiling, gains=GAINS)
    report = continued(arguments.out, wanted)
    known = report.setdefault("points", {})
    found = {}
    for run in runs_of(ablation, arguments.runs):
        found[run.key] = known.get(run.key) or measure(run, pictures)
        known[run.key] = found[run.key]
        report.pop("provenance", None)
        write_record(arguments.out, report)
        print(run.key, flush=True)
    points = list(found.values())
    seeds = noise_of([point for point in points if point["method"] == arguments.ceiling])
    report |= {
        "points": found,
        "base_sha256": ladder.base_hash.hex(),
        "ceiling": arguments.ceiling,
        "search_share": ablation["config"]["search_share"],
        "ablation": ablation["provenance"],
        "noise_percent": seeds,
        "comparisons": compare(points, arguments.ceiling),
        "methods": [
            {
                "method": row["method"],
                "steps": row["steps"],
                "parameters": row["parameters"],
                "chosen": {
                    rate: f"{each['optimizer']} {each['learning_rate']:g}"
                    for rate, each in row["rates"].items()
                },
                "held_out_loss": {rate: each["loss"] for rate, each in row["rates"].items()},
                "last_fifth_percent": _last_fifths(arguments.runs / row["method"]["name"], row),
            }
            for row in ablation["methods"]
        ]
        + [{"method": {"name": LADDER}, **_trained(sorted(ablation["config"]["rates"]))}],
    }
    report.pop("provenance", None)
    write_record(arguments.out, report)


def _last_fifths(folder: Path, row: dict[str, Any]) -> dict[str, float | None]:
    """How much the held-out loss still fell after the last but one validation, in per cent."""
    return {rate: _last_fifth(folder / f"rate-{rate}") for rate in row["rates"]}


def _last_fifth(run: Path) -> float | None:
    lines = (run / "log.jsonl").read_text("utf-8").splitlines()
    losses = [json.loads(line)["validation"]["loss"] for line in lines if '"validation"' in line]
    return 100.0 * (losses[-2] / losses[-1] - 1.0) if len(losses) > 1 else None


def _trained(rates: list[int]) -> dict[str, Any]:
    """Steps and parameters of the installed ladder."""
    folders = [f for f in find_prompts(None, base=None) if int(f.name[5:]) in rates]
    records = [json.loads((folder / "training.json").read_text("utf-8")) for folder in folders]
    adapters = Codec.load(find_base(None), folders, engine="torch").ladder.adapters.values()
    counts = [count_parameters(adapter.network) for adapter in adapters]
    return {"steps": max(record["steps"] for record in records), "parameters": max(counts)}


if __name__ == "__main__":
    main()

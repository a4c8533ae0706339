"""Levels of effort at rates of the ladder: rate at equal PSNR and seconds, from bytes of files.

    python -m benchmarks.rates.effort PICTURES [--base DIR] [--prompts DIR] [--rates 0,4,7]
        [--levels 0,3,6,9] [--threads 1] [--precision float32] [--out docs/results/effort.json]

Each level is one point. Its rate is compared with the curve of effort 0 over gains around the same
rate, at the same PSNR, picture by picture. A stopped run goes on, with the same weights, pictures,
code and machine.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import (
    code_file,
    continued,
    curve_of,
    identity,
    parse,
    parser,
    write_record,
)
from promptcodec.api import Codec
from promptcodec.errors import UsageError
from promptcodec.evaluation.bootstrap import Estimate, estimate
from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.models.refine import SCHEDULES

GAINS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)  # of the curves without effort


def measure(
    codec: Codec, path: Path, *, rate: float, effort: int, gain_steps: float
) -> dict[str, float]:
    """Rate, PSNR and seconds of encoding of one file."""
    file = code_file(codec, path, rate_index=rate, effort=effort, gain_steps=gain_steps)
    return {"bpp": file.bpp, "psnr": file.psnr, "encode_seconds": file.seconds}


def key_of(rate: float, effort: int, gain: float) -> str:
    """Key of a measurement in the record of a picture."""
    return f"rate {rate:g}, effort {effort}, gain {gain:g}"


def change(record: dict[str, dict[str, float]], *, rate: float, effort: int) -> float | None:
    """Rate of one picture against effort 0 at its PSNR, per cent; None outside that curve."""
    point = record[key_of(rate, effort, 0.0)]
    plain = curve_of("effort 0", [record[key_of(rate, 0, gain)] for gain in GAINS])
    try:
        return 100.0 * (point["bpp"] / plain.bpp_at(point["psnr"]) - 1.0)
    except UsageError:
        return None


def summarise(
    records: dict[str, dict[str, dict[str, float]]], *, rates: list[float], levels: list[int]
) -> list[dict[str, Any]]:
    """Means of each rate and level over the pictures that have all of them.

    Args:
        records: picture -> `key_of` -> measurement.
        rates: rate indexes.
        levels: levels of effort.
    """
    rows = []
    for rate in rates:
        for level in levels:
            points = [record[key_of(rate, level, 0.0)] for record in records.values()]
            found = [change(record, rate=rate, effort=level) for record in records.values()]
            known = [value for value in found if value is not None]
            whole = len(known) == len(found)  # averages over some pictures would flatter
            rows.append(
                {
                    "rate_index": rate,
                    "effort": level,
                    "steps": SCHEDULES[level].steps,
                    **{
                        name: float(np.mean([point[name] for point in points]))
                        for name in ("bpp", "psnr", "encode_seconds")
                    },
                    "rate_change_percent": asdict(_mean(known)) if whole else None,
                    "worst_percent": max(known) if whole else None,
                    "outside": len(found) - len(known),
                }
            )
    return rows


def _mean(values: list[float]) -> Estimate:
    """Mean over pictures with its interval."""
    array = np.array(values)
    return estimate(lambda chosen: float(array[chosen].mean()), len(array))


def main() -> None:
    """Measure picture by picture and keep the result file up to date."""
    options = parser(__doc__, out="effort")
    options.add_argument("pictures", type=Path)
    options.add_argument("--base")
    options.add_argument("--prompts")
    options.add_argument("--rates", default="0,4,7")
    options.add_argument("--levels", default="0,3,6,9")
    options.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    arguments = parse(options)
    codec = Codec.load(
        arguments.base, arguments.prompts, engine="torch", precision=arguments.precision
    )
    pictures = find_pictures(arguments.pictures)
    rates = [float(rate) for rate in arguments.rates.split(",")]
    levels = [int(level) for level in arguments.levels.split(",")]
    wanted = [(level, 0.0) for level in levels] + [(0, gain) for gain in GAINS]
    report = continued(
        arguments.out,
        identity(
            codec,
            pictures,
            rates=rates,
            levels=levels,
            precision=arguments.precision,
            threads=arguments.threads,
            schedules=[asdict(schedule) for schedule in SCHEDULES],
        ),
    )
    report.setdefault("load_average_before", os.getloadavg()[0])
    records = report.setdefault("pictures", {})
    for path in pictures:
        if path.name in records:
            continue
        records[path.name] = {
            key_of(rate, effort, gain): measure(
                codec, path, rate=rate, effort=effort, gain_steps=gain
            )
            for rate in rates
            for effort, gain in dict.fromkeys(wanted)
        }
        report["levels"] = summarise(records, rates=rates, levels=levels)
        report.pop("provenance", None)
        write_record(arguments.out, report)
        print(path.name, flush=True)


if __name__ == "__main__":
    main()

"""Levels of effort: rate at equal PSNR and seconds per picture, from the bytes of files.

    python -m benchmarks.rates.effort PICTURES [--base DIR] [--levels 0,3,6,9] [--threads 1]
        [--precision float32] [--out docs/results/effort.json]

Each level is one point. Its rate is compared with the curve of effort 0 over gains, at the same
PSNR. Pictures on record are not measured again.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import code_file, curve_of, parse, parser, read_record, write_record
from promptcodec.api import Codec
from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.models.refine import SCHEDULES

GAINS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # of the curve without effort


def measure(codec: Codec, path: Path, *, effort: int, gain_steps: float) -> dict[str, float]:
    """Rate, PSNR and seconds of encoding of one file."""
    file = code_file(codec, path, effort=effort, gain_steps=gain_steps)
    return {"bpp": file.bpp, "psnr": file.psnr, "encode_seconds": file.seconds}


def summarise(records: dict[str, dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """Means of each level, and its rate against effort 0 at the same PSNR, in per cent.

    Args:
        records: picture -> "effort/gain" -> measurement.
    """
    names = list(records)

    def mean(key: str, what: str) -> float:
        return float(np.mean([records[name][key][what] for name in names]))

    curves = {
        name: curve_of(name, [record[f"0/{gain:g}"] for gain in GAINS])
        for name, record in records.items()
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
    options = parser(__doc__, out="effort")
    options.add_argument("pictures", type=Path)
    options.add_argument("--base")
    options.add_argument("--levels", default="0,3,6,9")
    options.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    arguments = parse(options)
    codec = Codec.load(arguments.base, [], precision=arguments.precision)
    settings = {
        "base_sha256": codec.base_hash.hex(),
        "precision": arguments.precision,
        "threads": arguments.threads,
        "schedules": [asdict(schedule) for schedule in SCHEDULES],
    }
    earlier = read_record(arguments.out)
    records = earlier["pictures"] if earlier.get("settings") == settings else {}
    wanted = [(int(level), 0.0) for level in arguments.levels.split(",")]
    wanted += [(0, gain) for gain in GAINS]
    for path in find_pictures(arguments.pictures):
        record = records.setdefault(path.name, {})
        for effort, gain in wanted:
            key = f"{effort}/{gain:g}"
            if key not in record:
                record[key] = measure(codec, path, effort=effort, gain_steps=gain)
        levels = summarise(records)
        write_record(arguments.out, {"settings": settings, "levels": levels, "pictures": records})
        print(path.name, {row["effort"]: row["rate_change_percent"] for row in levels})


if __name__ == "__main__":
    main()

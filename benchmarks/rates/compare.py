"""Comparisons of an evaluation anew, from its records of single pictures.

    python -m benchmarks.rates.compare docs/results/kodak.json

For a record whose pictures were measured before curves were compared in the present way; nothing is
measured. The record keeps its provenance, and that of the comparison is added as "compared".
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.common import parse, parser, write_json
from promptcodec.evaluation.codecs.sweep import BaselinePicture, BaselinePoint, BaselineResult
from promptcodec.evaluation.comparison import bd_rates, compare_all
from promptcodec.evaluation.results import PictureRecord, PointResult, read_results
from promptcodec.io.provenance import provenance


def compared_again(results: dict[str, Any]) -> dict[str, Any]:
    """The same results with comparisons of the present code.

    Args:
        results: result of `read_results`, with the records of single pictures.
    """
    notes: list[str] = []
    points = [
        PointResult(**point | {"pictures": tuple(PictureRecord(**p) for p in point["pictures"])})
        for point in results["points"]
    ]
    baselines = [
        BaselineResult(
            each["name"],
            each["options"],
            tuple(BaselinePoint(**point) for point in each["averages"]),
            tuple(BaselinePicture(**point) for point in each["pictures"]),
        )
        for each in results["baselines"]
    ]
    found = compare_all(points, baselines, metrics=results["metrics"], notes=notes)
    return results | {
        "comparisons": json.loads(json.dumps([asdict(each) for each in found])),
        "bd_rate": bd_rates(found),
        "notes": list(dict.fromkeys([*results["notes"], *notes])),
        "compared": provenance(),
    }


def main() -> None:
    """Compare and replace the record."""
    options = parser(__doc__, threads=False)
    options.add_argument("record", type=Path, help="results.json of `promptcodec eval`")
    path = parse(options).record
    write_json(path, compared_again(read_results(path)))


if __name__ == "__main__":
    main()

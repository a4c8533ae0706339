"""Half an hour from nothing: a base trained on one thread, and JPEG at its rate.

    python -m benchmarks.base.half_hour DATA PICTURES --run RUN [--minutes 30]
        [--recipe recipes/base/base-small.yaml] [--out docs/results/half-hour.json]

DATA are training pictures, PICTURES those to measure on, of which none is trained on. The training
is `promptcodec train-base RECIPE --minutes 30` in a process of its own with one thread; RUN must
not exist yet, so that nothing is taken over from an earlier run. Then the base, without adapters,
codes every picture to a file, and JPEG is read from its curve at the same rate.
"""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT, environment, measure_files, parse, parser, write_record
from promptcodec.api import Codec
from promptcodec.evaluation.bootstrap import Estimate, Sample, estimate
from promptcodec.evaluation.codecs.registry import CLASSIC
from promptcodec.evaluation.codecs.sweep import sweep
from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.io.load import load_picture
from promptcodec.training.record import read_record


def train(recipe: Path, *, data: Path, run: Path, minutes: float) -> None:
    """Train in a fresh process with one thread."""
    words = [sys.executable, "-m", "promptcodec", "train-base", str(recipe), "--data", str(data)]
    words += ["--out", str(run), "--minutes", f"{minutes:g}", "--device", "cpu"]
    subprocess.run(words, check=True, env=environment())


def above(ours: dict[str, list[float]], rival: Sample) -> Estimate:
    """PSNR of one point above the curve of a rival at the same rate, dB.

    Args:
        ours: rate and PSNR of each picture.
        rival: its curve on the same pictures, in the same order.
    Returns:
        No value outside the rival's rates.
    """
    rates, qualities = np.array(ours["bpp"]), np.array(ours["psnr"])

    def difference(chosen: np.ndarray) -> float:
        other = rival.curve(chosen).psnr_at(float(rates[chosen].mean()))
        return float(qualities[chosen].mean()) - other

    return estimate(difference, len(rates))


def jpeg_curve(pictures: list[Path]) -> Sample:
    """JPEG of optimised tables at every quality of its sweep."""
    codec = CLASSIC["jpeg"]
    rows = [
        sweep(codec, load_picture(path).rgb, picture=path.name, grey=False) for path in pictures
    ]
    rates, qualities = (
        np.array([[getattr(point, key) for point in row] for row in rows])
        for key in ("bpp", "psnr")
    )
    return Sample("jpeg", rates, qualities)


def main() -> None:
    """Train, measure and write the record."""
    options = parser(__doc__, out="half-hour", threads=True)
    options.add_argument("data", type=Path)
    options.add_argument("pictures", type=Path)
    options.add_argument("--run", type=Path, required=True)
    options.add_argument("--minutes", type=float, default=30.0)
    options.add_argument("--recipe", type=Path, default=ROOT / "recipes/base/base-small.yaml")
    arguments = parse(options)
    if arguments.run.exists():
        sys.exit(f"{arguments.run} exists: name a new folder, so that the run begins with nothing")
    pictures, load = find_pictures(arguments.pictures), os.getloadavg()[0]
    train(arguments.recipe, data=arguments.data, run=arguments.run, minutes=arguments.minutes)
    base = arguments.run / "base"
    codec = Codec.load(base, [], engine="torch", threads=arguments.threads)
    found = measure_files(codec, pictures)
    lead = above(found, jpeg_curve(pictures))
    report = {
        "minutes": arguments.minutes,
        "recipe": arguments.recipe.name,
        "load_average_before": load,
        "base_sha256": codec.base_hash.hex(),
        "training": read_record(base),
        "folder": arguments.pictures.resolve().name,
        "pictures": len(pictures),
        "bpp": float(np.mean(found["bpp"])),
        "psnr": float(np.mean(found["psnr"])),
        "above_jpeg": None if lead.value is None else asdict(lead),
        "by_picture": found,
    }
    write_record(arguments.out, report)
    print(f"{report['psnr']:.2f} dB at {report['bpp']:.3f} bpp; above JPEG: {lead}")


if __name__ == "__main__":
    main()

"""Shared by the benchmarks: arguments, result files, files there and back, other checkouts."""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from promptcodec.coding.codec import PictureCodec
from promptcodec.evaluation.bdrate import Curve
from promptcodec.evaluation.metrics import bpp, psnr
from promptcodec.io.atomic import write_atomically
from promptcodec.io.load import load_picture
from promptcodec.io.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"


def parser(doc: str | None, *, out: str | None = None, threads: bool = True) -> Any:
    """A parser of a script's arguments.

    Args:
        doc: docstring of the script; its first line is the description.
        out: name of the result file that `--out` names by default, without suffix; None is no file.
        threads: add `--threads`, the threads of torch.
    """
    found = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    if threads:
        found.add_argument("--threads", type=int, default=1)
    default = None if out is None else Path("docs/results") / f"{out}.json"
    found.add_argument("--out", type=Path, default=default, help="JSON file for the record")
    return found


def parse(found: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line and set the threads of torch."""
    arguments = found.parse_args()
    if "threads" in arguments:
        import torch

        torch.set_num_threads(arguments.threads)
    return arguments


def write_record(path: Path, report: dict[str, Any]) -> None:
    """Write a result file; "provenance" is added if the report has none."""
    if "provenance" not in report:
        report = {**report, "provenance": provenance()}
    write_json(path, report)


def write_json(path: Path, report: dict[str, Any], *, indent: int | None = 1) -> None:
    """Write a JSON file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(report, indent=indent) + "\n").encode(), force=True)


def read_record(path: Path) -> dict[str, Any]:
    """The content of a result file; empty if there is none."""
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def read_result(name: str, beside: Sequence[str] = ()) -> dict[str, Any]:
    """A result file of docs/results, with others under their names; empty if it is not there."""
    own = read_record(RESULTS / f"{name}.json")
    others = {other: read_record(RESULTS / f"{other}.json") for other in beside if own}
    return own | {other: report for other, report in others.items() if report}


@dataclass(frozen=True, eq=False)
class CodedFile:
    """One picture there and back.

    Attributes:
        rgb: original, uint8 (H, W, 3).
        data: its stream.
        bpp: 8 * bytes / pixels.
        psnr: dB over RGB.
        seconds: wall time of encoding.
    """

    rgb: np.ndarray
    data: bytes
    bpp: float
    psnr: float
    seconds: float


def code_file(codec: PictureCodec, path: Path, **options: Any) -> CodedFile:
    """Encode a picture file with options of `Codec.encode`, decode and measure it.

    Without an option for graphics no tile is exact, as the learned codec is what is measured.
    """
    rgb, options = load_picture(path).rgb, {"graphics": "never"} | options
    start = time.perf_counter()
    data = codec.encode(path, **options)
    seconds = time.perf_counter() - start
    shown = np.asarray(codec.decode(data).convert("RGB"))
    rate = bpp(len(data), width=rgb.shape[1], height=rgb.shape[0])
    return CodedFile(rgb, data, rate, psnr(rgb, shown), seconds)


def average_files(codec: PictureCodec, paths: Sequence[Path], **options: Any) -> dict[str, float]:
    """Means of bpp and PSNR over pictures."""
    files = [code_file(codec, path, **options) for path in paths]
    return {
        "bpp": float(np.mean([file.bpp for file in files])),
        "psnr": float(np.mean([file.psnr for file in files])),
    }


def curve_of(name: str, points: Sequence[dict[str, Any]], *, rate: str = "bpp") -> Curve:
    """A curve from points with "psnr" and a rate under the given key."""
    return Curve(name, tuple(p[rate] for p in points), tuple(p["psnr"] for p in points))


def quarters(curve: Curve) -> list[tuple[float, float]]:
    """Ranges of PSNR of the quarters of log(bpp), lowest first."""
    edges = np.exp(np.linspace(np.log(curve.bpp[0]), np.log(curve.bpp[-1]), 5))
    rates = np.clip(edges, curve.bpp[0], curve.bpp[-1])
    return list(pairwise([curve.psnr_at(float(rate)) for rate in rates]))


def environment(root: Path = ROOT) -> dict[str, str]:
    """Variables for a process with one thread that imports the package of a checkout."""
    return {
        **os.environ,
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def commit_of(root: Path) -> str:
    """The commit of a checkout."""
    words = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

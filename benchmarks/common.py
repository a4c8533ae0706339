"""Shared by the benchmarks: arguments, result files, files there and back, other checkouts."""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from promptcodec.coding.codec import PictureCodec
from promptcodec.evaluation.bdrate import Curve
from promptcodec.evaluation.bootstrap import Sample
from promptcodec.evaluation.metrics import bpp, psnr
from promptcodec.io.atomic import write_atomically
from promptcodec.io.hub.manifest import sha256_of
from promptcodec.io.load import load_picture
from promptcodec.io.provenance import changes, commit, machine, provenance

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
    """Parse the command line, set the threads of torch, note the commit that runs."""
    arguments = found.parse_args()
    commit()
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
    """A result file of docs/results, with others under their names; empty if there is none."""
    others = {other: read_record(RESULTS / f"{other}.json") for other in beside}
    found = {other: report for other, report in others.items() if report}
    return read_record(RESULTS / f"{name}.json") | found


def identity(codec: PictureCodec, pictures: Sequence[Path], **settings: Any) -> dict[str, Any]:
    """What the parts of a record must share: weights, pictures, code, machine, settings."""
    found = {
        "base_sha256": codec.base_hash.hex(),
        "adapters_sha256": {
            f"{index:g}": adapter.sha256.hex()
            for index, adapter in sorted(codec.ladder.adapters.items())
        },
        "pictures_sha256": {path.name: sha256_of(path) for path in pictures},
        "commit": commit(),
        "changes": changes(),
        "machine": machine(),
        "settings": settings,
    }
    return json.loads(json.dumps(found))


def continued(path: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """The record of a run that was stopped, if it is of the same identity; else a new one."""
    found = read_record(path)
    return found if found.get("identity") == wanted else {"identity": wanted}


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


def measure_files(
    codec: PictureCodec, paths: Sequence[Path], **options: Any
) -> dict[str, list[float]]:
    """Rate and PSNR of each picture, in the order of the paths."""
    files = [code_file(codec, path, **options) for path in paths]
    return {"bpp": [file.bpp for file in files], "psnr": [file.psnr for file in files]}


def average_files(codec: PictureCodec, paths: Sequence[Path], **options: Any) -> dict[str, float]:
    """Means of bpp and PSNR over pictures."""
    found = measure_files(codec, paths, **options)
    return {name: float(np.mean(values)) for name, values in found.items()}


def sample_of(name: str, points: Sequence[dict[str, Any]]) -> Sample:
    """Curve by picture, from points with lists "bpp" and "psnr" as `measure_files` makes them."""
    rates, qualities = (np.array([p[key] for p in points]).T for key in ("bpp", "psnr"))
    return Sample(name, rates, qualities)


def curve_of(name: str, points: Sequence[dict[str, Any]], *, rate: str = "bpp") -> Curve:
    """A curve from points with "psnr" and a rate under the given key."""
    return Curve(name, tuple(p[rate] for p in points), tuple(p["psnr"] for p in points))


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

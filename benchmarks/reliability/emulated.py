"""Streams of this processor read and written on another one, mostly an emulated one.

    python -m benchmarks.reliability.emulated NAME PYTHON PICTURE [--golden tests/golden]
        [--out docs/results/emulated.json]

PYTHON starts a Python of the other processor, PICTURE is a photograph, and NAME is the key of
the record, which keeps others. The golden streams and a crop at every rate, between rates, with a
gain, tiled, grey, with alpha and with exact tiles are decoded by both, and the crop is encoded by
both: z, table indexes and symbols have to be equal, pixels may differ by one level.

To set up aarch64 under QEMU (10.0 or later: ONNX Runtime does not start under 7.2), in any folder:
    - unpack the package qemu-user of Debian by `dpkg -x`;
    - unpack python3.11-minimal, libpython3.11-minimal, libpython3.11-stdlib, libc6, libgcc-s1,
      libstdc++6, zlib1g, libexpat1, libssl3, libbz2-1.0, liblzma5, libffi8, libuuid1 and libcrypt1
      of architecture arm64 into ROOT: `apt-get download PACKAGE:arm64` with an APT_CONFIG of its
      own, whose Dir::State and Dir::Cache are elsewhere;
    - `pip install --target SITE --no-deps --only-binary=:all: --python-version 3.11 --platform
      manylinux_2_28_aarch64` (and 2_27, 2_17, manylinux2014) of requirements/light.txt without
      constriction, which has no wheel for it: the package takes its own coder instead;
    - PYTHON is a script: `PYTHONPATH=SITE:$PYTHONPATH exec qemu-aarch64 -cpu neoverse-n1 -L ROOT
      ROOT/usr/bin/python3.11 "$@"`.
s390x, whose bytes have the other order, lacks ONNX Runtime: python3.11, python3-numpy, python3-pil,
python3-yaml of Debian with what they need, safetensors by pip, and LD_LIBRARY_PATH with the folders
blas and lapack. There integers alone are compared.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.common import ROOT, environment, parser, read_record, write_json
from benchmarks.reliability.emulated_worker import INTEGERS, Job
from promptcodec.api import Codec
from promptcodec.bitstream import HASH_BYTES, parse_header
from promptcodec.coding.adapter_file import read_adapter_config
from promptcodec.coding.base_file import read_stored_base
from promptcodec.io.checkpoints import ADAPTER_CONFIG, BASE_CONFIG
from promptcodec.io.provenance import provenance
from promptcodec.runtime.export import export
from promptcodec.runtime.files import has_graphs

SIZE = (192, 256)  # of a crop, px
CORNER = (100, 80)
START = (
    "import sys; from benchmarks.reliability import emulated_worker as worker; "
    "worker.main(sys.argv[1:])"
)
Arrays = Mapping[str, NDArray[Any]]


def pictures(
    photograph: Image.Image, rates: list[float]
) -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    """Name, picture and options of each encoding."""
    (left, top), (width, height) = CORNER, SIZE
    crop = photograph.crop((left, top, left + width, top + height))
    for rate in rates:
        yield f"rate {rate:g}", crop, {"rate_index": rate}
    for low in (0, 5):
        yield f"between {low} and {low + 1}", crop, {"rate_index": low + 0.3}
    yield "gain", crop, {"gain_steps": 3.5}
    shaded = crop.copy()
    shaded.putalpha(Image.linear_gradient("L").resize(crop.size))
    yield "alpha", shaded, {"rate_index": 1}
    yield "tiles, alpha, grey", shaded.convert("LA"), {"tile_size": 128, "rate_index": rates[-1]}
    drawn = crop.copy()
    draw = ImageDraw.Draw(drawn)
    draw.rectangle((0, 0, width, height // 2 - 1), fill=(250, 250, 245))
    draw.text((8, 8), "exact beside learned tiles", fill=(20, 20, 120))
    yield "some exact tiles", drawn, {"tile_size": 128, "rate_index": 3}


def encodings(photograph: Path, place: Path) -> list[Job]:
    """Encoding of a crop in every way."""
    with Image.open(photograph) as opened:
        whole = opened.convert("RGB")
    rates = [rate.index for rate in Codec.load(engine="onnx", threads=1).rates]
    jobs = []
    for name, picture, options in pictures(whole, rates):
        path = place / f"{name}.png"
        picture.save(path)
        jobs.append(Job(name, picture=str(path), options=options))
    return jobs


def golden(folder: Path, place: Path) -> list[Job]:
    """Decoding of the streams of a folder, whose bases get graphs in a copy."""
    bases: dict[bytes, tuple[str, tuple[str, ...]]] = {}
    adapters = [path.parent for path in sorted(folder.glob(f"prompts/*/{ADAPTER_CONFIG}"))]
    for config in sorted(folder.glob(f"*/{BASE_CONFIG}")):
        own = place / "bases" / config.parent.name
        shutil.copytree(config.parent, own)
        if not has_graphs(own):
            export(own)
        digest = read_stored_base(own).sha256
        own_adapters = [a for a in adapters if read_adapter_config(a).base_sha256 == digest.hex()]
        bases[digest[:HASH_BYTES]] = str(own), tuple(map(str, own_adapters))
    jobs = []
    for path in sorted(folder.glob("*.pc")):
        base, prompts = bases[parse_header(path.read_bytes()).base_hash]
        jobs.append(Job(f"golden {path.stem}", base, prompts, stream=str(path.resolve())))
    return jobs


def run(python: str, jobs: list[Job], folder: Path) -> dict[str, Any]:
    """Do jobs with a Python; returns its facts."""
    folder.mkdir(exist_ok=True)
    listed = folder / "jobs.json"
    listed.write_text(json.dumps([asdict(job) for job in jobs]))
    words = [python, "-c", START, str(listed), str(folder)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{Path(python).name} failed")
    return json.loads(done.stdout.splitlines()[-1])


def compare(here: Arrays, there: Arrays) -> dict[str, Any]:
    """What two processors decoded of one stream."""
    row: dict[str, Any] = {
        f"same_{name}": bool(np.array_equal(here[name], there[name])) for name in INTEGERS
    }
    row["same_words"] = bool(here["same_words"] and there["same_words"])
    if "pixels" in there:
        difference = np.abs(here["pixels"].astype(np.int16) - there["pixels"])
        row["largest_difference"] = int(difference.max())
        row["differing_levels"] = int((difference > 0).sum())
        row["levels"] = difference.size
    return row


def sha256(array: NDArray[Any]) -> str:
    """Hash of an array as tests/golden/hashes.json has it, hexadecimal."""
    little = array.dtype.newbyteorder("<")
    return hashlib.sha256(np.ascontiguousarray(array, little).tobytes()).hexdigest()


def summarise(rows: list[dict[str, Any]], pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts over streams, and over pairs of encodings of one picture."""
    same = [all(value for key, value in row.items() if key.startswith("same_")) for row in rows]
    found: dict[str, Any] = {
        "streams": len(rows),
        "golden": sum(row["writer"] == "golden" for row in rows),
        "same_integers": sum(same),
    }
    measured = [row for row in rows if "levels" in row]
    if measured:
        levels = sum(row["levels"] for row in measured)
        found["largest_difference"] = max(row["largest_difference"] for row in measured)
        found["share_of_levels_that_differ"] = (
            sum(row["differing_levels"] for row in measured) / levels
        )
        found["encodings"] = len(pairs)
        found["same_bytes"] = sum(row["same_bytes"] for row in pairs)
        symbols = sum(row["symbols"] for row in pairs)
        found["share_of_symbols_that_differ"] = (
            sum(row["differing_symbols"] for row in pairs) / symbols
        )
    return found


def is_alike(summary: Mapping[str, Any]) -> bool:
    """Whether all integers are equal, and pixels within one level."""
    same = summary["same_integers"] == summary["streams"]
    return same and summary.get("largest_difference", 0) <= 1


def main() -> None:
    """Encode and decode with both, write the record, and fail if anything differs."""
    options = parser(__doc__, out="emulated", threads=False)
    options.add_argument("name", help="key of the record: processor and emulator")
    options.add_argument("python", help="program that starts a Python of the other processor")
    options.add_argument("picture", type=Path, help="photograph, at least 292x336 px")
    options.add_argument("--golden", type=Path, default=ROOT / "tests" / "golden")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="emulated-") as scratch:
        result = measure(arguments.python, arguments.picture, arguments.golden, Path(scratch))
    record = {"provenance": provenance(threads=1), "result": result}
    write_json(arguments.out, read_record(arguments.out) | {arguments.name: record})
    print(result["summary"])
    sys.exit(not is_alike(result["summary"]))


def measure(python: str, photograph: Path, streams: Path, place: Path) -> dict[str, Any]:
    """Both processors on the same pictures and streams.

    Args:
        python: program that starts the other Python.
        photograph: picture file that a crop is taken from.
        streams: folder of golden streams and their bases.
        place: empty folder for files.
    """
    pythons = {"here": sys.executable, "there": python}
    encode = encodings(photograph, place)
    for side, each in pythons.items():
        run(each, encode, place / side)
    decode, facts = golden(streams, place), {}
    for side in pythons:
        written = [(job, place / side / f"{job.name}.pc") for job in encode]
        found = [(job, path) for job, path in written if path.exists()]  # none of integers alone
        decode += [Job(f"{side} {job.name}", stream=str(path)) for job, path in found]
    for side, each in pythons.items():
        facts[side] = run(each, decode, place / side)
    recorded = read_record(streams / "hashes.json")
    rows, pairs = [], []
    for job in decode:
        here, there = (np.load(place / side / f"{job.name}.npz") for side in pythons)
        writer, _, case = job.name.partition(" ")
        size = Path(str(job.stream)).stat().st_size
        row = {"case": case, "writer": writer, "bytes": size} | compare(here, there)
        if case in recorded and writer == "golden":
            own = {name: sha256(there[name]) for name in INTEGERS}
            row["same_as_recorded"] = own.items() <= recorded[case].items()
        rows.append(row)
    for job in encode if facts["there"]["pixels"] else ():
        data = [(place / side / f"{job.name}.pc").read_bytes() for side in pythons]
        own, other = (np.load(place / "here" / f"{side} {job.name}.npz") for side in pythons)
        parts = [(own[name], other[name]) for name in ("z", "symbols")]
        pairs.append(
            {
                "case": job.name,
                "same_bytes": data[0] == data[1],
                "bytes": dict(zip(pythons, map(len, data), strict=True)),
                "differing_symbols": sum(int((a != b).sum()) for a, b in parts),
                "symbols": sum(a.size for a, _ in parts),
            }
        )
    return {"summary": summarise(rows, pairs), **facts, "rows": rows, "encodings": pairs}


if __name__ == "__main__":
    main()

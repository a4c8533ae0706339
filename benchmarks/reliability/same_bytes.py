"""Streams and decoded pixels of this checkout beside those of another one, bit for bit.

Run: `python -m benchmarks.reliability.same_bytes OTHER PICTURES [--base FOLDER] [--out FILE]`
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from promptcodec.io.provenance import provenance

ROOT = Path(__file__).resolve().parents[2]
RATES = (1, 4, 6.5)
OPTIONS: dict[str, dict[str, Any]] = {
    **{f"rate {rate:g}": {"rate_index": rate} for rate in RATES},
    "tiles": {"rate_index": 4, "tile_size": 256},
    "target": {"target_bytes": 30_000},
    "effort": {"rate_index": 3, "effort": 2},
}
WORKER = """
import hashlib, json, sys
import numpy as np
from PIL import Image
import torch
torch.set_num_threads(1)
from promptcodec import Codec
base, pictures, options = json.loads(sys.argv[1])
codec = Codec.load(base, base and str(base) + "/../prompts")
found = {}
for path in pictures:
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    shaded = picture.copy()
    shaded.putalpha(Image.linear_gradient("L").resize(picture.size))
    cases = {name: (picture, each) for name, each in options.items()}
    cases["alpha"] = (shaded, {"rate_index": 2})
    for name, (source, each) in cases.items():
        data = codec.encode(source, **each)
        shown = np.asarray(codec.decode(data))
        hashes = [hashlib.sha256(part).hexdigest() for part in (data, shown.tobytes())]
        found[path + " " + name] = [len(data), *hashes]
print(json.dumps(found))
"""


def main() -> None:
    """Code every picture in every way with both checkouts and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="another checkout of the project")
    parser.add_argument("pictures", type=Path, nargs="+", help="picture files")
    parser.add_argument("--base", help="base that both can load, its ladder beside it")
    parser.add_argument("--out", type=Path, help="JSON file for the record")
    arguments = parser.parse_args()
    pictures = [str(path.resolve()) for path in arguments.pictures]
    request = json.dumps([arguments.base, pictures, OPTIONS])
    ours, theirs = (coded(root, request) for root in (ROOT, arguments.other))
    different = [name for name in ours if ours[name] != theirs[name]]
    record = {
        "other_commit": commit(arguments.other),
        "streams": len(ours),
        "bytes": sum(row[0] for row in ours.values()),
        "different": different,
        **provenance(),
    }
    text = json.dumps(record, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    print(text, end="")
    sys.exit(bool(different))


def coded(root: Path, request: str) -> dict[str, list[Any]]:
    """Size and hashes of every stream and of its pixels, by picture and way."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, request],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def commit(root: Path) -> str:
    """The commit that is checked out in a folder."""
    words = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()

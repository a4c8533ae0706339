"""Streams and decoded pixels of this checkout beside those of another one, bit for bit.

Run: `python -m benchmarks.reliability.same_bytes OTHER PICTURES [--base FOLDER] [--out FILE]`
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, commit_of, environment, parse, parser, write_json
from promptcodec.io.provenance import provenance

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
    options = parser(__doc__, threads=False)
    options.add_argument("other", type=Path, help="another checkout of the project")
    options.add_argument("pictures", type=Path, nargs="+", help="picture files")
    options.add_argument("--base", help="base that both can load, its ladder beside it")
    arguments = parse(options)
    pictures = [str(path.resolve()) for path in arguments.pictures]
    request = json.dumps([arguments.base, pictures, OPTIONS])
    ours, theirs = (coded(root, request) for root in (ROOT, arguments.other))
    different = [name for name in ours if ours[name] != theirs[name]]
    record = {
        "other_commit": commit_of(arguments.other),
        "streams": len(ours),
        "bytes": sum(row[0] for row in ours.values()),
        "different": different,
        **provenance(),
    }
    if arguments.out:
        write_json(arguments.out, record)
    print(json.dumps(record, indent=1))
    sys.exit(bool(different))


def coded(root: Path, request: str) -> dict[str, list[Any]]:
    """Size and hashes of every stream and of its pixels, by picture and way."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, request],
        env=environment(root),
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()

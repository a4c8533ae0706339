"""What a pack saves by the number of pictures that it is trained on.

    python -m benchmarks.packs.few SET [--pack screens] [--counts 10,30,100] [--rates 2,5]
        [--minutes 20] [--work runs/few] [--out docs/results/pack-few.json]

The pictures are drawn from SET/PACK/train with a fixed seed; the smaller sets are part of the
larger ones. Each pack takes the same minutes in all, its own figures included, on one thread, and
is measured on SET/PACK/held, which are of other sources.
"""

from __future__ import annotations

import argparse
import random
import shutil
from dataclasses import asdict
from pathlib import Path

from benchmarks.common import parse, parser, write_record
from benchmarks.packs.saved import pictures_in
from promptcodec.api import Codec
from promptcodec.io.find import PICTURE_SUFFIXES, find_files
from promptcodec.packs.adapt import adapt
from promptcodec.packs.savings import savings


def main() -> None:
    """Train and measure a pack for each number of pictures."""
    options = parser(__doc__, out="pack-few")
    options.add_argument("set", type=Path)
    options.add_argument("--pack", default="screens")
    options.add_argument("--counts", default="10,30,100")
    options.add_argument("--rates", default="2,5")
    options.add_argument("--minutes", type=float, default=20.0)
    options.add_argument("--most", type=int, default=24, help="held-out pictures")
    options.add_argument("--work", type=Path, default=Path("runs/few"))
    options.add_argument("--base", help="base; default: the bundled one")
    arguments: argparse.Namespace = parse(options)
    held = pictures_in(arguments.set / arguments.pack / "held")[: arguments.most]
    rates = [int(rate) for rate in arguments.rates.split(",")]
    paths = sorted(find_files(arguments.set / arguments.pack / "train", PICTURE_SUFFIXES))
    random.Random(0).shuffle(paths)
    plain, rows = Codec.load(arguments.base, packs=[]), []
    for count in map(int, arguments.counts.split(",")):
        folder = arguments.work / str(count)
        (folder / "pictures").mkdir(parents=True)
        for path in paths[:count]:
            shutil.copy(path, folder / "pictures")
        pack = adapt(
            folder / "pictures",
            name=arguments.pack,
            out=folder / "pack",
            work=folder / "run",
            base=arguments.base,
            rates=rates,
            minutes=arguments.minutes,
        )
        found = savings(plain, Codec.load(arguments.base, pack.folder, packs=[]), held, rates=rates)
        rows.append({"pictures": count, "held_out": [asdict(saving) for saving in found]})
        print(rows[-1], flush=True)
    report = {"base_sha256": plain.base_hash.hex(), "pack": arguments.pack, "rows": rows}
    write_record(arguments.out, report | {"minutes": arguments.minutes, "rates": rates})


if __name__ == "__main__":
    main()

"""`--pack auto` against trying everything: which ladder it takes, its cost and its time.

    python -m benchmarks.packs.choice SET PHOTOGRAPHS [--packs checkpoints/packs] [--rates 2,5]
        [--each 25] [--out docs/results/pack-choice.json]

As many pictures of SET/NAME/held of each pack as of PHOTOGRAPHS, in turn over the rates, each coded
with the ladder and with every pack, without exact tiles. A choice is right if no other ladder has a
cost that is lower by more than `NEAR`: below that nobody could tell. Times are processor seconds,
ladder and `auto` in alternation.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import parse, parser, write_record
from benchmarks.packs.saved import pictures_in
from promptcodec.api import Codec
from promptcodec.coding.settings import EncodeSettings
from promptcodec.packs.savings import Pixels, middle

NEAR = 0.005  # of the cost
PLAIN = "plain"


def main() -> None:
    """Code every picture and write the record."""
    options = parser(__doc__, out="pack-choice")
    options.add_argument("set", type=Path)
    options.add_argument("photographs", type=Path)
    options.add_argument("--packs", default="checkpoints/packs")
    options.add_argument("--rates", default="2,5")
    options.add_argument("--each", type=int, default=25, help="pictures of each kind")
    options.add_argument("--base", help="base; default: the bundled one")
    arguments: argparse.Namespace = parse(options)
    codec = Codec.load(arguments.base, packs=arguments.packs)
    rates = [float(rate) for rate in arguments.rates.split(",")]
    kinds = {name: arguments.set / name / "held" for name in codec.packs}
    rows = []
    for kind, folder in {PLAIN: arguments.photographs, **kinds}.items():
        for number, picture in enumerate(pictures_in(folder)[: arguments.each]):
            row = {"kind": kind, "number": number, "rate_index": rates[number % len(rates)]}
            rows.append(row | measure(codec, middle(picture), row["rate_index"]))
            print(rows[-1], flush=True)
    report = {
        "base_sha256": codec.base_hash.hex(),
        "packs": {name: [rate.index for rate in own] for name, own in codec.packs.items()},
        "engine": codec.engine.name,
        "summary": summary_of(rows),
        "rows": rows,
    }
    write_record(arguments.out, report)
    print(report["summary"])


def measure(codec: Codec, picture: Pixels, rate: float) -> dict[str, Any]:
    """Costs with every ladder, those of both choices, and times."""
    names = [PLAIN, *codec.packs]
    costs = {
        name: cost_of(codec, picture, rate, None if name == PLAIN else name)[1] for name in names
    }
    found, seconds = {}, {}
    for way in ("auto", "best"):
        pack, cost = cost_of(codec, picture, rate, way)
        found[way] = {"pack": pack or PLAIN, "cost_bits": cost}
    for way in (None, "auto", None, "auto"):
        start = time.process_time()
        codec.encode(picture, rate_index=rate, graphics="never", pack=way)
        seconds.setdefault(way or PLAIN, []).append(time.process_time() - start)
    return {
        "pixels": picture.shape[0] * picture.shape[1],
        "cost_bits": costs,
        **found,
        "seconds": {way: min(each) for way, each in seconds.items()},
    }


def cost_of(
    codec: Codec, picture: Pixels, rate: float, pack: str | None
) -> tuple[str | None, float]:
    """The pack that was taken, and bits plus lambda of the ladder times the squared error."""
    settings = EncodeSettings(rate_index=rate, graphics="never", pack=pack, strip=True)
    encoded = codec.encode_detailed(picture, settings)
    shown = np.asarray(codec.decode(encoded.data).convert("RGB")).astype(float)
    error = float(np.square(shown - picture).sum())
    return encoded.pack, 8 * len(encoded.data) + codec.at(rate).lmbda * error / 3


def summary_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many choices are right, what they cost by the ladder alone, and how long they take."""
    right = {"auto": 0, "best": 0}
    for row in rows:
        for way in right:
            right[way] += row[way]["cost_bits"] <= (1 + NEAR) * min(row["cost_bits"].values())
    by_plain = {
        way: [row[way]["cost_bits"] / row["cost_bits"][PLAIN] - 1 for row in rows] for way in right
    }
    ratios = [row["seconds"]["auto"] / row["seconds"][PLAIN] for row in rows]
    return {
        "pictures": len(rows),
        "right": right,
        "of_kind": sum(row["auto"]["pack"] == row["kind"] for row in rows),
        "cost_by_plain": {
            way: {"mean": float(np.mean(own)), "most": max(own)} for way, own in by_plain.items()
        },
        "time_by_plain": {"median": float(np.median(ratios)), "most": max(ratios)},
    }


if __name__ == "__main__":
    main()

"""Bits on held-out pictures with tables of z for each rate, by number of sets.

    python -m benchmarks.rates.z_tables PACK [PACK ...] [--rates 0,1,4,7] [--pictures 1000]
        [--threads 1] [--out docs/results/z-tables.json]

A pack is a folder with zip files of pictures and a `manifest.json` with the source of each. Sets
are fitted on four fifths of the sources and measured on the others. Nothing is trained. Bits are
ideal code lengths; y uses no tables of this kind.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import parse, parser, write_record
from promptcodec.coding.entropy import rans
from promptcodec.coding.entropy.z_tables import NUM_VALUES, ZTables, pack_sets
from promptcodec.config import TILE_STRIDE
from promptcodec.io.load import load_picture
from promptcodec.models.codec import TorchCodec
from promptcodec.models.tensors import arrays_of, from_pixels, pad
from promptcodec.training.data.sources import PictureFile, find_pictures
from promptcodec.training.z_sets import ZHat, fit_sets, set_bits

COUNTS = (1, 2, 4)  # sets
HELD_OUT = 5  # one source in so many is measured on
LEFT_OUT = "syn_"  # names of pictures that are no photographs


@dataclass
class Seen:
    """What one rate makes of the pictures of a side, by pack.

    Args:
        z: z_hat of each picture.
        y_bits: of all of them; of the measured side alone.
    """

    z: dict[str, list[ZHat]] = field(default_factory=lambda: defaultdict(list))
    y_bits: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def tiles(self) -> list[ZHat]:
        """Those of all packs."""
        return [z for group in self.z.values() for z in group]


def chosen(packs: Sequence[Path], *, pictures: int) -> Iterator[tuple[str, PictureFile, bool]]:
    """Pack, place, and whether it is held out, of pictures spread over each pack."""
    for pack in packs:
        items = json.loads((pack / "manifest.json").read_text("utf-8"))["items"]
        origin = {i["file"]: i.get("blob") or f"{i['src']}:{i.get('path')}" for i in items}
        places = [p for p in find_pictures(pack) if not str(p.member).startswith(LEFT_OUT)]
        step = max(1.0, len(places) * len(packs) / pictures)
        for number in range(int(len(places) / step)):
            place = places[int(number * step)]
            digest = hashlib.sha256(origin[str(place.member)].encode()).digest()
            yield pack.name, place, digest[0] % HELD_OUT == 0


@torch.inference_mode()
def look(
    codec: TorchCodec, packs: Sequence[Path], *, rates: Sequence[int], pictures: int
) -> tuple[dict[int, Seen], dict[int, Seen]]:
    """What each rate makes of pictures to fit on, and of those to measure on."""
    fitted, held = ({rate: Seen() for rate in rates} for _ in range(2))
    for pack, place, out in chosen(packs, pictures=pictures):
        rgb = load_picture(place.read()).rgb
        x = pad(from_pixels(rgb[None], torch.device("cpu")), TILE_STRIDE)
        for rate in rates:
            point = codec.at(rate)
            y, z = codec.model.transform(x, adapter=point.network)
            seen = (held if out else fitted)[rate]
            if out:
                latents = codec.model.quantise(y, z, gains=point.gains, adapter=point.network)
                seen.y_bits[pack] += rans.estimate_bits(arrays_of(latents), codec.tables)[0]
            seen.z[pack].append(torch.round(z[0]).clamp(-128, 127).to(torch.int16).numpy())
    return fitted, held


def measure(codec: TorchCodec, *, rate: int, fitted: Seen, held: Seen) -> dict[str, Any]:
    """Held-out bits of one rate with the base's tables and with its own."""
    base = ZTables(codec.tables.z)
    y_bits, own = sum(held.y_bits.values()), sum(base.bits(z) for z in held.tiles)
    row: dict[str, Any] = {
        "rate_index": rate,
        "adapter_sha256": codec.ladder.adapters[rate].sha256.hex(),
        "y_bits": y_bits,
        "z_bits": own,
        "sets": [],
    }
    for count in COUNTS:
        sets = fit_sets(fitted.tiles, codec.tables.z, count=count)
        tensors = pack_sets(sets)
        by_pack = {
            pack: percent(set_bits(sets, group), sum(map(base.bits, group)))
            for pack, group in held.z.items()
        }
        bits = set_bits(sets, held.tiles)
        row["sets"].append(
            {
                "asked": count,
                "fitted": len(sets),
                "z_bits": bits,
                "z_percent": percent(bits, own),
                "total_percent": percent(y_bits + bits, y_bits + own),
                "z_percent_by_pack": by_pack,
                "stored_bytes": sum(array.nbytes for array in tensors.values()),
                "full_bytes": 4 * len(sets) * len(codec.tables.z) * NUM_VALUES,
            }
        )
    return row


def percent(bits: float, before: float) -> float:
    """Change, negative is fewer."""
    return 100.0 * (bits / before - 1.0)


def main() -> None:
    """Fit, measure, write the result file."""
    options = parser(__doc__, out="z-tables")
    options.add_argument("packs", type=Path, nargs="+")
    options.add_argument("--rates", default="0,1,4,7")
    options.add_argument("--pictures", type=int, default=1000)
    arguments = parse(options)
    codec, rates = TorchCodec.load(), [int(rate) for rate in arguments.rates.split(",")]
    fitted, held = look(codec, arguments.packs, rates=rates, pictures=arguments.pictures)
    report = {
        "base_sha256": codec.base_hash.hex(),
        "packs": [pack.name for pack in arguments.packs],
        "left_out": LEFT_OUT,
        "fitted_pictures": len(fitted[rates[0]].tiles),
        "held_out_pictures": len(held[rates[0]].tiles),
        "rates": [measure(codec, rate=r, fitted=fitted[r], held=held[r]) for r in rates],
    }
    write_record(arguments.out, report)
    for row in report["rates"]:
        print(row["rate_index"], *(f"{s['z_percent']:+.2f} %" for s in row["sets"]))


if __name__ == "__main__":
    main()

"""Properties of a ladder: curve, rates between its rungs, targets, storage, swaps, overhead.

    python -m benchmarks.rates.curve PICTURES [--base DIR] [--prompts DIR] [--threads 1]
        [--parts curve,targets,storage,swap,speed]
        [--out docs/results/rates.json]

Rates are bytes of files. Parts that are not asked for stay as they are on record, if they are of
the same base and adapters.
"""

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import (
    average_files,
    curve_of,
    parse,
    parser,
    quarters,
    read_record,
    write_json,
)
from promptcodec.errors import UsageError
from promptcodec.evaluation.anchors import kodak_anchors
from promptcodec.evaluation.bdrate import bd_rate
from promptcodec.evaluation.evaluate import find_pictures
from promptcodec.evaluation.metrics import psnr
from promptcodec.evaluation.speed.complexity import count_parameters
from promptcodec.evaluation.speed.timing import in_turn, ratio, summarise
from promptcodec.io.checkpoints import find_base, find_prompts
from promptcodec.io.load import load_picture
from promptcodec.io.provenance import provenance
from promptcodec.models.adapters.checkpoint import read_adapter
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec import TorchCodec

BETWEEN = (0.2, 0.4, 0.6, 0.8)  # positions between two neighbours
RIVALS = ("VTM", "AV1", "WebP", "JPEG", "mbt2018-mean")
TARGETS: tuple[dict[str, Any], ...] = (
    {"target_bpp": 0.25},
    {"target_bpp": 0.5, "strict": True},
    {"target_bpp": 1.0},
    {"target_psnr": 30.0},
    {"target_psnr": 34.0},
)


def curve(codec: TorchCodec, pictures: list[Path]) -> dict[str, Any]:
    """Rate and PSNR at every installed position and four between each two."""
    indexes = [rate.index for rate in codec.rates]
    middle = [low + part for low in indexes[:-1] for part in BETWEEN]
    points = []
    for index in sorted([*indexes, *middle]):
        facts = {"rate_index": round(index, 6), "trained": index in indexes}
        points.append(facts | average_files(codec, pictures, rate_index=index))
        print(points[-1], flush=True)
    trained = [p for p in points if p["trained"]]
    return {
        "points": points,
        "trained_monotone": _monotone(trained),
        "all_monotone": _monotone(points),
        "bd_rate": _bd_rates(trained),
    }


def _monotone(points: list[dict[str, Any]]) -> bool:
    return all(a["bpp"] < b["bpp"] and a["psnr"] < b["psnr"] for a, b in pairwise(points))


def _bd_rates(points: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Per cent against published curves: over all, then by quarter of log(bpp), lowest first."""
    ours = curve_of("ladder", points)
    anchors = kodak_anchors()

    def attempt(name: str, between: tuple[float, float] | None) -> float | None:
        try:
            return bd_rate(ours, anchors[name], between=between)
        except UsageError:
            return None

    ranges = (None, *quarters(ours))
    return {name: [attempt(name, each) for each in ranges] for name in RIVALS}


def targets(codec: TorchCodec, pictures: list[Path]) -> list[dict[str, Any]]:
    """How nearly targets are met, and how often g_a ran."""
    rows = []
    for wanted in TARGETS:
        misses, passes, unreachable = [], [], []
        for path in pictures:
            rgb = load_picture(path).rgb
            try:
                encoded = codec.encode_detailed(path, graphics="never", **wanted)
            except LookupError as error:
                unreachable.append(f"{path.name}: {error}")
                continue
            passes.append(encoded.passes)
            if "target_bpp" in wanted:
                bpp = 8 * len(encoded.data) / (rgb.shape[0] * rgb.shape[1])
                misses.append(100.0 * (bpp / wanted["target_bpp"] - 1.0))
            else:
                shown = np.asarray(codec.decode(encoded.data).convert("RGB"))
                misses.append(psnr(rgb, shown) - wanted["target_psnr"])
        rows.append(
            {
                "target": wanted,
                "unit": "%" if "target_bpp" in wanted else "dB",
                "met": len(misses),
                "lowest_miss": min(misses, default=None),
                "highest_miss": max(misses, default=None),
                "most_passes": max(passes, default=None),
                "mean_passes": float(np.mean(passes)) if passes else None,
                "unreachable": unreachable,
            }
        )
        print(rows[-1], flush=True)
    return rows


def storage(base: Path, folders: list[Path]) -> dict[str, Any]:
    """Parameters and bytes of base and adapters."""
    loaded = read_base(base)
    own = count_parameters(loaded.model)
    adapters = [read_adapter(folder, base=loaded) for folder in folders]
    counts = [count_parameters(adapter.network) for adapter in adapters]
    sizes = [sum(f.stat().st_size for f in _files(folder)) for folder in folders]
    base_bytes = sum(f.stat().st_size for f in _files(base))
    return {
        "base_parameters": own,
        "adapter_parameters": counts,
        "largest_share_percent": 100.0 * max(counts) / own,
        "base_bytes": base_bytes,
        "adapter_bytes": sizes,
        "all_over_base": (base_bytes + sum(sizes)) / base_bytes,
        "saved_percent": 100.0 * (1.0 - (base_bytes + sum(sizes)) / (len(sizes) * base_bytes)),
    }


def _files(folder: Path) -> list[Path]:
    wanted = (
        "config.json",
        "model.safetensors",
        "adapter_config.json",
        "adapter_model.safetensors",
    )
    return [folder / name for name in wanted if (folder / name).is_file()]


def swap(codec: TorchCodec, folders: list[Path], pictures: list[Path]) -> dict[str, Any]:
    """16 threads decode 1,000 streams while adapters are swapped; every picture is compared."""
    crops = [load_picture(path).rgb[:96, :128] for path in pictures]
    indexes = [rate.index for rate in codec.rates]
    positions = [*indexes, *(index + 0.5 for index in indexes[:-1])]
    work = []
    for number in range(40):
        data = codec.encode(
            crops[number % len(crops)],
            rate_index=positions[number % len(positions)],
            graphics="never",
        )
        work.append((data, np.asarray(codec.decode(data))))
    wrong, done, count = [], threading.Event(), 16

    decoded = [0] * count

    def decode(worker: int) -> None:
        for turn in range(worker, 1000, count):
            data, shown = work[turn % len(work)]
            decoded[worker] += 1
            if not np.array_equal(np.asarray(codec.decode(data)), shown):
                wrong.append(turn)

    swaps = []

    def keep_swapping() -> None:
        while not done.is_set():
            start = time.perf_counter()
            codec.add_prompts(folders[len(swaps) % len(folders)])
            swaps.append(time.perf_counter() - start)

    workers = [threading.Thread(target=decode, args=(n,)) for n in range(count)]
    swapper = threading.Thread(target=keep_swapping)
    for thread in (*workers, swapper):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    swapper.join()
    return {"threads": count, "decoded": sum(decoded), "wrong": len(wrong), "swaps": len(swaps)}


def speed(base: Path, folders: list[Path], picture: Path) -> dict[str, Any]:
    """Milliseconds to load and to swap an adapter; what prompts add to encoding and decoding."""
    loaded = read_base(base)
    adapter = read_adapter(folders[0], base=loaded)
    alone, ladder = TorchCodec.load(base, []), TorchCodec.load(base, folders)
    own = alone.rates[0].index
    plain, prompted = alone.encode(picture), ladder.encode(picture, rate_index=own)
    second: list[Callable[[], object]] = [
        lambda: read_adapter(folders[0], base=loaded),
        lambda: ladder.ladder.with_adapters([adapter]).at(0),
    ]
    load, swapped = (summarise(in_turn({"x": f}, repeats=50)["x"]).median for f in second)
    taken = in_turn(
        {
            "encode base": lambda: alone.encode(picture),
            "encode prompts": lambda: ladder.encode(picture, rate_index=own),
            "decode base": lambda: alone.decode(plain),
            "decode prompts": lambda: ladder.decode(prompted),
        },
        repeats=15,
    )
    return {
        "load_ms": 1000 * load,
        "swap_ms": 1000 * swapped,
        "seconds": {name: summarise(values).median for name, values in taken.items()},
        "overhead_percent": {
            way: 100.0 * (ratio(taken[f"{way} prompts"], taken[f"{way} base"]).median - 1.0)
            for way in ("encode", "decode")
        },
    }


def main() -> None:
    """Measure the parts that were asked for and write the record."""
    options = parser(__doc__, out="rates")
    options.add_argument("pictures", type=Path)
    options.add_argument("--base")
    options.add_argument("--prompts")
    options.add_argument("--parts", default="curve,targets,storage,swap,speed")
    arguments = parse(options)
    base = find_base(arguments.base)
    folders = find_prompts(arguments.prompts, base=arguments.base)
    codec = TorchCodec.load(base, folders)
    identity = {
        "base_sha256": codec.base_hash.hex(),
        "adapters_sha256": [a.sha256.hex() for a in codec.ladder.adapters.values()],
    }
    pictures = find_pictures(arguments.pictures)
    earlier = read_record(arguments.out)
    report = earlier if earlier.get("identity") == identity else {"identity": identity}
    actions: dict[str, Callable[[], Any]] = {
        "curve": lambda: curve(codec, pictures),
        "targets": lambda: targets(codec, pictures),
        "storage": lambda: storage(base, folders),
        "swap": lambda: swap(codec, folders, pictures),
        "speed": lambda: speed(base, folders, pictures[0]),
    }
    for part in arguments.parts.split(","):
        report[part] = {"result": actions[part](), "provenance": provenance()}
        write_json(arguments.out, report)


if __name__ == "__main__":
    main()

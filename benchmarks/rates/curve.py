"""Properties of a ladder: curve, rates between its rungs, targets, storage, swaps, overhead.

    python -m benchmarks.rates.curve PICTURES [--base DIR] [--prompts DIR] [--threads 1]
        [--parts curve,targets,storage,swap,speed]
        [--out docs/results/rates.json]

Rates are bytes of files. Parts that are not asked for stay as they are on record, if they are of
the same weights, pictures, code and machine.
"""

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import average_files, continued, identity, parse, parser, write_json
from promptcodec.coding.rate_search import PSNR_TOLERANCE, SIZE_TOLERANCE
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
TARGETS: tuple[tuple[int | None, dict[str, Any]], ...] = (
    (None, {"target_bpp": 0.25}),
    (None, {"target_bpp": 0.5, "strict": True}),
    (None, {"target_bpp": 1.0}),
    (None, {"target_bytes": 20_000}),
    (None, {"target_psnr": 30.0}),
    (None, {"target_psnr": 34.0}),
    *((side, {"target_bpp": 1.0}) for side in (64, 128)),
    *((side, {"target_bytes": side * side // 8}) for side in (64, 128)),
    *((side, {"target_psnr": 32.0}) for side in (64, 128)),
)
"""Side in px of the middle that is cut from each picture, None for all of it; its target."""


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
    }


def _monotone(points: list[dict[str, Any]]) -> bool:
    return all(a["bpp"] < b["bpp"] and a["psnr"] < b["psnr"] for a, b in pairwise(points))


def targets(codec: TorchCodec, pictures: list[Path]) -> list[dict[str, Any]]:
    """How nearly targets are met, and how often g_a ran."""
    rows = []
    for side, wanted in TARGETS:
        found = [_target(codec, path, side=side, wanted=wanted) for path in pictures]
        coded = [each for each in found if "miss" in each]
        misses = [each["miss"] for each in coded]
        passes = [each["passes"] for each in coded]
        tolerance = PSNR_TOLERANCE if "target_psnr" in wanted else 100.0 * SIZE_TOLERANCE
        most = 0.0 if wanted.get("strict") else tolerance
        met = sum(-tolerance - 1e-9 <= miss <= most + 1e-9 for miss in misses)
        rows.append(
            {
                "side": side,
                "target": wanted,
                "unit": "dB" if "target_psnr" in wanted else "%",
                "tolerance": tolerance,
                "met": met,
                "nearest": len(misses) - met,
                "lowest_miss": min(misses, default=None),
                "highest_miss": max(misses, default=None),
                "most_passes": max(passes, default=None),
                "mean_passes": float(np.mean(passes)) if passes else None,
                "unreachable": [each["reason"] for each in found if "reason" in each],
            }
        )
        print(rows[-1], flush=True)
    return rows


def _target(
    codec: TorchCodec, path: Path, *, side: int | None, wanted: dict[str, Any]
) -> dict[str, Any]:
    """Miss of one picture, in per cent or dB, with the passes of g_a; or why there is no file."""
    rgb = load_picture(path).rgb
    if side is not None:
        top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
        rgb = np.ascontiguousarray(rgb[top : top + side, left : left + side])
    try:
        encoded = codec.encode_detailed(rgb, graphics="never", **wanted)
    except LookupError as error:
        return {"reason": f"{path.name}: {error}"}
    if "target_psnr" in wanted:
        shown = np.asarray(codec.decode(encoded.data).convert("RGB"))
        miss = psnr(rgb, shown) - wanted["target_psnr"]
    else:
        pixels = rgb.shape[0] * rgb.shape[1]
        size = wanted.get("target_bytes") or wanted["target_bpp"] * pixels / 8
        miss = 100.0 * (len(encoded.data) / size - 1.0)
    return {"miss": miss, "passes": encoded.passes}


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
    pictures = find_pictures(arguments.pictures)
    report = continued(arguments.out, identity(codec, pictures, threads=arguments.threads))
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

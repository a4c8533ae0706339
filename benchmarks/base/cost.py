"""Cost of one base beside another: arithmetic, parameters, times taken in turn.

    python -m benchmarks.base.cost BASE OTHER [--repeats 9] [--out docs/results/base-cost.json]

One thread, a picture of 768x512, whole calls of `Codec.encode` and `Codec.decode`, in float32 and
in bfloat16.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from benchmarks.common import parse, parser, write_json
from promptcodec.evaluation.speed.bench import HEIGHT, WIDTH
from promptcodec.evaluation.speed.complexity import complexity_table, count_parameters
from promptcodec.evaluation.speed.timing import in_turn, ratio, summarise
from promptcodec.io.provenance import provenance
from promptcodec.io.samples import bundled, photograph
from promptcodec.models.codec import TorchCodec

PRECISIONS = ("float32", "bfloat16")


def times(codecs: dict[str, TorchCodec], *, repeats: int) -> dict[str, Any]:
    """Seconds of each codec, and the ratio of the first to the second."""
    picture = photograph(bundled(), width=WIDTH, height=HEIGHT)
    actions: dict[str, Callable[[], object]] = {}
    sizes = {}
    for way in ("encode", "decode"):
        for name, codec in codecs.items():
            data = codec.encode(picture)
            sizes[name] = len(data)
            encode, decode = partial(codec.encode, picture), partial(codec.decode, data)
            actions[f"{name} {way}"] = encode if way == "encode" else decode
    seconds = in_turn(actions, repeats=repeats)
    first, second = codecs
    return {
        "bytes": sizes,
        "seconds": {name: asdict(summarise(values)) for name, values in seconds.items()},
        "ratio": {
            way: asdict(ratio(seconds[f"{first} {way}"], seconds[f"{second} {way}"]))
            for way in ("encode", "decode")
        },
    }


def main() -> None:
    """Measure both and write one JSON file."""
    options = parser(__doc__, out="base-cost", threads=False)
    options.add_argument("base")
    options.add_argument("other")
    options.add_argument("--repeats", type=int, default=9)
    arguments = parse(options)
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "size": [WIDTH, HEIGHT],
        "threads": 1,
        "bases": {},
        "times": {},
    }
    for precision in PRECISIONS:
        codecs = {}
        for folder in (arguments.base, arguments.other):
            codec = TorchCodec.load(folder, precision=precision)
            name = f"{codec.model.config.name} ({codec.base_hash.hex()[:8]})"
            codecs[name] = codec
            report["bases"][name] = {
                "parameters": count_parameters(codec.model),
                "parts": [asdict(cost) for cost in complexity_table(codec.model)],
            }
        report["times"][precision] = times(codecs, repeats=arguments.repeats)
        for way, found in report["times"][precision]["ratio"].items():
            print(f"{precision} {way}: {found['median']:.2f} times the other's")
    write_json(arguments.out, report | provenance())


if __name__ == "__main__":
    main()

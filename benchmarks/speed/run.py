"""Speed and memory against CompressAI's mbt2018-mean (quality 4), in turn in one run.

    python -m benchmarks.speed.run [--threads 1,2] [--repeats 7] [--base DIR] [--picture FILE]
        [--precisions float32,bfloat16] [--peers mbt2018-mean,jpeg] [--heads DIR]
        [--light .venv-light/bin/python] [--out docs/results/speed.json]

The measurements of `promptcodec bench`, in float32 with every engine and in bfloat16 with those
that have it, the memory of a large picture, and the time of fresh processes, with `--light` also
in an installation without torch.
"""

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common import parse, parser, write_json
from benchmarks.speed import startup
from promptcodec.cli.options import parse_counts, split_words
from promptcodec.coding.engine import EngineName, Precision
from promptcodec.evaluation.speed.bench import HEIGHT, WIDTH, bench, measure_memory, render_bench
from promptcodec.io.samples import bundled, photograph

SIZES = ((WIDTH, HEIGHT), (4000, 3000))
PEERS = "mbt2018-mean,jpeg,webp,avif"


def main() -> None:
    """Measure everything and write one JSON file."""
    options = parser(__doc__, out="speed", threads=False)
    options.add_argument("--threads", default="1,2", help="comma-separated")
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--base", help="checkpoint; default: the bundled one")
    options.add_argument("--heads", help="head to classify; default: that of the checkpoint")
    options.add_argument("--light", type=Path, help="interpreter of an installation without torch")
    options.add_argument("--picture", type=Path, help="photograph; default: a bundled one")
    options.add_argument("--peers", default=PEERS, help="comma-separated")
    options.add_argument("--precisions", default="float32,bfloat16", help="comma-separated")
    arguments = parse(options)
    source = arguments.picture or bundled()
    engines = engines_here()
    report: dict[str, Any] = {}
    for precision, names in engines.items():
        if precision not in arguments.precisions.split(","):
            continue
        found = bench(
            photograph(source, width=WIDTH, height=HEIGHT),
            base=arguments.base,
            peers=split_words([arguments.peers], default=""),
            threads=parse_counts(arguments.threads, option="--threads"),
            engines=names,
            precisions=(precision,),
            repeats=arguments.repeats,
            report=lambda line: print(line, flush=True),
        )
        found["comparisons"] = report.get("comparisons", []) + found["comparisons"]
        found["warnings"] = report.get("warnings", []) + found["warnings"]
        report = found
    report["picture"] = source.name
    report["memory"] = measure_memory(
        source, base=arguments.base, sizes=SIZES, engines=engines["float32"]
    )
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / "picture.png"
        Image.fromarray(photograph(source, width=WIDTH, height=HEIGHT)).save(picture)
        report["cold"] = startup.measure(
            picture,
            base=arguments.base,
            repeats=arguments.repeats,
            folder=Path(scratch),
            heads=arguments.heads,
            light=arguments.light,
        )
    print(render_bench(report))
    for name, found in report["cold"]["cpu_over_import_torch"].items():
        print(f"cold {name}: {found['median']:.2f} times the CPU time of `import torch`")
    for warning in report["warnings"]:
        print(f"warning: {warning}")
    write_json(arguments.out, report)


def engines_here() -> dict[Precision, tuple[EngineName, ...]]:
    """Installed engines by precision, the one that others are compared to first."""
    single: list[EngineName] = ["onnx", "torch"]
    half: list[EngineName] = ["torch"]
    if find_spec("openvino") is not None:
        from promptcodec.runtime.openvino import computes_in_bfloat16

        single.append("openvino")
        if computes_in_bfloat16():
            half.insert(0, "openvino")
    return {"float32": tuple(single), "bfloat16": tuple(half)}


if __name__ == "__main__":
    main()

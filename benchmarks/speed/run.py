"""Speed and memory against CompressAI's mbt2018-mean (quality 4), in turn in one run.

    python -m benchmarks.speed.run [--threads 1,2] [--repeats 7] [--base DIR] [--picture FILE]
        [--peers mbt2018-mean,jpeg] [--out docs/results/speed.json]

The measurements of `promptcodec bench`, in float32 and in bfloat16, the memory of a large picture,
and the time of a cold start.
"""

import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.common import parser, write_json
from benchmarks.speed import startup
from promptcodec.cli.options import parse_counts, split_words
from promptcodec.evaluation.speed.bench import HEIGHT, WIDTH, bench, measure_memory, render_bench
from promptcodec.io.samples import bundled, photograph

SIZES = ((WIDTH, HEIGHT), (4000, 3000))


def main() -> None:
    """Measure everything and write one JSON file."""
    options = parser(__doc__, out="speed", threads=False)
    options.add_argument("--threads", default="1,2", help="comma-separated")
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--base", help="checkpoint; default: the bundled one")
    options.add_argument("--picture", type=Path, help="photograph; default: a bundled one")
    options.add_argument("--peers", default="mbt2018-mean", help="comma-separated")
    arguments = options.parse_args()
    source = arguments.picture or bundled()
    report = bench(
        photograph(source, width=WIDTH, height=HEIGHT),
        base=arguments.base,
        peers=split_words([arguments.peers], default=""),
        threads=parse_counts(arguments.threads, option="--threads"),
        precisions=("float32", "bfloat16"),
        repeats=arguments.repeats,
        report=lambda line: print(line, flush=True),
    )
    report["picture"] = source.name
    report["memory"] = measure_memory(source, base=arguments.base, sizes=SIZES)
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch) / "small.png"
        Image.fromarray(photograph(source, width=192, height=128)).save(small)
        repeats = max(arguments.repeats, 7)
        start = startup.measure(small, base=arguments.base, repeats=repeats, folder=Path(scratch))
    report["cold_decode"] = start
    print(render_bench(report))
    slower = start["decode_over_import_torch"]["median"]
    print(f"cold decode: {slower:.2f} times `import torch`")
    for warning in report["warnings"]:
        print(f"warning: {warning}")
    write_json(arguments.out, report)


if __name__ == "__main__":
    main()

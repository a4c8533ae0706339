"""Peak memory of encoding and decoding one picture, each size in a fresh process.

    python -m promptcodec.evaluation.speed.memory PICTURE [--base DIR] [--engine NAME]
        [--precision P] [--threads N]

prints one line of JSON; `peak_rss_mb` is the largest resident set of the process, with the
interpreter and the libraries of the engine.
"""

import argparse
import json
import subprocess
import sys
import time

from promptcodec.errors import PromptCodecError
from promptcodec.io.provenance import peak_rss_mb


def measure(
    picture: str, *, base: str | None, engine: str, precision: str, threads: int
) -> dict[str, float | int | str]:
    """Peak memory of a picture, measured in a fresh process; arguments as those of this script."""
    words = [sys.executable, "-m", __name__, picture, "--engine", engine, "--precision", precision]
    words += ["--threads", str(threads), *(["--base", base] if base else [])]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    if run.returncode:
        raise PromptCodecError(f"memory of {picture} could not be measured: {run.stderr[-500:]}")
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    """Encode and decode once and print the record."""
    parser = argparse.ArgumentParser(description="Peak memory of one picture.")
    parser.add_argument("picture")
    parser.add_argument("--base")
    parser.add_argument("--engine", default="onnx")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    from promptcodec.api import Codec

    codec = Codec.load(
        arguments.base,
        engine=arguments.engine,
        precision=arguments.precision,
        threads=arguments.threads,
    )
    loaded = peak_rss_mb()
    start = time.perf_counter()
    data = codec.encode(arguments.picture, graphics="never")
    encoded, middle = peak_rss_mb(), time.perf_counter()
    decoded = codec.decode(data)
    end = time.perf_counter()
    report = {
        "width": decoded.width,
        "height": decoded.height,
        "bytes": len(data),
        "engine": arguments.engine,
        "precision": arguments.precision,
        "threads": arguments.threads,
        "rss_mb_after_load": loaded,
        "peak_rss_mb_after_encode": encoded,
        "peak_rss_mb": peak_rss_mb(),
        "encode_seconds": middle - start,
        "decode_seconds": end - middle,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()

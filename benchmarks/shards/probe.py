"""What one process of `benchmarks.shards.run` does; prints one line of JSON.

probe.py train RECIPE SHARDS OUT    # a run, begun or resumed
probe.py read SHARDS BUFFER         # all of a set through the window, without training
probe.py speed SHARDS K...          # batches with K crops for each decoded picture
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from promptcodec.cli.main import main
from promptcodec.io.provenance import peak_rss_mb
from promptcodec.training.config import DataConfig
from promptcodec.training.data.opening import open_pictures

BATCH = 32
BATCHES = 30
SMALL = 200  # pictures of the window where speed is measured


def train(recipe: str, shards: str, out: str) -> dict[str, Any]:
    """Train to the end."""
    words = ["train-base", recipe, "--data", shards, "--out", out, "--resume", "--device", "cpu"]
    code = main(words)
    if code:
        sys.exit(code)
    return {}


def read(shards: str, buffer: str) -> dict[str, Any]:
    """Move the window over a whole epoch."""
    config = DataConfig(
        crop=64, validation_pictures=4, shuffle_buffer=int(buffer), crops_per_picture=1
    )
    store = open_pictures(Path(shards), config)
    steps = len(store) // BATCH
    for step in range(steps):
        store.batch(BATCH, seed=1, step=step)
    return {"pictures": steps * BATCH}


def speed(shards: str, *repeats: str) -> list[dict[str, Any]]:
    """Crops a second, once the window is full."""
    rows = []
    for repeat in map(int, repeats):
        config = DataConfig(
            crop=64, validation_pictures=4, shuffle_buffer=SMALL, crops_per_picture=repeat
        )
        store = open_pictures(Path(shards), config)
        store.batch(BATCH, seed=1, step=0)
        start = time.perf_counter()
        for step in range(1, 1 + BATCHES):
            store.batch(BATCH, seed=1, step=step)
        seconds = time.perf_counter() - start
        rows.append(
            {"crops_per_picture": repeat, "milliseconds_a_crop": 1e3 * seconds / BATCHES / BATCH}
        )
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    kind, *words = sys.argv[1:]
    start = time.perf_counter()
    found: Any = {"train": train, "read": read, "speed": speed}[kind](*words)
    if isinstance(found, dict):
        found |= {"seconds": time.perf_counter() - start, "peak_megabytes": peak_rss_mb()}
    print(json.dumps(found))

"""Training on tar shards: memory for two sizes of a set, a kill and a resume, speed of reading.

    python -m benchmarks.shards.run --data DIR [--counts 3000,30000] [--steps 100]
        [--out docs/results/shards.json]

Each run is a process of its own, with one thread. DIR has zip files of photographs, of which JPEG
crops are cut. The smaller set is the first shards of the larger one.
"""

import hashlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import ROOT, environment, parse, parser, write_record
from benchmarks.shards.crops import SHARD, write_crops
from promptcodec.training.state import step_of

PROBE = Path(__file__).with_name("probe.py")
RECIPE = ROOT / "recipes" / "base" / "base-tiny.yaml"
EDGE, PICTURES = 256, 60
BUFFER = 1000
BATCH = 32
REPEATS = (1, 2, 4, 8)  # crops of a picture while it is in memory


def recipe_of(steps: int) -> dict[str, Any]:
    """The recipe of all runs."""
    return {
        "extends": str(RECIPE),
        "data": {
            "crop": 64,
            "validation_pictures": 4,
            "shuffle_buffer": BUFFER,
            "crops_per_picture": 1,
        },
        "steps": steps,
        "batch": BATCH,
        "precision": "no",
        "validate_every": steps,
        "save_every": 10,
    }


def shards_of(folder: Path, count: int) -> list[Path]:
    """The first shards, of `count` crops."""
    return sorted(folder.glob("*.tar"))[: count // SHARD]


def command(*words: object) -> list[str]:
    """A process of the probe."""
    return [sys.executable, str(PROBE), *map(str, words)]


def probe(*words: object) -> dict[str, Any]:
    """What the probe reports."""
    done = subprocess.run(
        command(*words), env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return yaml.safe_load(done.stdout.splitlines()[-1])


def kill_at(step: int, words: Sequence[object], state: Path) -> int:
    """Start a run and kill it once it has a state of `step` or later; returns the state's step."""
    with subprocess.Popen(command(*words), env=environment(), cwd=ROOT) as process:
        while not state.exists() or step_of(state) < step:
            if process.poll() is not None:
                raise RuntimeError("the run ended before it was killed")
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    return step_of(state)


def sha256_of(run: Path) -> dict[str, str]:
    """Digests of the weights of a finished run and of its state."""
    names = ("base/model.safetensors", "raw.safetensors")
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}


def main() -> None:
    """Make the shards, run everything, write the record."""
    options = parser(__doc__, out="shards")
    options.add_argument("--data", type=Path, required=True, help="folder of zip files of pictures")
    options.add_argument("--counts", default="3000,30000", help="crops of the sets, smaller first")
    options.add_argument("--steps", type=int, default=100)
    arguments = parse(options)
    counts = [int(count) for count in arguments.counts.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recipe = folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(recipe_of(arguments.steps)))
        whole = folder / "shards"
        whole.mkdir()
        write_crops(arguments.data, whole, count=max(counts), edge=EDGE, pictures=PICTURES)
        sets = []
        for count in counts:
            part = folder / f"set-{count}"
            part.mkdir()
            for path in shards_of(whole, count):
                (part / path.name).symlink_to(path)
            size = sum(path.stat().st_size for path in part.iterdir())
            found = probe("train", recipe, part, folder / f"run-{count}")
            sets.append(
                {
                    "crops": count,
                    "megabytes": size / 1e6,
                    "decoded_megabytes": 3 * count * EDGE**2 / 1e6,
                    "training": found,
                    "reading": probe("read", part, BUFFER),
                }
            )
        words = ("train", recipe, part, folder / "killed")
        step = kill_at(arguments.steps // 2, words, folder / "killed" / "state.safetensors")
        resumed = probe(*words)
        digests = [sha256_of(folder / name) for name in (f"run-{count}", "killed")]
        report = {
            "recipe": recipe_of(arguments.steps) | {"extends": RECIPE.relative_to(ROOT).as_posix()},
            "edge": EDGE,
            "sets": sets,
            "ratio": {
                kind: sets[-1][kind]["peak_megabytes"] / sets[0][kind]["peak_megabytes"]
                for kind in ("training", "reading")
            },
            "killed": {
                "step": step,
                "training": resumed,
                "sha256": digests,
                "equal": digests[0] == digests[1],
            },
            "crops_per_picture": probe("speed", part, *REPEATS),
        }
    write_record(arguments.out, report)


if __name__ == "__main__":
    main()

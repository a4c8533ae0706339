"""Speed of a training step: recipes of this tree and of an earlier commit, in turn.

    python -m benchmarks.base.throughput --data DIR [--before COMMIT] [--recipes A.yaml,B.yaml]
        [--steps 12] [--repeats 3] [--out docs/results/throughput.json]

One thread; processor time, which depends little on other programs. The earlier commit trains its
`recipes/base-nano.yaml`, as it stands and in float32. Nothing is validated or written.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import ROOT, environment, parse, parser, write_record
from promptcodec.training.config import read_yaml

PROBE = Path(__file__).with_name("throughput_probe.py")
BEFORE = "a236506"  # the first release
PICTURES = 40  # of the first archive of `--data`


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        name: label of the row.
        tree: root of the checkout.
        recipe: recipe that is trained.
    """

    name: str
    tree: Path
    recipe: Path


def measure(case: Case, pictures: Path, *, steps: int, scratch: Path) -> dict[str, Any]:
    """One run of the probe."""
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        command = [sys.executable, PROBE, case.recipe, pictures, out]
        done = subprocess.run(
            [*map(str, command), "--steps", str(steps)],
            env=environment(case.tree),
            cwd=case.tree,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def one_pack(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe for pictures of one folder, of any size from its `crop` on."""
    data = {k: v for k, v in values["data"].items() if k != "packs"}
    return values | {"data": data | {"last_crop": None}}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the repeats, and all speeds."""
    speeds = [run["megapixels_per_second"] for run in runs]
    middle = sorted(runs, key=lambda run: run["megapixels_per_second"])[len(runs) // 2]
    return middle | {"megapixels_per_second": statistics.median(speeds), "repeats": speeds}


def main() -> None:
    """Measure all cases in turn, as often as asked for."""
    options = parser(__doc__, out="throughput", threads=False)
    options.add_argument("--data", type=Path, required=True, help="folder of zip files of pictures")
    options.add_argument("--before", default=BEFORE, help="commit to compare with")
    options.add_argument(
        "--recipes", default="recipes/base/base-small.yaml", help="comma-separated"
    )
    options.add_argument("--steps", type=int, default=12)
    options.add_argument("--repeats", type=int, default=3)
    arguments = parse(options)

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        pictures = scratch / "pictures"
        archive = sorted(arguments.data.rglob("*.zip"))[0]
        with zipfile.ZipFile(archive) as packed:
            names = [n for n in packed.namelist() if n.endswith((".webp", ".jp2", ".png"))]
            packed.extractall(pictures, names[:PICTURES])
        old = scratch / "before"
        subprocess.run(["git", "worktree", "add", "--detach", old, arguments.before], check=True)
        try:
            plain = old / "recipes" / "base-nano.yaml"
            values = yaml.safe_load(plain.read_text(encoding="utf-8"))
            exact = scratch / "before-float32.yaml"
            exact.write_text(yaml.safe_dump(values | {"precision": "no"}), encoding="utf-8")
            cases = [Case("before", old, plain), Case("before, float32", old, exact)]
            for recipe in map(Path, arguments.recipes.split(",")):
                own = scratch / recipe.name
                own.write_text(yaml.safe_dump(one_pack(read_yaml(recipe))), encoding="utf-8")
                cases.append(Case(recipe.stem, ROOT, own))
            runs: dict[str, list[dict[str, Any]]] = {case.name: [] for case in cases}
            for _ in range(arguments.repeats):
                for case in cases:
                    found = measure(case, pictures, steps=arguments.steps, scratch=scratch)
                    runs[case.name].append(found)
                    print(case.name, f"{found['megapixels_per_second']:.3f} Mpx/s", flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", old], check=True)
    report = {
        "before": arguments.before,
        "rows": {name: summary(found) for name, found in runs.items()},
    }
    write_record(arguments.out, report)


if __name__ == "__main__":
    main()

"""Figures of docs/reliability.md: many files, kills, seams, regions, memory, tests.

    python -m benchmarks.reliability.run PICTURES [--parts many,seams,region,large,...]
        [--count 1000] [--side 16384] [--base DIR]
        [--out docs/results/reliability.json]

PICTURES is a folder of photographs or of zip archives with them. Parts that are not asked for keep
their record.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common import ROOT, environment, parse, parser, read_record, write_json
from benchmarks.reliability.pictures import write_tree
from benchmarks.reliability.tiles import Settings, large, partial, region, seams
from promptcodec.io.checkpoints import find_base
from promptcodec.io.provenance import provenance
from promptcodec.models.checkpoint import read_base

# The tests that show a target, beside or instead of a measurement.
TESTS = {
    "R1": ["tests/api/test_golden.py", "tests/api/test_stranger.py"],
    "R2": ["tests/api/test_mismatch.py"],
    "R3": ["tests/cli/test_refusals.py", "-k", "truncated_at_every_byte or every_bit_flipped"],
    "R5": ["tests/bitstream/test_bitstream.py", "tests/bitstream/test_bitstream_faults.py",
           "tests/cli/test_refusals.py", "-k", "bomb or limit"],
    "R6": ["tests/cli/test_refusals.py", "tests/models/test_adapters_checkpoint.py", "-k",
           "BadCheckpoints or faulty"],
    "R8": ["tests/training/test_training.py", "-k", "killing"],
    "R9": ["tests/io/test_atomic.py", "tests/cli/test_full_disk.py", "tests/cli/test_batch.py",
           "tests/cli/test_processes.py", "-k", "kill or full or write or failed"],
    "R10": ["tests/api/test_rates.py", "-k", "while_adapters_swap"],
    "R12": ["tests/api/test_metadata.py", "tests/io/test_formats.py", "tests/io/test_bit_depth.py",
            "tests/io/test_picture_metadata.py"],
}  # fmt: skip


def many(settings: Settings) -> dict[str, Any]:
    """A tree of mixed pictures there and back, killed in the middle, with one and two processes."""
    source, out = settings.folder / "source", settings.folder / "out"
    tree = write_tree(settings.pictures, source, count=settings.count)
    words = ("encode", source, "--recursive", "--json", "-o")
    killed = _killed(settings.command(*words, out, "--jobs", 2), after=len(tree.good) // 2)
    there = {path: path.stat().st_mtime_ns for path in out.rglob("*.pc")}
    rows, failures = _run(settings.command(*words, out, "--jobs", 2))
    again, _ = _run(settings.command(*words, out, "--jobs", 2))
    _run(settings.command(*words, settings.folder / "one", "--jobs", 1))
    back, lost = _run(
        settings.command("decode", out, "--recursive", "--json", "-o", settings.folder / "back")
    )
    wrong = [
        name
        for name, size in tree.good.items()
        if _size(settings.folder / "back" / Path(name).with_suffix(".png")) != size
    ]
    same = sum(
        path.read_bytes() == (settings.folder / "one" / path.relative_to(out)).read_bytes()
        for path in out.rglob("*.pc")
    )
    return {
        "pictures": settings.count,
        "broken": len(tree.broken),
        "reported_before_the_kill": killed,
        "finished_before_the_kill": rows[-1]["finished"],
        "redone_after_the_kill": sum(path.stat().st_mtime_ns != t for path, t in there.items()),
        "done_after_the_kill": rows[-1]["done"],
        "listed": len(failures),
        "listed_are_the_broken": sorted(
            Path(row["input"]).relative_to(source).as_posix() for row in failures
        )
        == sorted(tree.broken),
        "third_run_did": again[-1]["done"],
        "streams": rows[-1]["finished"] + rows[-1]["done"],
        "same_bytes_for_one_process": same,
        "decoded": back[-1]["done"],
        "lost": len(lost) + len(wrong),
    }


def tests(settings: Settings) -> dict[str, Any]:
    """How many tests show each target."""
    report = {}
    for target, words in TESTS.items():
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *words, "-p", "no:cacheprovider"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        last = run.stdout.strip().splitlines()[-1].split()
        counts = {what.strip(","): int(n) for n, what in pairwise(last) if n.isdigit()}
        report[target] = {
            "passed": counts.get("passed", 0),
            "skipped": counts.get("skipped", 0),
            "failed": counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0),
            "command": "pytest " + " ".join(f"'{w}'" if " " in w else w for w in words),
        }
    return report


PARTS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "many": many,
    "seams": seams,
    "region": region,
    "large": large,
    "partial": partial,
    "tests": tests,
}


def _run(words: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Objects on standard output and on standard error."""
    run = subprocess.run(words, capture_output=True, text=True, env=environment())
    if not run.stdout:
        raise SystemExit(f"{' '.join(words)} failed:\n{run.stderr}")
    both = run.stdout.splitlines(), run.stderr.splitlines()
    rows, failures = ([json.loads(line) for line in lines] for lines in both)
    return rows, failures


def _killed(words: list[str], *, after: int) -> int:
    """Kill a run once it has reported so many files; returns how many it has."""
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
    )
    assert process.stdout is not None
    lines = 0
    for _ in process.stdout:
        lines += 1
        if lines >= after:
            break
    process.kill()
    process.communicate()
    return lines


def _size(path: Path) -> tuple[int, int] | None:
    if not path.exists():
        return None
    with Image.open(path) as image:
        return image.size


def main() -> None:
    """Measure the parts that were asked for and write the record."""
    options = parser(__doc__, out="reliability", threads=False)
    options.add_argument("pictures", type=Path)
    options.add_argument("--base")
    options.add_argument("--parts", default=",".join(PARTS))
    options.add_argument("--count", type=int, default=1000)
    options.add_argument("--side", type=int, default=16384)
    arguments = parse(options)
    own = read_base(find_base(arguments.base)).sha256.hex()
    report: dict[str, Any] = read_record(arguments.out)
    if report.get("base_sha256") != own:  # parts of two bases are not mixed
        report = dict[str, Any](base_sha256=own)
    began = provenance()
    for part in arguments.parts.split(","):
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(
                arguments.pictures, arguments.base, arguments.count, arguments.side, Path(folder)
            )
            report[part] = {"result": PARTS[part](settings), "provenance": began}
        write_json(arguments.out, report)


if __name__ == "__main__":
    main()

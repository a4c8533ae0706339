"""What docs/reliability.md says: many files and kills, cold starts, seams, regions, memory, tests.

    python benchmarks/reliability.py PICTURES [--parts many,startup,seams,region,large,tests]
                                     [--count 1000] [--side 16384] [--base DIR]
                                     [--out docs/results/reliability.json]

PICTURES is a folder of photographs or of zip archives with them. Parts that are not asked for stay
as they are on record.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import startup
from mixed_pictures import photographs, write_tree
from PIL import Image

from promptcodec.api import Codec
from promptcodec.evaluation.metrics import psnr
from promptcodec.evaluation.photographs import bundled, photograph
from promptcodec.evaluation.timing import in_turn, summarise
from promptcodec.files import write_atomically
from promptcodec.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
TILE = 256  # px, of the small pictures that seams and regions are measured on
BAND = 8  # px on both sides of a seam

# The tests that show a target, beside or instead of a measurement.
TESTS = {
    "R1": ["tests/test_golden.py", "tests/test_stranger.py"],
    "R2": ["tests/test_rates.py", "tests/test_adapters_store.py", "-k", "other or mismatch"],
    "R3": ["tests/test_cli.py", "-k", "truncated_at_every_byte or every_bit_flipped"],
    "R5": ["tests", "-k", "bomb or limit"],
    "R6": ["tests/test_cli.py", "tests/test_fuzzing.py", "-k", "BadCheckpoints or refused"],
    "R8": ["tests/training/test_training.py", "-k", "killing"],
    "R9": ["tests/test_files.py", "tests/test_full_disk.py", "tests/test_batch.py", "-k",
           "kill or full or write or failed"],
    "R10": ["tests/test_rates.py", "-k", "while_adapters_swap"],
    "R12": ["tests/test_metadata.py", "tests/test_picture_files.py"],
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What was asked for.

    Args:
        pictures: folder of photographs.
        base: checkpoint; None is the bundled one.
        count: pictures of the tree.
        side: of the large picture, px.
        folder: scratch space.
    """

    pictures: Path
    base: str | None
    count: int
    side: int
    folder: Path

    def command(self, *words: object) -> list[str]:
        """A call of the command line."""
        base = ["--base", self.base] if self.base else []
        return [sys.executable, "-m", "promptcodec", *map(str, words), *base]


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


def cold(settings: Settings) -> dict[str, Any]:
    """Seconds of `decode` beside `import torch`, and of `info`, each in fresh processes in turn."""
    report = startup.measure(bundled(), base=settings.base, repeats=7, folder=settings.folder)
    stream = settings.folder / "small.pc"
    words = [sys.executable, "-m", "promptcodec", "info", str(stream)]
    values = in_turn({"info": lambda: subprocess.run(words, capture_output=True)}, repeats=7)
    return report | {"info_seconds": summarise(values["info"]).__dict__}


def seams(settings: Settings) -> dict[str, Any]:
    """What tiles cost: PSNR of whole pictures and of the bands along the seams, and bytes."""
    codec, rows = Codec.load(settings.base), []
    for number, content in zip(range(8), photographs(settings.pictures), strict=False):
        path = settings.folder / f"photo-{number}"
        path.write_bytes(content)
        rgb = photograph(path, width=768, height=512)
        whole, cut = (codec.encode(rgb, tile_size=size) for size in (0, TILE))
        shown = [np.asarray(codec.decode(data)) for data in (whole, cut)]
        mask = np.zeros(rgb.shape[:2], bool)
        for at in range(TILE, max(mask.shape), TILE):
            mask[max(at - BAND, 0) : at + BAND] = mask[:, max(at - BAND, 0) : at + BAND] = True
        bands = [psnr(rgb[mask][None], each[mask][None]) for each in shown]
        rows.append(
            {
                "psnr_loss": psnr(rgb, shown[0]) - psnr(rgb, shown[1]),
                "band_loss": bands[0] - bands[1],
                "extra_percent": 100 * (len(cut) / len(whole) - 1),
            }
        )
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {"tile": TILE, "pictures": len(rows), **means, "rows": rows}


def region(settings: Settings) -> dict[str, Any]:
    """How much of a stream a region reads, and how far it is from the whole picture."""
    codec = Codec.load(settings.base)
    rgb = np.tile(photograph(bundled(), width=1024, height=1024), (2, 2, 1))
    path = settings.folder / "region.pc"
    path.write_bytes(codec.encode(rgb, tile_size=TILE))
    x, y, width, height = box = (700, 900, 100, 60)
    whole = np.asarray(codec.decode(path)).astype(int)[y : y + height, x : x + width]
    reads: list[int] = []
    part = _counting(path, reads, lambda: codec.decode(path, region=box))
    return {
        "picture": list(rgb.shape[1::-1]),
        "tile": TILE,
        "region": list(box),
        "bytes": path.stat().st_size,
        "read_bytes": sum(reads),
        "read_percent": 100 * sum(reads) / path.stat().st_size,
        "max_difference": int(np.abs(np.asarray(part).astype(int) - whole).max()),
    }


def large(settings: Settings) -> dict[str, Any]:
    """Most memory of the processes that encode and decode a large picture."""
    side = settings.side
    tile = photograph(bundled(), width=1024, height=1024)
    path, stream = settings.folder / "large.ppm", settings.folder / "large.pc"
    with path.open("wb") as file:
        file.write(f"P6 {side} {side} 255\n".encode())
        for top in range(side):
            row = np.tile(tile[top % len(tile)], (-(-side // tile.shape[1]), 1))[:side]
            file.write(row.tobytes())
    limit = ("--max-pixels", 1 << 40, "--threads", 1, "--force")
    report: dict[str, Any] = {"side": side, "pixels": side * side}
    for name, words in {
        "encode": ("encode", path, "-o", stream, *limit),
        "decode": ("decode", stream, "-o", settings.folder / "large.tif", *limit),
        "region": ("decode", stream, "-o", settings.folder / "part.png", *limit,
                   "--region", f"{side // 2},{side // 2},512,512"),
    }.items():  # fmt: skip
        report[f"{name}_peak_gb"] = _peak_gb(settings.command(*words))
    return report | {"stream_bytes": stream.stat().st_size}


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
    "startup": cold,
    "seams": seams,
    "region": region,
    "large": large,
    "tests": tests,
}


def _run(words: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Objects on standard output and on standard error."""
    run = subprocess.run(words, capture_output=True, text=True, env=_environment())
    if not run.stdout:
        raise SystemExit(f"{' '.join(words)} failed:\n{run.stderr}")
    both = run.stdout.splitlines(), run.stderr.splitlines()
    rows, failures = ([json.loads(line) for line in lines] for lines in both)
    return rows, failures


def _killed(words: list[str], *, after: int) -> int:
    """Kill a run once it has reported so many files; returns how many it has."""
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
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


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _size(path: Path) -> tuple[int, int] | None:
    if not path.exists():
        return None
    with Image.open(path) as image:
        return image.size


def _counting(path: Path, reads: list[int], action: Callable[[], Any]) -> Any:
    """Note the bytes of every read of a stream during an action."""
    from promptcodec import sources

    read = sources._read_at

    def counted(file: Any, at: int, size: int) -> bytes:
        content = read(file, at, size)
        reads.append(len(content))
        return content

    sources._read_at = counted
    try:
        return action()
    finally:
        sources._read_at = read


def _peak_gb(words: list[str]) -> float:
    """Largest resident set of a process, GB of 10^9 bytes."""
    process = subprocess.Popen(words, stderr=subprocess.PIPE, env=_environment())
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed:\n{process.stderr.read().decode()}")
    return usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    """Measure the parts that were asked for and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--base")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--side", type=int, default=16384)
    parser.add_argument("--out", type=Path, default=Path("docs/results/reliability.json"))
    arguments = parser.parse_args()
    report: dict[str, Any] = {}
    if arguments.out.exists():
        report = json.loads(arguments.out.read_text("utf-8"))
    for part in arguments.parts.split(","):
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(
                arguments.pictures, arguments.base, arguments.count, arguments.side, Path(folder)
            )
            report[part] = {"result": PARTS[part](settings), "provenance": provenance()}
        write_atomically(arguments.out, (json.dumps(report, indent=1) + "\n").encode(), force=True)


if __name__ == "__main__":
    main()

"""A collection there and back, killed and restarted; throughput; memory of the workers.

    python -m benchmarks.corpus.run --photographs DIR [--count 10000] [--shards 20] [--seed 1]
        [--parts round_trip,throughput] [--work DIR] [--out docs/results/corpus.json]

The collection is made from photographs (`benchmarks.corpus.make`). Parts go into the same file.
"""

import json
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.common import parser, read_record, write_record
from benchmarks.corpus.commands import Watched, corpus, records
from benchmarks.corpus.make import make
from promptcodec.io.provenance import provenance

ROWS = 100  # in a file of the result
LOOP_ROWS = (400, 2000)  # rows of a short and a long job; their difference has no start-up


def main() -> None:
    """Run the parts and write their figures."""
    options = parser(__doc__, out="corpus", threads=False)
    options.add_argument(
        "--photographs", type=Path, required=True, help="folder of zip files with photographs"
    )
    options.add_argument("--count", type=int, default=10_000)
    options.add_argument("--shards", type=int, default=20)
    options.add_argument("--seed", type=int, default=1, help="of the pictures and the kills")
    options.add_argument("--repeats", type=int, default=3, help="of each throughput, in turn")
    options.add_argument("--parts", default="round_trip,throughput", help="comma-separated")
    options.add_argument("--work", type=Path, help="folder that is kept; default: a temporary one")
    arguments = options.parse_args()
    report = read_record(arguments.out)
    work = arguments.work or Path(tempfile.mkdtemp(prefix="corpus-"))
    try:
        source = work / "pictures"
        if not source.exists():
            make(
                source,
                arguments.photographs,
                count=arguments.count,
                shards=arguments.shards,
                seed=arguments.seed,
            )
        parts = {"round_trip": round_trip, "throughput": throughput}
        for name in arguments.parts.split(","):
            found = parts[name](work, source, arguments)
            report[name] = found | {"provenance": provenance()}
            write_record(arguments.out, report)
            print(json.dumps({key: v for key, v in found.items() if key != "memory"}), flush=True)
    finally:
        if arguments.work is None:
            shutil.rmtree(work, ignore_errors=True)


def round_trip(work: Path, source: Path, arguments: Any) -> dict[str, Any]:
    """Encode on Ray with a kill, encode again in one process, decode on Ray with a kill."""
    rng = random.Random(arguments.seed)
    words = ("--batch-size", ROWS)
    ray = ("--engine", "ray", "-j", 2)
    alone, memory = _fresh(work / "alone"), {}
    whole = corpus("encode", source, alone, *words)
    memory["local, 1 worker"] = whole.memory
    killed, streams = _killed(
        "encode", source, _fresh(work / "streams"), (*words, *ray), rng, whole
    )
    memory["ray, 2 workers"] = killed.pop("memory")
    pictures = _fresh(work / "pictures-back")
    back, _ = _killed("decode", streams, pictures, (*words, *ray, "--to", "tar"), rng, whole)
    back.pop("memory")
    two = _fresh(work / "two")
    corpus("encode", source, two, *words, "-j", 2)
    made = {name: digest for name, (_, _, digest) in records(alone).items()}
    rows = [
        r for path in sorted(streams.glob("*.parquet")) for r in pq.read_table(path).to_pylist()
    ]
    failures = [json.loads(x) for x in (streams / "_failures.jsonl").read_text().splitlines()]
    return {
        "pictures": arguments.count,
        "shards": arguments.shards,
        "rows_per_file": ROWS,
        "failed": len(failures),
        "reasons": sorted({_reason(failure["error"]) for failure in failures}),
        "encode_seconds_one_worker": whole.seconds,
        "encode": killed,
        "decode": back,
        "files": len(made),
        "same_files": {
            "ray, 2 workers, killed": _same(streams, made),
            "local, 2 workers": _same(two, made),
        },
        "sources_missing": _missing(source, rows),
        "same_as_encode": _same_as_encode(work, source, rows, rng),
        "pictures_back": _count_back(pictures, rows),
        "memory": memory,
    }


def throughput(work: Path, source: Path, arguments: Any) -> dict[str, Any]:
    """Rows a second of a plain loop and of the engines, in turn, without start-up."""
    ways = {
        "loop": ("loop",),
        "local, 1 worker": ("-j", 1),
        "local, 2 workers": ("-j", 2),
        "ray, 1 worker": ("--engine", "ray", "-j", 1),
        "ray, 2 workers": ("--engine", "ray", "-j", 2),
    }
    seconds: dict[str, list[list[float]]] = {name: [] for name in ways}
    sources = {rows: _subset(work, source, rows, arguments.shards) for rows in LOOP_ROWS}
    for _ in range(arguments.repeats):
        for name, words in ways.items():
            pair = []
            for rows in LOOP_ROWS:
                target = _fresh(work / "timed")
                if words == ("loop",):
                    pair.append(_loop(sources[rows]))
                else:
                    pair.append(
                        corpus("encode", sources[rows], target, "--batch-size", 50, *words).seconds
                    )
            seconds[name].append(pair)
    count = LOOP_ROWS[1] - LOOP_ROWS[0]
    rates = {
        name: [count / (long - short) for short, long in pairs] for name, pairs in seconds.items()
    }
    one = {engine: rates[f"{engine}, 1 worker"] for engine in ("local", "ray")}
    return {
        "rows": LOOP_ROWS,
        "seconds": seconds,
        "rows_per_second": {name: _spread(values) for name, values in rates.items()},
        "two_over_one": {
            engine: _spread(_ratios(rates[f"{engine}, 2 workers"], one[engine])) for engine in one
        },
        "overhead_percent": {
            engine: _spread([100 * (x - 1) for x in _ratios(rates["loop"], one[engine])])
            for engine in one
        },
        "start_seconds": {
            name: _spread([short - LOOP_ROWS[0] / rate for (short, _), rate in timed])
            for name, timed in (
                (name, list(zip(seconds[name], rates[name], strict=True))) for name in ways
            )
        },
    }


def _ratios(values: list[float], others: list[float]) -> list[float]:
    """Ratios of the same repeat."""
    return [a / b for a, b in zip(values, others, strict=True)]


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _killed(
    task: str, source: Path, target: Path, words: tuple, rng: random.Random, whole: Watched
) -> tuple[dict[str, Any], Path]:
    """A command that is killed at a random time, then given again."""
    after = rng.uniform(0.15, 0.4) * whole.seconds
    first = corpus(task, source, target, *words, kill_after=after)
    before = records(target)
    second = corpus(task, source, target, *words)
    now = records(target)
    rows_before = sum(rows for _, rows, _ in before.values())
    values = second.values
    return {
        "killed_after_seconds": first.seconds,
        "rows_finished_before": rows_before,
        "rows_done_after": values["rows_now"],
        "rows": values["rows"],
        "failed": values["failed"],
        "done_twice": rows_before + values["rows_now"] - values["rows"],
        "files_rewritten": sum(now[name] != facts for name, facts in before.items()),
        "shard_faults": values["shard_faults"],
        "seconds_after": second.seconds,
        "memory": second.memory,
    }, target


def _same(folder: Path, made: dict[str, str]) -> int:
    """How many files of a folder have the hashes of others of the same names."""
    return sum(made.get(name) == digest for name, (_, _, digest) in records(folder).items())


def _members(source: Path) -> list[tuple[Path, str]]:
    found = []
    for path in sorted(source.glob("*.tar")):
        with tarfile.open(path) as archive:
            found += [(path, name) for name in archive.getnames() if not name.endswith(".cls")]
    return found


def _missing(source: Path, rows: list[dict[str, Any]]) -> int:
    """How many pictures of the source have no row, or more than one."""
    names = [row["source"] or row["name"] for row in rows]
    wanted = [name for _, name in _members(source)]
    return len(set(wanted) - set(names)) + len(names) - len(set(names))


def _same_as_encode(work: Path, source: Path, rows: list[dict[str, Any]], rng: Any) -> int:
    """How many of five pictures `promptcodec encode` writes with the same bytes."""
    by_name = {row["source"]: row["bytes"] for row in rows if row["error"] is None}
    same = 0
    for path, name in rng.sample([m for m in _members(source) if m[1] in by_name], 5):
        with tarfile.open(path) as archive:
            file = archive.extractfile(name)
            assert file is not None
            picture = work / f"one{Path(name).suffix}"
            picture.write_bytes(file.read())
        stream = work / "one.pc"
        command = [sys.executable, "-m", "promptcodec", "encode", picture, "-o", stream, "-f"]
        subprocess.run(command, check=True, capture_output=True)
        same += stream.read_bytes() == by_name[name]
    return same


def _count_back(folder: Path, rows: list[dict[str, Any]]) -> dict[str, int]:
    """Decoded pictures, and rows whose picture or reason is missing."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            names = set(archive.getnames())
            for member in archive.getmembers():
                if member.name.endswith(".json"):
                    file = archive.extractfile(member)
                    assert file is not None
                    facts = json.loads(file.read())
                    picture = member.name.removesuffix(".json") + ".png" in names
                    found[facts.get("source") or facts["name"]] = picture
    lost = [row for row in rows if found.get(row["name"]) != (row["error"] is None)]
    return {"pictures": sum(found.values()), "lost": len(lost)}


def _subset(work: Path, source: Path, rows: int, shards: int) -> Path:
    """The first pictures of each shard, `rows` in all."""
    folder = _fresh(work / f"first-{rows}")
    folder.mkdir()
    for path in sorted(source.glob("*.tar")):
        with tarfile.open(path) as archive, tarfile.open(folder / path.name, "w") as part:
            pictures = 0
            for member in archive:
                pictures += not member.name.endswith(".cls")
                if pictures > rows // shards:
                    break
                part.addfile(member, archive.extractfile(member))
    return folder


def _loop(source: Path) -> float:
    """Seconds of a process that encodes every picture and writes its stream to a file."""
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "benchmarks.corpus.loop", source], check=True, capture_output=True
    )
    return time.monotonic() - start


def _reason(error: str) -> str:
    """A reason without the name of its row and figures of the file."""
    return error.partition(": ")[2].partition(" (")[0]


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


if __name__ == "__main__":
    main()

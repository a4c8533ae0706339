"""Fuzz the readers of streams, adapters and bases with structured mutations.

    python tests/fuzz/run.py [--engine onnx] [--executions 1000000] [--seconds 7200]
                          [--batch 20000] [--out docs/results/fuzz-onnx.json]
    python tests/fuzz/run.py --number 12345        # one execution again, with its traceback

Execution number n depends on n and the seed alone. Each batch of executions is a process of its
own, whose crash is a finding too. A run continues from the result file, which is complete after
each batch. A finding stays in it with its number; the next run repeats it and records the commit
that fixed it.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

BATCH = 20_000
WARM_UP = 400  # executions before memory and time are checked
SECONDS_AT_MOST = 1.0  # of processor time, for one execution
EXTRA_MB_AT_MOST = 64.0
FINDINGS_AT_MOST = 100


def peak_mb() -> float:
    """Largest resident set of this process so far, MB of 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def source(seed: int, number: int) -> random.Random:
    """Random generator of one execution."""
    return random.Random((seed << 40) + number)


class Worker:
    """Executions in this process, and their counts.

    Args:
        seed: seed of all executions.
        scratch: folder for files that are read by path.
        engine: engine that reads.
    """

    def __init__(self, *, seed: int, scratch: Path, engine: str = "onnx") -> None:
        from targets import Seeds

        self.seed, self.seeds = seed, Seeds(scratch, engine)  # type: ignore[arg-type]
        self.executions: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.findings: list[dict[str, Any]] = []
        self.slowest, self.extra_mb, self.base_mb = 0.0, 0.0, 0.0

    def warm_up(self, count: int = WARM_UP) -> None:
        """Fill caches, so that they do not count as time and memory of an execution."""
        import targets

        for number in range(count):
            target = list(targets.SHARES)[number % len(targets.SHARES)]
            try:
                targets.run(target, source(self.seed + 1, number), self.seeds)
            except Exception:  # found again by the counted executions
                continue
        self.base_mb = peak_mb()

    def execute(self, number: int) -> None:
        """Run one execution; its fault becomes a finding."""
        import targets

        rng = source(self.seed, number)
        target = targets.choose(rng)
        start, error = time.process_time(), ""
        try:
            self.accepted[target] += targets.run(target, rng, self.seeds)
        except Exception as problem:
            last = traceback.extract_tb(problem.__traceback__)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            error = f"{type(problem).__name__} at {place}: {problem}"[:300]
        seconds, extra = time.process_time() - start, peak_mb() - self.base_mb
        if not error and seconds > SECONDS_AT_MOST:
            error = f"took {seconds:.1f} s"
        if not error and extra > max(self.extra_mb, EXTRA_MB_AT_MOST):
            error = f"took {extra:.0f} MB more than before"
        self.executions[target] += 1
        self.slowest, self.extra_mb = max(self.slowest, seconds), max(self.extra_mb, extra)
        if error:
            self.findings.append({"number": number, "target": target, "error": error})

    def summary(self) -> dict[str, Any]:
        """Counts of this process."""
        return {
            "executions": dict(self.executions),
            "accepted": dict(self.accepted),
            "slowest_seconds": round(self.slowest, 3),
            "peak_extra_mb": round(self.extra_mb, 1),
            "findings": self.findings,
        }


def work(arguments: argparse.Namespace) -> None:
    """Execute a batch in this process; print counts, and the current number to a file."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        worker = Worker(seed=arguments.seed, scratch=Path(scratch), engine=arguments.engine)
        worker.warm_up(min(WARM_UP, 4 * arguments.worker))
        with open(arguments.progress, "r+b", buffering=0) as progress:
            for number in range(arguments.start, arguments.start + arguments.worker):
                progress.seek(0)
                progress.write(number.to_bytes(8, "little"))
                worker.execute(number)
    print(json.dumps(worker.summary() | {"cpu_seconds": time.process_time() - started}))


def batch(*, seed: int, start: int, count: int, engine: str) -> tuple[dict[str, Any], int]:
    """Run a batch in a process of its own: its counts, and the number after its last."""
    with tempfile.NamedTemporaryFile() as progress:
        progress.write(start.to_bytes(8, "little"))
        progress.flush()
        words = [sys.executable, __file__, "--seed", str(seed), "--start", str(start)]
        words += ["--worker", str(count), "--progress", progress.name, "--engine", engine]
        run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
        number = int.from_bytes(Path(progress.name).read_bytes(), "little")
    if run.returncode == 0:
        return json.loads(run.stdout.splitlines()[-1]), start + count
    finding = {"number": number, "target": "", "error": f"the process ended by {run.returncode}"}
    return {"executions": {"lost": number + 1 - start}, "findings": [finding]}, number + 1


def merge(report: dict[str, Any], counts: dict[str, Any]) -> None:
    """Add the counts of a batch to a report."""
    for name in ("executions", "accepted"):
        total = Counter(report[name])
        total.update(counts.get(name, {}))
        report[name] = dict(sorted(total.items()))
    for name in ("slowest_seconds", "peak_extra_mb"):
        report[name] = max(report[name], counts.get(name, 0.0))
    report["cpu_seconds"] = round(report["cpu_seconds"] + counts.get("cpu_seconds", 0.0), 1)
    report["findings"] = (report["findings"] + counts["findings"])[:FINDINGS_AT_MOST]
    report["total"] = sum(report["executions"].values())


def empty(seed: int, engine: str) -> dict[str, Any]:
    """An empty report."""
    return {
        "seed": seed,
        "engine": engine,
        "next": 0,
        "total": 0,
        "executions": {},
        "accepted": {},
        "cpu_seconds": 0.0,
        "slowest_seconds": 0.0,
        "peak_extra_mb": 0.0,
        "findings": [],
        "runs": [],
    }


def fuzz(arguments: argparse.Namespace) -> int:
    """Run batches and save the report after each; return the number of open findings."""
    from promptcodec.io.atomic import write_atomically
    from promptcodec.io.provenance import provenance

    report = empty(arguments.seed, arguments.engine)
    if arguments.out.exists():
        report = json.loads(arguments.out.read_text("utf-8"))

    def save() -> None:
        content = (json.dumps(report, indent=1) + "\n").encode()
        write_atomically(arguments.out, content, force=True)

    end = time.monotonic() + arguments.seconds
    report["runs"].append({"from": report["next"], "to": 0, "provenance": provenance()})
    for finding in open_findings(report):
        counts, _ = batch(
            seed=report["seed"], start=finding["number"], count=1, engine=report["engine"]
        )
        if not counts["findings"]:
            finding["mended"] = report["runs"][-1]["provenance"]["commit"] or "unknown"
            save()
    while time.monotonic() < end and report["next"] < arguments.executions:
        count = min(arguments.batch, arguments.executions - report["next"])
        counts, report["next"] = batch(
            seed=report["seed"], start=report["next"], count=count, engine=report["engine"]
        )
        merge(report, counts)
        report["runs"][-1]["to"] = report["next"]
        save()
        line = f"{report['total']:,} executions, {report['cpu_seconds']:,.0f} s, "
        print(line + f"{len(report['findings'])} findings", flush=True)
    for finding in open_findings(report):
        print(finding)
    return len(open_findings(report))


def open_findings(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Findings without a fix."""
    return [finding for finding in report["findings"] if "mended" not in finding]


def again(arguments: argparse.Namespace) -> None:
    """One execution with its traceback."""
    import targets

    rng = source(arguments.seed, arguments.number)
    target = targets.choose(rng)
    with tempfile.TemporaryDirectory() as scratch:
        accepted = targets.run(target, rng, targets.Seeds(Path(scratch), arguments.engine))
    print(f"{target}: {'accepted' if accepted else 'refused'}")


def main() -> None:
    """Parse the arguments and run; exit code 1 if there are open findings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=7200.0)
    parser.add_argument("--batch", type=int, default=BATCH, help="executions in one process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("onnx", "torch"), default="onnx")
    parser.add_argument("--out", type=Path, help="default: docs/results/fuzz-ENGINE.json")
    parser.add_argument("--number", type=int)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--progress", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out = arguments.out or Path(f"docs/results/fuzz-{arguments.engine}.json")
    if arguments.worker:
        work(arguments)
    elif arguments.number is not None:
        again(arguments)
    else:
        sys.exit(bool(fuzz(arguments)))


if __name__ == "__main__":
    main()

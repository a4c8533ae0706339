"""Which deliberate faults the tests notice.

    python -m benchmarks.mutations.run [--only known] [--near] [--jobs 2]

The tree is copied, each fault of known.yaml and drawn.yaml is put into the copy, and the tests run
until the first one fails: those that import the module first, then those of its folder, then all.
What no test notices is listed with the reason from equivalent.yaml, if it changes nothing that a
user can see; of those with a reason only the tests that import the module run. A stopped run goes
on. With --near the last stage is left to a run without it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import ROOT, parser, read_record, write_record
from benchmarks.mutations.faults import Fault, read_faults

HERE = Path(__file__).parent
LISTS = {"known": HERE / "known.yaml", "drawn": HERE / "drawn.yaml"}
EQUIVALENT = HERE / "equivalent.yaml"  # reasons by the name of a fault
COPIED = ("promptcodec", "tests", "benchmarks", "recipes", "checkpoints", "docs", "requirements")
SECONDS = 1800  # of the tests of one fault


def main() -> None:
    """Command line."""
    found = parser(__doc__, out="mutations", threads=False)
    found.add_argument("--only", choices=LISTS, help="faults of this list alone")
    found.add_argument("--jobs", type=int, default=2, help="processes of pytest")
    found.add_argument("--near", action="store_true", help="leave out the run of all tests")
    options = found.parse_args()
    report = read_record(options.out)
    reasons = yaml.safe_load(EQUIVALENT.read_text("utf-8")) if EQUIVALENT.exists() else {}
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = copy_tree(Path(folder) / "tree")
        for kind, path in LISTS.items():
            if options.only not in (None, kind) or not path.exists():
                continue
            rows = report.setdefault(kind, {})
            for fault in read_faults(path):
                if fault.name in rows:
                    continue
                reason = reasons.get(fault.name)
                last = 1 if reason else 2 if options.near else 3
                row = try_fault(fault, tree, jobs=options.jobs, last=last)
                print(f"{fault.name}: {row['noticed_by'] or 'not noticed'}", flush=True)
                if row["noticed_by"] or reason or not options.near:
                    rows[fault.name] = row
                    write_record(options.out, report)
    for rows in (report[kind] for kind in LISTS if kind in report):
        for name, row in rows.items():
            if not row["noticed_by"]:
                row["equivalent"] = reasons.get(name)
    report["summary"] = {kind: summary(report[kind]) for kind in LISTS if kind in report}
    write_record(options.out, report)
    print(report["summary"])


def summary(rows: dict[str, Any]) -> dict[str, int]:
    """Numbers of faults: all, noticed, equivalent, missed."""
    noticed = sum(bool(row["noticed_by"]) for row in rows.values())
    equivalent = sum(bool(row.get("equivalent")) for row in rows.values())
    return {
        "faults": len(rows),
        "noticed": noticed,
        "equivalent": equivalent,
        "missed": len(rows) - noticed - equivalent,
    }


def copy_tree(target: Path) -> Path:
    """Everything that the tests read, in a folder of its own."""
    target.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, target)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in (*COPIED, ".ci"):
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    shutil.copytree(ROOT / ".git", target / ".git")
    return target


def try_fault(fault: Fault, tree: Path, *, jobs: int, last: int) -> dict[str, Any]:
    """Run the tests on a tree with a fault; what noticed it, and seconds.

    Args:
        fault: change of one file.
        tree: copy of the project.
        jobs: number of processes of pytest.
        last: last stage: 1 tests of the module, 2 tests of its folder, 3 all.
    """
    began = time.monotonic()
    with fault.in_tree(tree):
        failed = ""
        for tests in stages(fault, tree, last=last):
            failed = first_failure(tests, tree, jobs=jobs)
            if failed:
                break
    return {"path": fault.path, "noticed_by": failed, "seconds": round(time.monotonic() - began)}


def stages(fault: Fault, tree: Path, *, last: int) -> Iterator[list[str]]:
    """Files of tests, the likeliest to notice a fault first; the last is all."""
    if fault.test:
        yield [fault.test]
    module = fault.path.removesuffix(".py").replace("/", ".")
    name = re.compile(rf"\b{re.escape(module)}\b")
    near, folder = [], Path(fault.path).parts[1]
    for path in sorted((tree / "tests").rglob("test_*.py")):
        if name.search(path.read_text("utf-8")):
            near.append(path.relative_to(tree).as_posix())
    if near:
        yield near
    if last > 1:
        yield [f"tests/{folder}"]
    if last > 2:
        yield ["tests"]


def first_failure(tests: list[str], tree: Path, *, jobs: int) -> str:
    """The first test that fails, or how the run ended otherwise; empty where all pass."""
    words = ["-m", "pytest", "-q", "-x", "--no-header", "-n", str(jobs), *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"tests take longer than {SECONDS} s"
    if not done.returncode:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    if failed is None:
        raise SystemExit(f"pytest ends with {done.returncode}:\n{done.stdout}{done.stderr}")
    return failed[1]


if __name__ == "__main__":
    main()

"""The same targets guided by coverage, where Atheris is installed (`pip install -e '.[fuzz]'`).

    python tests/fuzz/guided.py [--seconds 600] [--corpus runs/fuzz]
                             [--out docs/results/fuzz-guided.json]
    python tests/fuzz/guided.py runs/fuzz/fault-1a2b...     # one input again, with its traceback

libFuzzer evolves the random choices of the mutator, so each input is a nearly valid stream or file.
The corpus keeps inputs that reached new code; the next run begins with it. A run ends at the first
finding; its input is in the corpus as `fault-...`.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LONGEST = 256  # bytes of choices, about sixty of them
SECONDS_AT_MOST = 10  # for one execution


class Choices(random.Random):
    """Random choices read from bytes; zeros after their end."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self.data, self.position = data, 0

    def getrandbits(self, k: int, /) -> int:
        """The next k bits, in whole bytes."""
        size = -(-k // 8)
        part = self.data[self.position : self.position + size]
        self.position += size
        return int.from_bytes(part, "little") & ((1 << k) - 1)

    def random(self) -> float:
        """A number in [0, 1)."""
        return self.getrandbits(24) / (1 << 24)


def hand_over(arguments: list[str]) -> None:
    """Let libFuzzer run the targets; it ends the process.

    Args:
        arguments: command line of libFuzzer.
    """
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["promptcodec"]):  # type: ignore[attr-defined]
        import targets

    with tempfile.TemporaryDirectory() as scratch:
        seeds = targets.Seeds(Path(scratch))

        def once(data: bytes) -> None:
            rng = Choices(data)
            targets.run(targets.choose(rng), rng, seeds)

        atheris.Setup([__file__, *arguments], once)
        atheris.Fuzz()


def record(arguments: argparse.Namespace) -> int:
    """Fuzz in a process of its own and record the run; return the number of findings."""
    from promptcodec.io.atomic import write_atomically
    from promptcodec.io.provenance import provenance

    began = provenance()
    arguments.corpus.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, __file__, "--libfuzzer", str(arguments.corpus)]
    words += [f"-max_total_time={arguments.seconds}", f"-timeout={SECONDS_AT_MOST}"]
    words += [f"-max_len={LONGEST}", "-len_control=0", "-print_final_stats=1"]
    words += ["-rss_limit_mb=8192"]  # libFuzzer's records grow; `run.py` checks our memory
    words += [f"-artifact_prefix={arguments.corpus}/fault-"]
    report = {"executions": 0, "seconds": 0, "edges": [], "corpus": 0, "findings": []}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        for line in process.stderr:
            print(line, end="", file=sys.stderr)
            read_line(line, report)
    if process.returncode and not report["findings"]:
        report["findings"].append(f"the process ended by {process.returncode}")
    report["edges"] = [min(report["edges"], default=0), max(report["edges"], default=0)]
    report["provenance"] = began
    write_atomically(arguments.out, (json.dumps(report, indent=1) + "\n").encode(), force=True)
    return len(report["findings"])


def read_line(line: str, report: dict) -> None:
    """Add the figures of a line of libFuzzer's output to the record.

    Args:
        line: line of standard error.
        report: record of the run.
    """
    if found := re.search(r"\bcov: (\d+) .*\bcorp: (\d+)/", line):
        report["edges"].append(int(found[1]))
        report["corpus"] = int(found[2])
    if found := re.match(r"Done (\d+) runs in (\d+) second", line):
        report["executions"], report["seconds"] = int(found[1]), int(found[2])
    if found := re.search(r"Test unit written to \S*?(fault-\S+)", line):
        report["findings"].append(found[1])


def main() -> None:
    """Record a run, or run one input again; exit code 1 if there are findings."""
    if sys.argv[1:2] == ["--libfuzzer"]:
        hand_over(sys.argv[2:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("input", type=Path, nargs="?")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/fuzz-guided.json"))
    arguments = parser.parse_args()
    if arguments.input:
        hand_over([str(arguments.input)])
    sys.exit(bool(record(arguments)))


if __name__ == "__main__":
    main()

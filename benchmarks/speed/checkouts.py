"""Speed of this checkout beside that of another one, in turn, with torch and with the runtime.

    python -m benchmarks.speed.checkouts OTHER PICTURE [--repeats 15] [--engines torch,onnx]
        [--out docs/results/checkouts.json]

Each side has its own bundled base and reads streams of its own, so that an earlier base can be
compared as well as earlier code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.common import ROOT, commit_of, environment, parse, parser, write_json
from promptcodec.evaluation.speed.timing import in_turn, ratio, summarise
from promptcodec.io.provenance import provenance

WORKER = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from promptcodec import Codec
picture, stream, engine = sys.argv[1:]
codec = Codec.load(engine=engine, threads=1)
data = codec.encode(picture)
Path(stream).write_bytes(data)
actions = {"encode": lambda: codec.encode(picture), "decode": lambda: codec.decode(data)}
print(codec.base_hash.hex(), flush=True)
for line in sys.stdin:
    actions[line.strip()]()
    print(flush=True)
"""


class Checkout:
    """A codec of one checkout, loaded in a process of its own.

    Args:
        root: folder of the checkout.
        picture: file that is encoded.
        stream: file to write, which is decoded.
        engine: engine as in `Codec.load`.
    """

    def __init__(self, root: Path, picture: Path, stream: Path, engine: str) -> None:
        self.root, self.stream, self.engine = root, stream, engine
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(picture), str(stream), engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            env=environment(root),
        )
        self.base_hash = self._wait()

    def actions(self) -> dict[str, Callable[[], object]]:
        """What is timed: coding with loaded networks."""
        return {
            f"{way}, {self.engine}": lambda way=way: self._ask(way) for way in ("encode", "decode")
        }

    def commands(self) -> dict[str, Callable[[], object]]:
        """What is timed once for a checkout: commands in a fresh process."""
        output = self.stream.with_suffix(".png")
        words = ("decode", str(self.stream), "-o", str(output), "--force", "--threads", "1")
        return {
            "info, fresh process": lambda: self._run("info", str(self.stream)),
            "decode, fresh process": lambda: self._run(*words),
        }

    def _ask(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()
        self._wait()

    def _wait(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker of {self.root} ended")
        return line.decode().strip()

    def _run(self, *arguments: str) -> None:
        words = [sys.executable, "-m", "promptcodec", *arguments]
        subprocess.run(
            words, cwd=self.root, env=environment(self.root), check=True, capture_output=True
        )


def main() -> None:
    """Time both and write the ratios."""
    options = parser(__doc__, out="checkouts", threads=False)
    options.add_argument("other", type=Path, help="another checkout of the project")
    options.add_argument("picture", type=Path, help="picture file")
    options.add_argument("--repeats", type=int, default=15, help="rounds")
    options.add_argument("--engines", default="torch,onnx", help="comma-separated")
    arguments = parse(options)
    picture, other = arguments.picture.resolve(), arguments.other.resolve()
    load, roots = os.getloadavg()[0], {"ours": ROOT, "theirs": other}
    with tempfile.TemporaryDirectory() as folder:
        actions: dict[str, Callable[[], object]] = {}
        sides: dict[str, list[Checkout]] = {name: [] for name in roots}
        for engine in arguments.engines.split(","):
            for side, root in roots.items():
                stream = Path(folder) / f"{side}-{engine}.pc"
                sides[side].append(Checkout(root, picture, stream, engine))
        for side, checkouts in sides.items():
            found = [each.actions() for each in checkouts] + [checkouts[0].commands()]
            for name, action in (pair for group in found for pair in group.items()):
                actions[f"{name}, {side}"] = action
        order = sorted(actions)  # both sides of one action follow each other
        seconds = in_turn({name: actions[name] for name in order}, repeats=arguments.repeats)
        for checkout in (each for checkouts in sides.values() for each in checkouts):
            checkout.process.kill()
    names = dict.fromkeys(name.rpartition(", ")[0] for name in order)
    ratios = {name: ratio(seconds[f"{name}, ours"], seconds[f"{name}, theirs"]) for name in names}
    record = {
        "other_commit": commit_of(other),
        "base_sha256": sides["ours"][0].base_hash,
        "other_base_sha256": sides["theirs"][0].base_hash,
        "load_average_before": load,
        "seconds": {name: asdict(summarise(values)) for name, values in seconds.items()},
        "ours_over_theirs": {name: asdict(found) for name, found in ratios.items()},
        **provenance(),
    }
    write_json(arguments.out, record)
    for name, found in ratios.items():
        print(f"{name}: {found.median:.3f} ({found.low:.3f} to {found.high:.3f})")


if __name__ == "__main__":
    main()

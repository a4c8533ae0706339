"""Speed of this checkout beside that of another one, in turn.

Run: `python -m benchmarks.speed.checkouts OTHER PICTURE [--repeats N] [--out FILE]`
"""

from __future__ import annotations

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
import torch
torch.set_num_threads(1)
from promptcodec import Codec
codec, picture, stream = Codec.load(), sys.argv[1], sys.argv[2]
actions = {"encode": lambda: codec.encode(picture), "decode": lambda: codec.decode(stream)}
print(flush=True)
for line in sys.stdin:
    actions[line.strip()]()
    print(flush=True)
"""


class Checkout:
    """A codec of one checkout, loaded in a process of its own.

    Args:
        root: folder of the checkout.
        picture: file that is encoded.
        stream: file that is decoded.
    """

    def __init__(self, root: Path, picture: Path, stream: Path) -> None:
        self.root, self.stream = root, stream
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(picture), str(stream)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            env=environment(root),
        )
        self._wait()

    def actions(self) -> dict[str, Callable[[], object]]:
        """What is timed: warm coding, and commands in a fresh process."""
        output = self.stream.with_suffix(f".{self.root.name}.png")
        return {
            "encode": lambda: self._ask("encode"),
            "decode": lambda: self._ask("decode"),
            "cold info": lambda: self._run("info", str(self.stream)),
            "cold decode": lambda: self._run(
                "decode", str(self.stream), "-o", str(output), "--force", "--threads", "1"
            ),
        }

    def _ask(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()
        self._wait()

    def _wait(self) -> None:
        assert self.process.stdout
        if not self.process.stdout.readline():
            raise SystemExit(f"the worker of {self.root} ended")

    def _run(self, *arguments: str) -> None:
        words = [sys.executable, "-m", "promptcodec", *arguments]
        subprocess.run(
            words, cwd=self.root, env=environment(self.root), check=True, capture_output=True
        )


def main() -> None:
    """Time both and write the ratios."""
    options = parser(__doc__, threads=False)
    options.add_argument("other", type=Path, help="another checkout of the project")
    options.add_argument("picture", type=Path, help="picture file")
    options.add_argument("--repeats", type=int, default=15, help="rounds")
    arguments = parse(options)
    picture, other = arguments.picture.resolve(), arguments.other.resolve()
    with tempfile.TemporaryDirectory() as folder:
        stream = Path(folder) / "a.pc"
        words = [sys.executable, "-m", "promptcodec", "encode", str(picture), "-o", str(stream)]
        subprocess.run(words, check=True, capture_output=True)
        roots = {"ours": ROOT, "theirs": other}
        sides = {name: Checkout(root, picture, stream) for name, root in roots.items()}
        actions = {
            f"{name} {side}": action
            for side, checkout in sides.items()
            for name, action in checkout.actions().items()
        }
        order = sorted(actions)  # both sides of one action follow each other
        seconds = in_turn({name: actions[name] for name in order}, repeats=arguments.repeats)
        for checkout in sides.values():
            checkout.process.kill()
    names = dict.fromkeys(name.rpartition(" ")[0] for name in order)
    ratios = {name: ratio(seconds[f"{name} ours"], seconds[f"{name} theirs"]) for name in names}
    record = {
        "other_commit": commit_of(other),
        "seconds": {name: asdict(summarise(values)) for name, values in seconds.items()},
        "ours_over_theirs": {name: asdict(found) for name, found in ratios.items()},
        **provenance(),
    }
    if arguments.out:
        write_json(arguments.out, record)
    for name, found in ratios.items():
        print(f"{name}: {found.median:.3f} ({found.low:.3f} to {found.high:.3f})")


if __name__ == "__main__":
    main()

"""The same targets guided by coverage, where Atheris is installed (`pip install -e '.[fuzz]'`).

    python fuzzing/guided.py [runs/fuzz] [-runs=100000] [-max_total_time=600]

The bytes that libFuzzer evolves are the choices of the mutator, so each of them is a stream or a
file that is nearly right. Arguments are those of libFuzzer; the folder collects what found new
paths.
"""

import random
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(  # type: ignore[attr-defined]
    include=["promptcodec"]
):
    import targets


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


def main() -> None:
    """Hand over to libFuzzer."""
    with tempfile.TemporaryDirectory() as scratch:
        seeds = targets.Seeds(Path(scratch))

        def once(data: bytes) -> None:
            rng = Choices(data)
            targets.run(targets.choose(rng), rng, seeds)

        atheris.Setup(sys.argv, once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

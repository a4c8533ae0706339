"""What a fresh process costs: a decode, a label, `info` and `--help`, beside `import torch`."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptcodec.errors import CheckpointError
from promptcodec.evaluation.speed.timing import ratio, summarise

if TYPE_CHECKING:
    from promptcodec.api import Codec

PROFILE_LINES = 15


def measure(
    picture: Path,
    *,
    base: str | None,
    repeats: int,
    folder: Path,
    heads: str | None = None,
    light: Path | None = None,
) -> dict[str, Any]:
    """Time fresh processes in turn; one OpenMP thread each.

    Args:
        picture: photograph; it is encoded here, outside the measurement.
        base: checkpoint, None is the bundled one.
        repeats: processes of each kind.
        folder: scratch space.
        heads: head to classify; None is that of the base, where it has one.
        light: interpreter of an installation without torch, which then decodes and classifies too.
    """
    from promptcodec.api import Codec

    stream, output = folder / "stream.pc", folder / "output.png"
    codec = Codec.load(base, heads=heads)
    stream.write_bytes(codec.encode(picture))
    program, place = ["-m", "promptcodec"], ["--base", base] if base else []
    decode = [*program, "decode", str(stream), "-o", str(output), "--force", *place]
    networks = {"decode": decode}
    if _classifies(codec):
        own = ["--heads", heads] if heads else []
        networks["classify"] = [*program, "classify", str(stream), *place, *own]
    commands = {
        **networks,
        "info": [*program, "info", str(stream)],
        "help": [*program, "--help"],
        "python": ["-c", "pass"],
        "import torch": ["-c", "import torch"],
    }
    if light is not None:
        commands |= {f"{name}, light install": words for name, words in networks.items()}
    walls: dict[str, list[float]] = {name: [] for name in commands}
    cpus: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, words in commands.items():
            own = light if light is not None and name.endswith("light install") else sys.executable
            wall, cpu = _time(words, interpreter=own)
            if turn:  # the first fills the caches of the file system
                walls[name].append(wall)
                cpus[name].append(cpu)
    return {
        "wall_seconds": {name: asdict(summarise(values)) for name, values in walls.items()},
        "cpu_seconds": {name: asdict(summarise(values)) for name, values in cpus.items()},
        "cpu_over_import_torch": {
            name: asdict(ratio(cpus[name], cpus["import torch"]))
            for name in commands
            if name not in ("python", "import torch")
        },
        "import_profile": import_profile(decode),
    }


def _classifies(codec: "Codec") -> bool:
    """Whether a codec has a classifier."""
    try:
        codec.labels()
    except CheckpointError:
        return False
    return True


def import_profile(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """The modules that cost most by themselves, from `python -X importtime`."""
    rows = []
    for line in _python("-X", "importtime", *arguments).splitlines():
        columns = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and columns[0].strip().isdigit():
            own, total, name = (column.strip() for column in columns)
            rows.append({"module": name, "self_ms": int(own) / 1000, "total_ms": int(total) / 1000})
    rows.sort(key=lambda row: row["self_ms"], reverse=True)
    return rows[:PROFILE_LINES]


def _time(words: Sequence[str], *, interpreter: str | Path) -> tuple[float, float]:
    """Wall and CPU seconds of a fresh process of an interpreter."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    _python(*words, interpreter=interpreter)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _python(*arguments: str, interpreter: str | Path = sys.executable) -> str:
    """Standard error of a fresh process that must succeed; it may keep compiled modules."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    run = subprocess.run(
        [interpreter, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    if run.returncode:
        raise SystemExit(f"python {' '.join(arguments)} failed:\n{run.stderr}")
    return run.stderr

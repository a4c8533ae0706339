"""How long a cold `promptcodec decode` takes, next to the `import torch` that it cannot avoid."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from promptcodec.evaluation.speed.timing import in_turn, ratio, summarise

PROFILE_LINES = 15


def measure(picture: Path, *, base: str | None, repeats: int, folder: Path) -> dict[str, Any]:
    """Decode one small stream in fresh processes, in turn with `import torch`.

    Args:
        picture: small; it is encoded here, outside the measurement.
        base: checkpoint, None is the bundled one.
        repeats: processes of each kind.
        folder: scratch space.
    """
    from promptcodec.api import Codec

    stream, output = folder / "small.pc", folder / "small.out.png"
    stream.write_bytes(Codec.load(base).encode(picture))
    decode = ["-m", "promptcodec", "decode", str(stream), "-o", str(output), "--force"]
    decode += ["--base", base] if base else []
    seconds = in_turn(
        {
            "decode": lambda: _python(*decode),
            "import_torch": lambda: _python("-c", "import torch"),
            # What merely exists on the machine, for those who wonder where the rest goes.
            "python": lambda: _python("-c", "pass"),
        },
        repeats=repeats,
    )
    return {
        **{f"{name}_seconds": asdict(summarise(values)) for name, values in seconds.items()},
        "decode_over_import_torch": asdict(ratio(seconds["decode"], seconds["import_torch"])),
        "import_profile": import_profile(decode),
    }


def import_profile(arguments: list[str]) -> list[dict[str, Any]]:
    """The modules that cost most by themselves, from `python -X importtime`."""
    rows = []
    for line in _python("-X", "importtime", *arguments).splitlines():
        columns = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and columns[0].strip().isdigit():
            own, total, name = (column.strip() for column in columns)
            rows.append({"module": name, "self_ms": int(own) / 1000, "total_ms": int(total) / 1000})
    rows.sort(key=lambda row: row["self_ms"], reverse=True)
    return rows[:PROFILE_LINES]


def _python(*arguments: str) -> str:
    """Standard error of a fresh interpreter that must succeed."""
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"python {' '.join(arguments)} failed:\n{run.stderr}")
    return run.stderr

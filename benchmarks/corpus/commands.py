"""`promptcodec corpus` in processes of its own: run, killed, watched."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass
class Watched:
    """A command that ran, and the memory of its workers.

    Args:
        values: JSON of the command; empty if it was killed.
        seconds: its time.
        memory: seconds from the start, and resident MB of each worker by process number.
    """

    values: dict[str, Any]
    seconds: float
    memory: list[tuple[float, dict[int, float]]] = field(default_factory=list)


def corpus(*words: object, kill_after: float | None = None, watch: float = 5.0) -> Watched:
    """Run a command.

    Args:
        words: words after `promptcodec corpus`.
        kill_after: seconds after which the command gets SIGKILL; None is never.
        watch: seconds between two looks at the memory of its workers.
    Raises:
        RuntimeError: it fails.
    """
    command = [sys.executable, "-m", "promptcodec", "corpus", *map(str, words), "--json"]
    start, memory = time.monotonic(), []
    process = subprocess.Popen(
        command,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    while True:
        try:
            out, _ = process.communicate(timeout=watch)
            break
        except subprocess.TimeoutExpired:
            now = time.monotonic() - start
            memory.append((now, _workers(process.pid)))
            if kill_after is not None and now >= kill_after:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                _wait_for_orphans()
                return Watched({}, now, memory)
    seconds = time.monotonic() - start
    if process.returncode:
        raise RuntimeError(f"{command} failed: {process.returncode}")
    return Watched(json.loads(out), seconds, memory)


def records(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Finished files of a result: time of writing, rows, hash."""
    found = {}
    for path in sorted((folder / "_parts").glob("*.json")):
        values = json.loads(path.read_text())
        file = folder / values["file"]
        found[values["file"]] = file.stat().st_mtime_ns, values["tally"]["rows"], values["sha256"]
    return found


def _workers(parent: int) -> dict[int, float]:
    """Resident MB of the processes that code, by number: actors of Ray, or the command itself."""
    found, own = {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            status = (folder / "status").read_text()
        except OSError:  # it has ended
            continue
        size = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        if size and name.startswith("ray::") and "MapWorker" in name:
            found[int(folder.name)] = int(size[0].split()[1]) * 1024 / 1e6
        elif size and int(folder.name) == parent:
            own[parent] = int(size[0].split()[1]) * 1024 / 1e6
    return found or own


def _wait_for_orphans(seconds: float = 60.0) -> None:
    """Wait until the actors of a command that was killed have ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any("MapWorker" in _name(folder) for folder in Path("/proc").iterdir()):
            return
        time.sleep(1.0)
    raise RuntimeError("workers of the command that was killed are still there")


def _name(folder: Path) -> str:
    try:
        return (folder / "cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""

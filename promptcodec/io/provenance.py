"""Provenance of figures: date, commit, versions, machine, command; peak memory."""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

DOCUMENTS = (":(exclude)docs", ":(exclude)*.md", ":(exclude)checkpoints/*/results.json")
"""Paths of git that no figure depends on: documents, and the records that commands write."""
PACKAGES = ("promptcodec", "torch", "onnxruntime", "numpy", "pillow", "constriction")

_HERE = Path(__file__).resolve()


def provenance(*, threads: int | None = None) -> dict[str, object]:
    """Facts of a run for its results file.

    Args:
        threads: CPU threads of its computation; None is those of torch, where it is in use.
    Returns:
        JSON-ready facts: date (UTC, ISO 8601), commit (None outside a checkout; "-dirty" when
        files other than documents differ from it), command, versions, machine.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": command_line(sys.argv),
        "versions": versions(),
        "machine": machine(threads=threads),
    }


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that the figures depend on."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def machine(*, threads: int | None = None) -> dict[str, object]:
    """Processor model, number of usable logical processors, threads.

    Args:
        threads: number of threads; None is that of torch, where it is in use.
    """
    torch = sys.modules.get("torch")
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    return {
        "cpu": _cpu_model(),
        "processors": len(usable) if usable else os.cpu_count(),
        "threads": torch.get_num_threads() if torch and threads is None else threads,
        "system": platform.system(),
    }


@cache
def commit() -> str | None:
    """Commit of the checkout that contains this package; None if it was installed.

    It ends with "-dirty" where a file differs from it, or Python code is not in it, that a figure
    may depend on; changes of `DOCUMENTS` do not count. The first answer holds for the process,
    whose code was read then: long runs ask at their start.
    """
    if not _in_checkout():
        return None
    found = _git("rev-parse", "--short=12", "HEAD", folder=_HERE.parent)
    return f"{found}-dirty" if found and changes() else found


@cache
def changes() -> str:
    """Hash of what differs from the commit, hexadecimal; empty if nothing does."""
    if not _in_checkout():
        return ""
    root = _HERE.parents[2]
    changed = _git("diff", "HEAD", "--binary", "--", ".", *DOCUMENTS, folder=root) or ""
    new = _git("ls-files", "--others", "--exclude-standard", "*.py", folder=root) or ""
    code = "".join(f"{name}\n{_text(root / name)}" for name in new.splitlines())
    return hashlib.sha256(f"{changed}\n{code}".encode()).hexdigest() if changed or code else ""


def _in_checkout() -> bool:
    # An installed package may be inside another checkout, where this file is not tracked.
    tracked = _git("ls-files", "--error-unmatch", _HERE.name, folder=_HERE.parent)
    return tracked is not None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _git(*arguments: str, folder: Path) -> str | None:
    try:
        run = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip() or None


def command_line(argv: list[str]) -> str:
    """The command with paths that leave the folder cut to their last part: records are published.

    A script of the checkout is named as it is run from its root.
    """
    program = Path(argv[0] if argv else "python")
    words = ["promptcodec" if program.name == "__main__.py" else program.name]
    root = Path(__file__).resolve().parents[2]
    place = program.resolve()
    if place.suffix == ".py" and place.is_relative_to(root / "benchmarks"):
        words = ["python", "-m", ".".join(place.relative_to(root).with_suffix("").parts)]
    elif place.suffix == ".py" and place.is_relative_to(root / "tests"):
        words = ["python", str(place.relative_to(root))]
    for word in argv[1:]:
        option, equals, value = word.rpartition("=")
        path = Path(value)
        outside = path.is_absolute() or ".." in path.parts
        words.append(option + equals + (path.name if outside else value))
    return shlex.join(words)


def peak_rss_mb() -> float:
    """Largest resident set of this process so far, in MB of 10^6 bytes.

    On Linux `ru_maxrss` of a parent is inherited by its children, so that a small process started
    by a large one looks large; VmHWM starts anew with each program.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource  # POSIX only

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.lower().startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

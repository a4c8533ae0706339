"""Size and time of an installation without torch, from a fresh clone.

    python -m benchmarks.runtime.install [--out docs/results/install.json]

`make demo` is timed from nothing; then the package is installed beside its requirements, and what
lies in the environment is counted, pip and setuptools left out.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.common import ROOT, parser, write_record

TOOLS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel")  # of any environment


def main() -> None:
    """Install, count and write one JSON file."""
    arguments = parser(__doc__, out="install", threads=False).parse_args()
    with tempfile.TemporaryDirectory(prefix="install-") as folder:
        clone = Path(folder) / "promptcodec"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        # Nothing of an environment that this runs in.
        kept = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
        began = time.monotonic()
        subprocess.run(["make", "-s", "demo"], cwd=clone, env=kept, check=True)
        demo = time.monotonic() - began
        python = clone / ".venv-light" / "bin" / "python"
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "--no-deps", "."],
            cwd=clone,
            env=kept,
            check=True,
        )
        (site,) = (clone / ".venv-light").glob("lib/python*/site-packages")
        sizes = {
            part.name: size_of(part) for part in site.iterdir() if not part.name.startswith(TOOLS)
        }
        compiled = sum(path.stat().st_size for path in site.rglob("*.pyc"))
        version = subprocess.run(
            [python, "--version"], capture_output=True, text=True, check=True
        ).stdout
    largest = dict(sorted(sizes.items(), key=lambda item: -item[1])[:12])
    report = {
        "demo_seconds": demo,
        "python": version.strip(),
        "bytes": sum(sizes.values()),
        "bytes_compiled_by_python": compiled,
        "largest": largest,
    }
    write_record(arguments.out, report)
    print(f"{sum(sizes.values()) / 1e6:.0f} MB, demo {demo:.0f} s")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


if __name__ == "__main__":
    main()

"""Many files onto a disk that fills up: a small one that the test mounts for itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptcodec import bitstream

DISK = 48 << 10  # bytes; a page is 4 KiB

# Runs in name spaces of its own, so that nothing is mounted for anyone else.
SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from promptcodec.cli.main import main

disk, photos, base, kept = sys.argv[1:5]
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={sys.argv[5]}", "tmpfs", disk], check=True)
filler = Path(disk, "filler")
filler.write_bytes(bytes(int(sys.argv[5]) - (12 << 10)))  # room for a few streams
words = ["encode", "-r", photos, "-o", disk, "--base", base, "--json"]
codes = [main(words)]
Path(kept, "full").write_text("\\n".join(sorted(os.listdir(disk))))
for path in Path(disk).glob("*.pc"):
    Path(kept, path.name).write_bytes(path.read_bytes())
filler.unlink()
codes.append(main(words))
Path(kept, "freed").write_text("\\n".join(sorted(os.listdir(disk))))
Path(kept, "codes").write_text(repr(codes))
"""


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    words = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no name space to mount a disk in")
@pytest.mark.timeout(300)
def test_a_disk_that_fills_up_and_is_freed(tmp_path: Path, tiny_checkpoint: Path) -> None:
    disk, photos, kept = (tmp_path / name for name in ("disk", "photos", "kept"))
    for folder in (disk, photos, kept):
        folder.mkdir()
    rng = np.random.default_rng(3)
    for number in range(8):
        pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    words = [disk, photos, tiny_checkpoint, kept, DISK]
    run = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", SCRIPT, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    assert (kept / "codes").read_text() == "[8, 0]"
    failures = [json.loads(line) for line in run.stderr.splitlines()]
    assert failures and all("the disk is full" in row["message"] for row in failures)
    assert {row["exit_code"] for row in failures} == {8}
    # Whole streams and nothing else are left, and the second run makes just what is missing.
    there = (kept / "full").read_text().split()
    assert there == sorted(["filler", *(path.name for path in kept.glob("*.pc"))])
    assert len(there) + len(failures) == 1 + 8
    for path in kept.glob("*.pc"):
        bitstream.parse(path.read_bytes())
    summary = json.loads(run.stdout.splitlines()[-1])
    assert (summary["finished"], summary["done"]) == (len(there) - 1, len(failures))
    assert (kept / "freed").read_text().split() == [f"{number}.pc" for number in range(8)]

"""Runs of several processes, as torchrun starts them."""

import os
import socket
import subprocess
import sys
from pathlib import Path


def torchrun(script: Path, *words: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Run a script in several processes on the CPU; they end within four minutes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command += ["--master_addr", "127.0.0.1", "--master_port", str(port), str(script)]
    tests = str(Path(__file__).parent)
    path = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
    variables = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": path}
    return subprocess.run(
        [*command, *map(str, words)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=240,
    )

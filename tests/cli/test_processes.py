"""Many files in several processes: killed, interrupted, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_trees import contents, picture, tree

from promptcodec import bitstream
from promptcodec.cli.batch.jobs import EncodeJob
from promptcodec.cli.batch.runner import run_batch
from promptcodec.cli.codec_options import CodecOptions
from promptcodec.cli.inputs import FilePair

SIZE = (900, 700)  # some tenths of a second each


@pytest.fixture
def run(run_tiny):
    return run_tiny


@pytest.mark.timeout(300)
class TestProcesses:
    """What only processes of their own can show."""

    @pytest.fixture
    def many(self, tmp_path) -> Path:
        (tmp_path / "many").mkdir()
        for number in range(12):
            picture(number, size=SIZE).save(tmp_path / "many" / f"{number:02}.png")
        return tmp_path / "many"

    @pytest.fixture
    def start(self, tiny_checkpoint, many, tmp_path):
        def start(*options):
            words = ["encode", "-r", str(many), "-o", str(tmp_path / "out"), *options]
            words += ["--base", str(tiny_checkpoint), "--json"]
            return subprocess.Popen(
                [sys.executable, "-m", "promptcodec", *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

        return start

    def test_killed_and_resumed(self, start, run, many, tmp_path):
        process = start("--jobs", "2")
        for _ in range(3):
            json.loads(process.stdout.readline())
        process.kill()
        process.wait()
        assert _group_ends(process.pid), "the workers outlived their parent"
        out = tmp_path / "out"
        there = contents(out)
        assert 3 <= len(there) < 12
        for data in there.values():
            bitstream.parse(data)
        words = ("encode", "-r", many)
        _, stdout, _ = run(*words, "-o", out, "--json")
        summary = json.loads(stdout.splitlines()[-1])
        assert (summary["finished"], summary["done"]) == (len(there), 12 - len(there))
        whole = contents(out)
        assert all(whole[name] == data for name, data in there.items())
        assert run(*words, "-o", tmp_path / "other")[0] == 0
        assert contents(tmp_path / "other") == whole

    @pytest.mark.slow
    def test_interrupted(self, start):
        process = start("--jobs", "2", "--effort", "9")
        json.loads(process.stdout.readline())
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130 and stderr == b""
        assert time.monotonic() - started < 20
        assert _group_ends(process.pid)

    @pytest.mark.parametrize(
        "signal_number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
    )
    def test_what_was_done_is_told_when_it_ends_early(self, start, tmp_path, signal_number):
        failures = tmp_path / "failures.jsonl"
        words = (str(tmp_path / "missing.png"), "--failures", str(failures))
        process = start("--jobs", "2", *words)
        done = 0
        while done < 2:
            done += json.loads(process.stdout.readline())["status"] == "done"
        process.send_signal(signal_number)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 130 and stderr == b""
        summary = json.loads(stdout.splitlines()[-1])
        assert summary["schema"] == "promptcodec.summary/1" and summary["done"] >= done - 2
        assert not list((tmp_path / "out").glob("*.part")) and _group_ends(process.pid)
        rows = [json.loads(line) for line in failures.read_text().splitlines()]
        assert all(row["input"].endswith("missing.png") for row in rows)

    @pytest.mark.slow
    def test_a_process_that_dies_costs_one_file(self, many, tmp_path, tiny_checkpoint, monkeypatch):
        job = DeadlyJob(CodecOptions(str(tiny_checkpoint), threads=1))
        pairs = [
            FilePair(path, tmp_path / "out" / f"{path.stem}.pc") for path in sorted(many.iterdir())
        ]
        rows = list(run_batch(job, pairs, jobs=2))
        (died,) = [row for row in rows if row.status == "failed"]
        assert died.source.endswith("05.png") and died.exit_code == 71
        assert sum(row.status == "done" for row in rows) == 11
        assert len(tree(tmp_path / "out")) == 11


class DeadlyJob(EncodeJob):
    """Ends its process at one of the files, as the system does where memory runs out."""

    def make(self, pair, codec):
        if pair.source.name == "05.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(pair, codec)


def _group_ends(group: int) -> bool:
    """Whether no process of a group is left after a while."""
    for _ in range(400):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False

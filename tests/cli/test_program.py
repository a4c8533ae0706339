"""The program in a process of its own; errors that nobody expects."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from promptcodec import bitstream
from promptcodec.cli import console


def program(*arguments, **options) -> subprocess.CompletedProcess:
    """The installed program in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "promptcodec", *map(str, arguments)],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **options.pop("environment", {})},
        **options,
    )


class TestUnexpected:
    @pytest.fixture
    def failing(self, monkeypatch):
        def failing(error):
            def read_input(*_, **__):
                raise error

            monkeypatch.setattr(console, "read_input", read_input)

        return failing

    def test_bug_asks_for_a_report(self, refused, failing, tmp_path):
        failing(KeyError("two\nlines"))
        refused(70, "report", "info", "x", folder=tmp_path)

    @pytest.mark.parametrize(
        "error",
        [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")],
    )
    def test_memory(self, refused, failing, tmp_path, error):
        failing(error)
        refused(71, "not enough memory", "info", "x", folder=tmp_path)

    def test_traceback_on_demand(self, run, failing, monkeypatch):
        failing(KeyError("x"))
        assert "Traceback" in run("info", "x", "-v").err
        assert "Traceback" not in run("info", "x").err
        monkeypatch.setenv("PROMPTCODEC_DEBUG", "1")
        assert "Traceback" in run("info", "x").err

    def test_interrupt(self, run, failing):
        failing(KeyboardInterrupt())
        outcome = run("info", "x")
        assert outcome.code == 130 and outcome.out == b""


class TestProgram:
    """Things that only a process of its own can show."""

    def test_pipes(self, photo, data, base):
        encoded = program("encode", *base, input=photo.read_bytes())
        assert encoded.returncode == 0 and encoded.stdout == data
        assert b"standard input -> standard output" in encoded.stderr
        decoded = program("decode", *base, input=encoded.stdout)
        assert decoded.stdout.startswith(b"\x89PNG")

    def test_error_is_one_line_and_an_exit_code(self, tmp_path):
        result = program("info", tmp_path / "no.pc")
        assert result.returncode == 4 and result.stdout == b""
        assert result.stderr.decode().count("\n") == 1

    def test_disk_that_is_really_full(self, stream):
        """/dev/full answers each write as a full disk does."""
        for arguments in (["info", stream], ["info", "--help"]):
            for unbuffered in ("", "1"):
                with open("/dev/full", "wb") as full:
                    environment = {"PYTHONUNBUFFERED": unbuffered}
                    result = program(*arguments, stdout=full, environment=environment)
                assert result.returncode == 8, result.stderr
                assert result.stderr.count(b"\n") == 1 and b"disk is full" in result.stderr

    def test_write_that_fails_half_way(self, stream, base, tmp_path):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

        target = tmp_path / "out.png"
        result = program("decode", stream, "-o", target, *base, preexec_fn=limit)
        assert result.returncode == 8, result.stderr
        assert result.stderr.decode().count("\n") == 1
        assert sorted(os.listdir(tmp_path)) == ["photo.pc", "photo.png"]

    def test_reader_that_goes_away(self, stream):
        read, write = os.pipe()
        os.close(read)
        result = program("info", stream, stdout=write)
        os.close(write)
        assert (result.returncode, result.stderr) == (141, b"")


class TestClosedStreams:
    """A process may be started without standard streams, by a service manager for instance."""

    def shell(self, line: str, *, folder: Path, base: Path) -> subprocess.CompletedProcess:
        words = line.replace("CODEC", f'"{sys.executable}" -m promptcodec')
        words = words.replace("BASE", f'--base "{base}"')
        return subprocess.run(["sh", "-c", words], cwd=folder, capture_output=True, timeout=100)

    @pytest.fixture
    def there(self, tmp_path, tiny_checkpoint):
        Image.new("RGB", (40, 30), (200, 30, 90)).save(tmp_path / "a.png")
        return {"folder": tmp_path, "base": tiny_checkpoint}

    def test_messages_never_reach_the_payload(self, there, tmp_path):
        outcome = self.shell("CODEC encode a.png BASE -o - 2>&- > a.pc", **there)
        assert outcome.returncode == 0
        bitstream.parse((tmp_path / "a.pc").read_bytes())
        outcome = self.shell("CODEC decode missing.pc BASE 2>&-", **there)
        assert (outcome.returncode, outcome.stdout) == (4, b"")

    @pytest.mark.parametrize(
        ("line", "code", "says"),
        [
            ("CODEC encode - BASE -o z.pc <&-", 2, b"no input"),
            ("CODEC info <&-", 2, b"no input"),
            ("CODEC encode a.png BASE -o - >&-", 8, b"standard output is closed"),
            ("CODEC info missing.pc >&-", 4, b"no such file"),
            ("CODEC encode a.png BASE -o b.pc --json >&-", 8, b"standard output is closed"),
        ],
    )
    def test_what_is_missing_is_said(self, there, line, code, says):
        outcome = self.shell(line, **there)
        assert outcome.returncode == code and says in outcome.stderr
        assert outcome.stderr.count(b"\n") == 1 and outcome.stdout == b""
        assert [path.name for path in there["folder"].iterdir()] == ["a.png"]

    def test_messages_that_nobody_reads_cost_nothing(self, there, tmp_path):
        outcome = self.shell("CODEC encode a.png BASE -o c.pc 2>/dev/full", **there)
        assert outcome.returncode == 0
        bitstream.parse((tmp_path / "c.pc").read_bytes())
        assert self.shell("CODEC decode no.pc BASE 2>/dev/full", **there).returncode == 4

"""Outputs are old or new, never half, and every refusal leaves nothing behind."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time

import pytest

from promptcodec.errors import OutputError
from promptcodec.io import atomic
from promptcodec.io.atomic import check_output, write_atomically


def test_new_file_has_content_and_umask_permissions(tmp_path):
    mask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a.pc", b"data")
    finally:
        os.umask(mask)
    assert (tmp_path / "a.pc").read_bytes() == b"data"
    assert stat.S_IMODE((tmp_path / "a.pc").stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["a.pc"]


def test_existing_file_is_kept_without_force(tmp_path):
    target = tmp_path / "a.pc"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists: pass --force"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.pc"]


def test_force_replaces_and_keeps_permissions(tmp_path):
    target = tmp_path / "a.pc"
    target.write_bytes(b"old")
    target.chmod(0o604)
    write_atomically(target, b"new", force=True)
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    assert os.listdir(tmp_path) == ["a.pc"]


def test_force_through_a_symbolic_link_replaces_what_it_points_to(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", b"new", force=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_file_that_appears_after_the_check_is_not_overwritten(tmp_path, monkeypatch):
    target = tmp_path / "a.pc"
    write = atomic._write_synced

    def write_while_another_process_is_faster(path, data):
        write(path, data)
        target.write_bytes(b"theirs")

    monkeypatch.setattr(atomic, "_write_synced", write_while_another_process_is_faster)
    with pytest.raises(OutputError, match="exists"):
        write_atomically(target, b"ours")
    assert target.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["a.pc"]


def test_file_system_without_hard_links(tmp_path, monkeypatch):
    def no_link(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    write_atomically(tmp_path / "a.pc", b"data")
    assert (tmp_path / "a.pc").read_bytes() == b"data"
    with pytest.raises(OutputError, match="exists"):
        write_atomically(tmp_path / "a.pc", b"other")
    assert os.listdir(tmp_path) == ["a.pc"]


def test_missing_folder_says_to_create_it(tmp_path):
    with pytest.raises(OutputError, match="does not exist: create it"):
        write_atomically(tmp_path / "no" / "a.pc", b"data")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("force", [False, True])
def test_folder_and_device_are_refused(tmp_path, force):
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path, force=force)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="no regular file"):
        write_atomically(tmp_path / "pipe", b"data", force=force)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("name", ["x" * 256, "a\0b", "file/inside"])
def test_impossible_names(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        write_atomically(tmp_path / name, b"data")
    assert os.listdir(tmp_path) == ["file"]


def test_longest_name_works(tmp_path):
    write_atomically(tmp_path / ("x" * 255), b"data")
    assert os.listdir(tmp_path) == ["x" * 255]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_failed_write_keeps_the_old_content(tmp_path, monkeypatch, number, says, force):
    target = tmp_path / "a.pc"
    if force:
        target.write_bytes(b"old")

    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=says):
        write_atomically(target, b"new", force=force)
    assert os.listdir(tmp_path) == (["a.pc"] if force else [])
    if force:
        assert target.read_bytes() == b"old"


def test_system_that_really_stops_the_write(tmp_path):
    """A limit of 1000 bytes a file stands for the full disk: the write fails half-way."""
    (tmp_path / "a.pc").write_bytes(b"old")
    script = (
        "import sys; from promptcodec.io.atomic import write_atomically as w;"
        "w(sys.argv[1], bytes(5000), force=True)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.pc"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "OutputError" in result.stderr.splitlines()[-1]
    assert "size limit" in result.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == ["a.pc"]
    assert (tmp_path / "a.pc").read_bytes() == b"old"


def test_kill_at_any_moment_leaves_old_or_new(tmp_path):
    """A process that rewrites a file without pause is killed; the file is always whole."""
    target = tmp_path / "a.pc"
    old, new = b"o" * 300_000, b"n" * 300_000
    script = (
        "import sys; from promptcodec.io.atomic import write_atomically as w\n"
        "while True:\n"
        "    for letter in (b'o', b'n'):\n"
        "        w(sys.argv[1], letter * 300_000, force=True)\n"
        "        print(flush=True)"
    )
    for attempt in range(6):
        target.write_bytes(old)
        command = [sys.executable, "-c", script, str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            for _ in range(attempt % 2 + 1):
                process.stdout.readline()
            time.sleep(0.001 * attempt)
            process.send_signal(signal.SIGKILL)
        content = target.read_bytes()
        assert content in (old, new)


def test_kill_before_the_replacement_leaves_the_old_content(tmp_path):
    """The process dies with everything written but the name not yet taken."""
    target = tmp_path / "a.pc"
    target.write_bytes(b"old")
    script = (
        "import os, signal, sys; from promptcodec.io import atomic\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "atomic.write_atomically(sys.argv[1], b'new', force=True)"
    )
    result = subprocess.run([sys.executable, "-c", script, target])
    assert result.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"


def test_what_writes_the_content_says_itself_why_it_fails(tmp_path):
    def fails(file):
        file.write(b"half")
        raise OutputError("no alpha there; use .png")

    with pytest.raises(OutputError, match=r"^no alpha there; use \.png$"):
        write_atomically(tmp_path / "a", fails)
    assert list(tmp_path.iterdir()) == []

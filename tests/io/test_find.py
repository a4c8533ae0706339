"""Files of a folder, by the rules that callers choose."""

import os
from pathlib import Path

import pytest

from promptcodec.io.find import find_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a/c.png", "a/d.txt", ".hidden/e.png", "a/.f.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.png").symlink_to(tmp_path, target_is_directory=True)
    return tmp_path


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ({}, ["b.PNG", "a/c.png", "a/d.txt"]),
        ({"suffixes": (".png",)}, ["b.PNG", "a/c.png"]),
        ({"suffixes": (".txt", ".zip")}, ["a/d.txt"]),
        ({"dangling": True}, ["b.PNG", "lost.png", "a/c.png", "a/d.txt"]),
        (
            {"suffixes": (".png",), "hidden": True},
            ["b.PNG", ".hidden/e.png", "a/.f.png", "a/c.png"],
        ),
    ],
)
def test_rules(folder: Path, rules: dict, names: list[str]) -> None:
    found = [path.relative_to(folder).as_posix() for path in find_files(folder, **rules)]
    assert found == names

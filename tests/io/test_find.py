"""Files of a folder, by the rules that callers choose."""

import os
from pathlib import Path

import pytest
from PIL import Image

from promptcodec.errors import DataError
from promptcodec.io.find import PICTURE_SUFFIXES, find_files, with_ending
from promptcodec.io.opening import FORMATS


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


def test_links_to_folders_are_followed_once(folder: Path, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "x").mkdir()
    for place in (other, other / "x"):
        (place / "g.png").write_bytes(b"")
        (place / "back").symlink_to(folder)
        (place / "up").symlink_to(folder.parent)
        (place / "root").symlink_to("/")
    (folder / "1").symlink_to(other / "x")
    (folder / "2").symlink_to(other)
    (folder / "3").symlink_to(other)
    (folder / "4").symlink_to(folder / "a")
    (other / "x" / "more").symlink_to(other)
    found = [path.relative_to(folder).as_posix() for path in find_files(folder, (".png",))]
    assert found == ["b.PNG", "a/c.png", "1/g.png", "2/g.png"]


def test_what_cannot_be_read_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path):
        if os.path.basename(path) == "a":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="a cannot be read: Permission denied"):
        list(find_files(folder))
    said: list[DataError] = []
    found = [path.name for path in find_files(folder, on_error=said.append)]
    assert found == ["b.PNG"] and len(said) == 1
    monkeypatch.undo()
    (folder / "secret.png").write_bytes(b"")
    is_file = Path.is_file

    def refuse_file(path: Path) -> bool:
        if path.name == "secret.png":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse_file)
    with pytest.raises(DataError, match=r"secret.png cannot be read: Permission denied"):
        list(find_files(folder))
    assert any(path.name == "secret.png" for path in find_files(folder, dangling=True))


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.png", "a.pc"),
        ("a.JPEG", "a.pc"),
        ("a.pc", "a.pc"),
        ("St. Peter", "St. Peter.pc"),
        ("v1.2", "v1.2.pc"),
        ("a", "a.pc"),
        (".png", ".png.pc"),
    ],
)
def test_endings(name: str, made: str) -> None:
    assert with_ending(Path("x.y") / name, ".pc") == Path("x.y") / made


def test_every_suffix_of_the_formats_that_are_read_is_known():
    Image.init()
    suffixes = {
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if kind in (*FORMATS, "MPO")
    }
    assert suffixes - {".pfm"} == set(PICTURE_SUFFIXES)  # .pfm has floats

"""Names that a first day brings: not printable, with a dot, addresses; folders without access."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image
from places import ASSETS, RECIPES
from small_trees import picture

from promptcodec.cli import main
from promptcodec.errors import CheckpointError, DataError, PictureError, StreamError
from promptcodec.evaluation import evaluate
from promptcodec.io.load import load_picture
from promptcodec.models.checkpoint import read_base
from promptcodec.training.config import DataConfig, Pack
from promptcodec.training.data import sources
from promptcodec.training.data.labelled import read_labelled
from promptcodec.training.data.pictures import PictureStore

TINY = RECIPES / "base/base-tiny.yaml"

ODD = [
    os.fsdecode(b"\xff\xe9.png"),
    "\u65e5\u672c.png",
    "a\nb\x1b[31m.png",
    "\U0001f600 caf\u00e9.png",
]


@pytest.fixture
def odd(tmp_path) -> Path:
    folder = tmp_path / "odd"
    folder.mkdir()
    for number, name in enumerate(ODD):
        picture(number).save(folder / "tmp.png")
        (folder / "tmp.png").rename(folder / name)
    (folder / "broken \u00e9.png").write_bytes(b"no picture")
    return folder


def ascii_terminal(monkeypatch) -> dict[str, io.BytesIO]:
    """Standard output and error that encode ASCII alone, as bytes; for the running test."""
    files = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, file in files.items():
        wrapper = io.TextIOWrapper(file, encoding="ascii", write_through=True)
        monkeypatch.setattr(sys, name, wrapper)
    return files


@pytest.mark.parametrize("words", [["-v"], ["--json"], ["--dry-run"], []])
def test_names_that_the_terminal_cannot_show(odd, tmp_path, base, monkeypatch, words):
    terminal = ascii_terminal(monkeypatch)
    words = ["encode", "-r", odd, "-o", tmp_path / "out", *base, *words]
    assert main.main([str(word) for word in words]) == (0 if "--dry-run" in words else 3)
    said = terminal["stdout"].getvalue() + terminal["stderr"].getvalue()
    assert b"\x1b" not in said
    if "--dry-run" in words:
        assert b"\\u65e5\\u672c.png" in said and said.count(b" -> ") == 5
        return
    made = {path.stem for path in (tmp_path / "out").iterdir()}
    assert made == {name.removesuffix(".png") for name in ODD}
    if "--json" in words:
        rows = [json.loads(line) for line in terminal["stdout"].getvalue().splitlines()]
        assert {Path(row["input"]).name for row in rows[:-1]} == set(ODD)
    else:
        assert b"broken \\xe9.png" in said and b"1 failed" in said


def test_one_name_that_the_terminal_cannot_show(odd, base, monkeypatch):
    ascii_terminal(monkeypatch)
    for name in ODD:
        assert main.main(["encode", str(odd / name), *map(str, base)]) == 0
        assert main.main(["info", str(odd / name.replace(".png", ".pc"))]) == 0
    assert main.main(["info", str(odd / "none \u00e9.pc")]) == 4


def test_a_dot_in_a_name_is_no_suffix(photo, base, run, tmp_path):
    names = ["St. Peter", "v1.2", "Mt. Fuji.JPG", "a.b.png"]
    for name in names:
        Image.open(photo).save(tmp_path / name, "PNG")
        assert run("encode", tmp_path / name, *base).code == 0
    made = ["Mt. Fuji.pc", "St. Peter.pc", "a.b.pc", "v1.2.pc"]
    assert sorted(path.name for path in tmp_path.glob("*.pc")) == made
    assert (
        run("encode", *(tmp_path / name for name in names), "-o", tmp_path / "o", *base).code == 0
    )
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == made
    assert run("decode", tmp_path / "St. Peter.pc", *base).code == 0
    assert (tmp_path / "St. Peter.png").is_file()
    assert run("decode", *(tmp_path / "o").iterdir(), "-o", tmp_path / "p", *base).code == 0
    assert (tmp_path / "p" / "v1.2.png").is_file()


@pytest.mark.parametrize("command", ["encode", "decode", "info", "classify"])
@pytest.mark.parametrize(
    "address", ["http://a.org/b.png", "HTTPS://a.org/b.pc?x=[1]", "s3://b/c.pc"]
)
def test_addresses(refused, base, tmp_path, command, address):
    code = 4 if command == "info" else 2
    words = () if command == "info" else base
    refused(code, "this is an address", command, address, *words, folder=tmp_path)


ADDRESS = "https://a.org/b"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, ("eval", ADDRESS)),
        (2, ("compare", f"{ADDRESS}.png")),
        (8, ("eval", ".", "--out", f"{ADDRESS}.json")),
        (7, ("encode", "photo.png", "--base", ADDRESS)),
        (7, ("encode", "photo.png", "--prompts", ADDRESS)),
        (7, ("rates", "--base", ADDRESS)),
        (7, ("classify", "photo.png", "--heads", ADDRESS)),
        (2, ("train-base", f"{ADDRESS}.yaml", "--data", ".")),
        (9, ("train-base", TINY, "--data", ADDRESS, "--out", "run")),
        (9, ("card", ADDRESS)),
        (7, ("export", ADDRESS)),
    ],
)
def test_addresses_of_folders_and_files(refused, photo, monkeypatch, code, words):
    """Those that become a `Path` on the way have both of their slashes in the message."""
    monkeypatch.chdir(photo.parent)
    refused(code, f"{ADDRESS}", *words, folder=photo.parent)
    refused(code, ": this is an address, and only files are ", *words, folder=photo.parent)


def test_addresses_in_python(tiny_codec, tmp_path):
    with pytest.raises(PictureError, match="this is an address"):
        tiny_codec.encode("https://a.org/b.png")
    with pytest.raises(StreamError, match="this is an address"):
        tiny_codec.decode("https://a.org/b.pc")
    with pytest.raises(PictureError, match="no such file"):
        tiny_codec.encode("c:b.png")
    with pytest.raises(CheckpointError, match="this is an address"):
        read_base(Path(ADDRESS))
    packs = DataConfig(packs=(Pack(name="one"),))
    for read in (
        lambda: sources.find_training_pictures(Path(ADDRESS), packs),
        lambda: read_labelled(Path(ADDRESS), split="train"),
        lambda: PictureStore(ASSETS, DataConfig(crop=64), validation=Path(ADDRESS)),
    ):
        with pytest.raises(DataError, match=f"^{ADDRESS}: this is an address"):
            read()
    (tmp_path / "https:" / "a.org").mkdir(parents=True)  # a folder of that name is read
    picture(1).save(tmp_path / "https:" / "a.org" / "a.png")
    assert len(evaluate.find_pictures(f"{tmp_path}/https://a.org")) == 1


def test_metadata_above_its_limit_names_the_option(run, base, tmp_path):
    photo = picture(1)
    photo.save(tmp_path / "a.png", exif=b"Exif\0\0II*\0" + bytes((1 << 20) + 1))
    outcome = run("encode", tmp_path / "a.png", *base)
    assert outcome.code == 3 and "of EXIF" in outcome.err and "pass --strip" in outcome.err
    assert run("encode", tmp_path / "a.png", "--strip", *base).code == 0
    with pytest.raises(PictureError, match="strip=True"):
        load_picture(tmp_path / "a.png")


@pytest.fixture
def locked(photos, monkeypatch) -> Path:
    """The tree with a folder that may not be listed, also not by root."""
    folder = photos / "deep" / "er"
    scandir = os.scandir

    def refuse(path="."):
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return folder


def test_unreadable_folders_fail_in_a_batch(photos, locked, run, base, tmp_path):
    (photos / "deep" / "broken.png").unlink()
    outcome = run("encode", "-r", photos, "-o", tmp_path / "out", *base)
    assert outcome.code == 9 and f"{locked} cannot be read: Permission denied" in outcome.err
    assert {path.name for path in (tmp_path / "out").rglob("*.pc")} == {"a.pc", "b.pc"}
    outcome = run("encode", "-r", locked, "-o", tmp_path / "out", *base)
    assert outcome.code == 9 and "Permission denied" in outcome.err


def test_unreadable_folders_stop_evaluation_and_training(photos, locked, run, base):
    outcome = run("eval", photos, *base)
    assert outcome.code == 9 and f"{locked} cannot be read: Permission denied" in outcome.err
    for find in (evaluate.find_pictures, sources.find_pictures):
        with pytest.raises(Exception, match="Permission denied"):
            list(find(photos))


def test_linked_folders_are_searched(photos, run, base, tmp_path):
    other = tmp_path / "other"
    (other / "in").mkdir(parents=True)
    picture(7).save(other / "in" / "e.png")
    (photos / "deep" / "link").symlink_to(other)
    (photos / "deep" / "broken.png").unlink()
    assert run("encode", "-r", photos, "-o", tmp_path / "out", *base).code == 0
    assert (tmp_path / "out" / "deep" / "link" / "in" / "e.pc").is_file()
    for find in (evaluate.find_pictures, sources.find_pictures):
        found = [str(getattr(each, "path", each)) for each in find(photos)]
        assert str(photos / "deep" / "link" / "in" / "e.png") in found

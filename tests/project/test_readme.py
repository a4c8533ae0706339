"""A newcomer's walk: every command and every line of Python in the README runs, in its order."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from places import ROOT

from promptcodec.cli import main
from promptcodec.models import refine

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PHOTO = ROOT / "promptcodec" / "io" / "assets" / "coffee.png"
SIZE = (384, 256)  # of the photograph: large enough for 20,000 bytes
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
LINES = [line for language, block in BLOCKS if not language for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("promptcodec ")]
TRAINING = [line for line in COMMANDS if line.startswith("promptcodec train-")]


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    """What the README takes for granted: a photograph, and a folder of them."""
    with Image.open(PHOTO) as picture:
        picture.convert("RGB").resize(SIZE).save(tmp_path / "photo.jpg", quality=95)
    (tmp_path / "photos").mkdir()
    shutil.copy(tmp_path / "photo.jpg", tmp_path / "photos")
    return tmp_path


@pytest.mark.timeout(300)
def test_commands(walk: Path, monkeypatch, capfd) -> None:
    """In one folder; those with pipes as a shell runs them, the others in this process."""
    monkeypatch.chdir(walk)
    monkeypatch.setattr(refine, "SCHEDULES", (refine.Schedule(1, rounds=1),) * 10)  # of minutes
    commands = [line for line in COMMANDS if line not in TRAINING]
    assert len(commands) >= 14
    for line in commands:
        if "<" not in line and ">" not in line:
            assert main.main(shlex.split(line)[1:]) == 0, capfd.readouterr().err
            continue
        script = f'promptcodec() {{ {shlex.quote(sys.executable)} -m promptcodec "$@"; }}; {line}'
        result = subprocess.run(
            ["bash", "-c", script],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            capture_output=True,
        )
        assert result.returncode == 0, result.stderr.decode()
    for name in ("photo.png", "copy.png", "back/photo.png"):
        with Image.open(walk / name) as copy:
            assert copy.size == SIZE
    assert 19_800 <= (walk / "fits.pc").stat().st_size <= 20_000


def test_training_commands(walk: Path, tiny_checkpoint: Path, monkeypatch) -> None:
    """With recipes of the same names that take seconds, and one step where there is no recipe."""
    for folder in ("base", "rates"):
        (walk / "recipes" / folder).mkdir(parents=True)
    base = yaml.safe_load((ROOT / "recipes/base/base-tiny.yaml").read_text()) | {"steps": 2}
    (walk / "recipes/base/base-small.yaml").write_text(yaml.safe_dump(base))
    prompts = {
        "base": str(tiny_checkpoint),
        "width": 4,
        "rank": 2,
        "data": {"crop": 64, "validation_pictures": 1},
        "steps": 1,
        "batch": 1,
        "precision": "no",
    }
    ladder = {"prompts": prompts, "rates": [4, 5]}
    (walk / "recipes/rates/ladder-small.yaml").write_text(yaml.safe_dump(ladder))
    (walk / "short.yaml").write_text(yaml.safe_dump(prompts))
    (walk / "DIR").mkdir()
    with Image.open(PHOTO) as picture:
        for number in range(4):
            crop = picture.crop((96 * number, 0, 96 * number + 96, 96))
            crop.save(walk / "DIR" / f"{number}.png")
    monkeypatch.chdir(walk)
    assert len(TRAINING) >= 4
    for line in TRAINING:
        words = shlex.split(line)[1:]
        if words[0] == "train-prompt":
            words += ["--recipe", "short.yaml"]
        assert main.main([*words, "--device", "cpu"]) == 0, line
    assert (walk / "runs/base-small").is_dir() and (walk / "runs/ladder-small").is_dir()


def test_make_commands_exist() -> None:
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for line in LINES if line.startswith("make ")}
    assert len(named) >= 2 and named <= targets


def test_every_line_is_run_by_a_test() -> None:
    """What is neither a command nor a make target is a picture of the data's way."""
    others = [
        line
        for language, block in BLOCKS
        if not language and "->" not in block
        for line in block.splitlines()
        if not line.startswith(("promptcodec ", "make "))
    ]
    assert others == []


def test_python(walk: Path, monkeypatch) -> None:
    (walk / "checkpoints").symlink_to(ROOT / "checkpoints")
    (walk / "my-adapters").symlink_to(ROOT / "checkpoints/small/prompts")
    with Image.open(walk / "photo.jpg") as picture:
        picture.resize((96, 64)).save(walk / "photo.png")
    monkeypatch.chdir(walk)
    blocks = [block for language, block in BLOCKS if language == "python"]
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        if "photo.pc" in block:
            assert main.main(["encode", "photo.png", "-o", "photo.pc", "--force"]) == 0
        exec(compile(block, f"README.md, Python block {number}", "exec"), names)
    with Image.open("thumbnail.png") as thumbnail:
        assert thumbnail.size == (96, 64)


def test_recipes_exist() -> None:
    named = [word for line in COMMANDS for word in shlex.split(line) if word.startswith("recipes/")]
    assert named
    for word in named:
        assert (ROOT / word).is_file(), word

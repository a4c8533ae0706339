"""Pictures and streams of the tiny codec for tests of the command line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_trees import picture

from promptcodec.cli import main


@pytest.fixture
def photo(tmp_path) -> Path:
    y, x = np.mgrid[0:48, 0:72]
    pixels = np.stack([3 * x, 5 * y, x + y], axis=2).clip(0, 255).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def base(tiny_checkpoint):
    return ("--base", tiny_checkpoint)


@pytest.fixture
def data(tiny_codec, photo) -> bytes:
    return tiny_codec.encode(photo)


@pytest.fixture
def stream(data, tmp_path) -> Path:
    path = tmp_path / "photo.pc"
    path.write_bytes(data)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A tree with two pictures and a copy in another format, one broken picture and a note."""
    root = tmp_path / "photos"
    (root / "deep" / "er").mkdir(parents=True)
    (root / ".hidden").mkdir()
    picture(1).save(root / "a.png")
    picture(2).save(root / "deep" / "b.JPG", "JPEG")
    picture(3).save(root / "deep" / "er" / "c.webp")
    picture(4).save(root / ".hidden" / "d.png")
    (root / "deep" / "broken.png").write_bytes((root / "a.png").read_bytes()[:60])
    (root / "note.txt").write_text("no picture")
    return root


@pytest.fixture
def run_tiny(capsys, tiny_checkpoint):
    """Run a command with the tiny base: its exit code, standard output and standard error."""

    def run(*words):
        code = main.main([*map(str, words), "--base", str(tiny_checkpoint)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run

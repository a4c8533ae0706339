"""Pictures with labels or masks that cannot be read are named and left out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from promptcodec.errors import DataError
from promptcodec.training.data.labelled import read_labelled
from promptcodec.training.data.masked import read_masked

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(60)


@pytest.fixture
def labelled(labelled_pictures: Path, tmp_path: Path) -> Path:
    return shutil.copytree(labelled_pictures, tmp_path / "labelled")


def test_labelled_pictures(labelled: Path, caplog: pytest.LogCaptureFixture) -> None:
    red = labelled / "train" / "red"
    (red / "._0.png").write_bytes(APPLE_DOUBLE)
    (red / "3.png").write_bytes(b"no picture")
    data = (red / "5.png").read_bytes()
    (red / "5.png").write_bytes(data[: len(data) // 2])
    found = read_labelled(labelled, split="train")
    assert found.classes == ("blue", "red")
    assert len(found.pictures) == len(found.labels) == len(found.names) == 22
    assert found.labels.tolist() == 12 * [0] + 10 * [1]
    for name in ("._0.png", "3.png", "5.png"):
        assert f"red/{name}: " in caplog.text and f"red/{name}" not in found.names
    assert "skipped" in caplog.text
    for picture, label in zip(found.pictures, found.labels, strict=True):
        blue, red_level = picture[2].float().mean(), picture[0].float().mean()
        assert (blue < red_level) == bool(label)  # labels stay with their pictures


def test_a_class_without_a_picture_is_said(labelled: Path) -> None:
    for path in (labelled / "train" / "red").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="no picture of 'red' in 'train' that can be read"):
        read_labelled(labelled, split="train")


def test_an_evaluation_goes_on_without_them(labelled: Path) -> None:
    (labelled / "val" / "red" / "._1.png").write_bytes(APPLE_DOUBLE)
    assert len(read_labelled(labelled, split="val").pictures) == 8


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    for number in range(4):
        pixels = np.full((20, 30, 3), 40 * number, np.uint8)
        mask = np.full((20, 30), number % 2, np.uint8)
        for kind, array in (("images", pixels), ("masks", mask)):
            folder = tmp_path / "train" / kind
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / f"{number}.png")
    return tmp_path


def read(masked: Path) -> list[str]:
    found = read_masked(masked, split="train", classes=2, ignore=(255,))
    for name, picture, mask in zip(found.names, found.pictures, found.masks, strict=True):
        assert torch.all(picture == 40 * int(name)) and torch.all(mask == int(name) % 2)
    return found.names


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_pictures_with_masks(masked: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    (masked / "train" / kind / "._0.png").write_bytes(APPLE_DOUBLE)
    (masked / "train" / kind / "2.png").write_bytes(b"no picture")
    assert read(masked) == ["0", "1", "3"]
    for name in ("._0.png", "2.png"):
        assert f"train/{kind}/{name}: " in caplog.text


def test_further_pages_are_said(masked: Path, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("images", "masks"):
        place = masked / "train" / kind / "2.png"
        with Image.open(place) as image:
            pages = [image.copy() for _ in range(4)]
        pages[0].save(place.with_suffix(".tif"), save_all=True, append_images=pages[1:])
        place.unlink()
    assert read(masked) == ["0", "1", "2", "3"]
    for what in ("images", "masks"):
        assert f"train/{what}/2.tif: of 4 pages the first alone is used" in caplog.text


def test_a_readable_one_alone_is_still_refused(masked: Path) -> None:
    (masked / "train" / "masks" / "2.png").unlink()
    with pytest.raises(DataError, match="train/2 has no mask"):
        read(masked)
    (masked / "train" / "images" / "2.png").unlink()
    (masked / "train" / "images" / "3.png").unlink()
    with pytest.raises(DataError, match="train/3 has no picture"):
        read(masked)

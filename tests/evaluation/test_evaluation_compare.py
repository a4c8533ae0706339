"""`promptcodec compare`: what it writes and how it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from browser import PROGRAM, Browser
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from promptcodec.api import Codec
from promptcodec.cli.main import main
from promptcodec.evaluation.metrics import psnr
from promptcodec.evaluation.reports.compare import LABEL_HEIGHT, side_by_side
from promptcodec.evaluation.reports.equal_size import largest_within


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    y, x = np.mgrid[0:64, 0:96]
    pixels = np.stack([2 * x, 3 * y, x + y], axis=2).clip(0, 255).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def options(tiny_checkpoint: Path, tiny_ladder: Path) -> list[str]:
    return ["--base", str(tiny_checkpoint), "--prompts", str(tiny_ladder), "--rates", "2,6"]


def test_a_sheet_and_a_page(photo: Path, options: list[str], tmp_path: Path, capsys) -> None:
    assert main(["compare", str(photo), *options, "--against", "jpeg", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["rows"]
    assert [each["codec"].split(",")[0] for each in facts] == ["promptcodec", "JPEG"] * 2
    with Image.open(tmp_path / "photo.compare.png") as sheet:
        assert sheet.size == (3 * 96, 2 * (64 + LABEL_HEIGHT))
        original = np.asarray(sheet)[LABEL_HEIGHT : LABEL_HEIGHT + 64, :96]
    assert np.array_equal(original, np.asarray(Image.open(photo)))
    page = (tmp_path / "photo.compare.html").read_text()
    assert f"{facts[0]['bytes']:,} bytes" in page and "rate 6" in page


def test_the_table_has_bytes_quality_and_seconds(
    photo: Path, options: list[str], tiny_checkpoint: Path, tiny_ladder: Path, capsys
) -> None:
    assert main(["compare", str(photo), *options, "--against", "webp"]) == 0
    codec, original = Codec.load(tiny_checkpoint, tiny_ladder), np.asarray(Image.open(photo))
    data = codec.encode(original, rate_index=6)
    quality = psnr(original, np.asarray(codec.decode(data)))
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["bytes", "bpp", "PSNR", "encode", "decode"]
    (ours,) = [row for row in rows if row.startswith("promptcodec, rate 6")]
    assert f" {len(data):,} {8 * len(data) / (64 * 96):.3f}".split() == ours.split()[3:5]
    assert f"{quality:.2f} dB" in ours and ours.count(" s") == 2
    (webp, _) = [row for row in rows if row.startswith("WebP")]
    assert webp.endswith(" dB")


@pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
def test_the_page_slides_without_a_network(photo: Path, options: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    sheet = tmp_path / "sheet.png"
    assert main(["compare", str(photo), *options, "-o", str(sheet), "--page", str(page)]) == 0
    with Browser(tmp_path / "profile") as browser:
        browser.open(page)
        clip = "document.querySelector('img.left').style.clipPath"
        before = browser.run(clip)
        browser.run("document.querySelector('.divide').focus()")
        browser.press("ArrowLeft", code=37)
        assert browser.run(clip) != before
        assert {url.split(":")[0] for url in browser.requests} == {"file", "data"}
        assert browser.errors == []


@pytest.mark.parametrize(
    ("code", "says", "words"),
    [
        (3, "missing.png", ["missing.png"]),
        (3, "the limit is 6143", ["photo.png", "--max-pixels", "6143"]),
        (2, "no peer 'av2'", ["photo.png", "--against", "av2"]),
        (2, "'abacus'", ["photo.png", "--device", "abacus"]),
        (2, "give all", ["photo.png", "--rates", "low"]),
        (6, "", ["photo.png", "--rates", "1"]),
        (8, "is the input", ["photo.png", "-o", "photo.png", "--force"]),
        (2, "ends in .png", ["photo.png", "-o", "sheet.gif"]),
        (2, "ends in .html", ["photo.png", "-o", "sheet.png", "--page", "sheet.png"]),
        (3, "is a folder", ["."]),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    code: int,
    says: str,
    words: list[str],
    photo: Path,
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *options, *words]) == code
    error = capsys.readouterr().err
    assert error.startswith("promptcodec: error: ") and error.count("\n") == 1
    assert says in error
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_labels_shrink_until_they_fit() -> None:
    label = "a long label that a narrow picture has no room for"
    row = np.asarray(side_by_side([(label, Image.new("RGB", (260, 40), "white"))] * 2))
    # Nothing is written over the border to the next picture.
    assert (row[:LABEL_HEIGHT, 252:260] == 255).all()
    assert (row[:LABEL_HEIGHT, :252] < 128).any()


@pytest.mark.parametrize("count", [1, 3])
def test_pictures_stand_in_a_row(count: int) -> None:
    row = side_by_side([("label", Image.new("RGB", (40, 30), "red"))] * count)
    assert row.size == (40 * count, 30 + LABEL_HEIGHT)


@given(
    sizes=st.lists(st.integers(1, 400), min_size=95, max_size=95).map(sorted),
    limit=st.integers(1, 400),
)
def test_a_baseline_gets_the_best_quality_that_fits(sizes: list[int], limit: int) -> None:
    quality, data = largest_within(lambda q: bytes(sizes[q - 1]), limit)
    fitting = [q for q in range(1, 96) if sizes[q - 1] <= limit]
    assert quality == (max(fitting) if fitting else 1)
    assert len(data) == sizes[quality - 1]

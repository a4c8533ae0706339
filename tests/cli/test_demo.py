"""The demonstration: a fair size for the others, a table, a picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from promptcodec.cli import demo
from promptcodec.evaluation.metrics import psnr
from promptcodec.evaluation.reports.compare import LABEL_HEIGHT, side_by_side
from promptcodec.evaluation.reports.equal_size import largest_within


@given(
    sizes=st.lists(st.integers(1, 400), min_size=95, max_size=95).map(sorted),
    limit=st.integers(1, 400),
)
def test_rival_gets_the_best_quality_that_fits(sizes, limit):
    quality, data = largest_within(lambda q: bytes(sizes[q - 1]), limit)
    fitting = [q for q in range(1, 96) if sizes[q - 1] <= limit]
    assert quality == (max(fitting) if fitting else 1)
    assert len(data) == sizes[quality - 1]


def test_run_prints_a_table_and_writes_the_picture(tiny_codec, tmp_path, monkeypatch, capsys):
    y, x = np.mgrid[0:96, 0:128]
    original = np.stack([x, 2 * y, x + y], axis=2).clip(0, 255).astype(np.uint8)
    Image.fromarray(original).save(tmp_path / "a.png")
    monkeypatch.setattr(demo, "ASSETS", tmp_path)
    output = tmp_path / "new" / "side.png"
    demo.run(tiny_codec, output=output)
    data = tiny_codec.encode(original)
    decoded = np.asarray(tiny_codec.decode(data))
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "promptcodec  " in line]
    assert f"{len(data):,}" in row
    assert f"{8 * len(data) / (96 * 128):.3f}" in row
    assert f"{psnr(original, decoded):.2f} dB" in row
    with Image.open(output) as picture:
        pixels = np.asarray(picture)
    top = LABEL_HEIGHT
    assert pixels.shape == (96 + top, 3 * 128, 3)
    assert np.array_equal(pixels[top:, :128], original)
    assert np.array_equal(pixels[top:, 128:256], decoded)


def test_missing_picture_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "ASSETS", tmp_path)
    monkeypatch.setattr(demo.Codec, "load", lambda: None)
    assert demo.main() == 3
    assert capsys.readouterr().err.startswith("promptcodec: error: no picture")


def test_bundled_photograph_is_there():
    with Image.open(demo.photograph()) as picture:
        assert picture.mode == "RGB" and min(picture.size) >= 256


@pytest.mark.parametrize("count", [1, 3])
def test_pictures_stand_in_a_row(count):
    row = side_by_side([("label", Image.new("RGB", (40, 30), "red"))] * count)
    assert row.size == (40 * count, 30 + LABEL_HEIGHT)

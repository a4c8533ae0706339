"""Masks as files and over pictures."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from promptcodec.errors import ShapeError
from promptcodec.io import masks

LABELS = ("sky", "road", "car")
MASK = np.array([[0, 0, 0, 1], [0, 2, 2, 1]], np.uint8).repeat(30, 0).repeat(40, 1)


def test_no_two_classes_look_alike() -> None:
    assert masks.palette(LABELS) == [masks.CAMVID[label] for label in LABELS]
    for count in (2, 19, 150, 255):
        colours = masks.palette([f"class {number}" for number in range(count)])
        assert len(set(colours)) == count == len(colours)
    few = np.array(masks.palette([str(number) for number in range(20)]), float)
    distances = np.linalg.norm(few[:, None] - few[None], axis=2) + 999 * np.eye(20)
    assert distances.min() > 25
    assert masks.palette(("sky", "boat")) != [masks.CAMVID["sky"], (0, 0, 0)]


def test_shares() -> None:
    found = masks.shares(MASK, (*LABELS, "tree"))
    assert [(each.label, each.share) for each in found] == [
        ("sky", 0.5),
        ("road", 0.25),
        ("car", 0.25),
    ]
    assert found[2].colour == masks.CAMVID["car"]


def test_values_of_the_file_are_the_classes() -> None:
    data = masks.mask_file(MASK, LABELS)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG" and picture.mode == "P"
        assert np.array_equal(np.asarray(picture), MASK)
        assert json.loads(picture.text["labels"]) == list(LABELS)
        rgb = np.asarray(picture.convert("RGB"))
    assert np.array_equal(rgb, np.array(masks.palette(LABELS), np.uint8)[MASK])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_overlay_keeps_the_picture_visible_above_a_legend(mode: str) -> None:
    picture = Image.linear_gradient("L").resize((160, 60)).convert(mode)
    sheet = masks.overlay(picture, MASK, LABELS)
    assert sheet.mode == "RGB" and sheet.width == 160 and sheet.height > 60
    pixels = np.asarray(sheet).astype(float)
    own = np.asarray(picture.convert("RGB"))
    expected = 0.45 * own + 0.55 * np.array(masks.palette(LABELS))[MASK]
    assert np.abs(pixels[:60] - expected).max() <= 1
    below = {tuple(colour) for colour in np.asarray(sheet)[60:].reshape(-1, 3).tolist()}
    assert set(masks.palette(LABELS)) <= below
    with pytest.raises(ShapeError, match="160x59 and the mask 160x60"):
        masks.overlay(picture.resize((160, 59)), MASK, LABELS)


def test_a_legend_breaks_lines_and_fits_long_names() -> None:
    labels = [f"class {number}" for number in range(12)]
    found = masks.shares(np.arange(12, dtype=np.uint8)[None], labels)
    narrow, wide = (masks.legend(found, width=width) for width in (200, 2000))
    assert narrow.height > wide.height and narrow.width == 200
    one = masks.legend(masks.shares(np.zeros((1, 1), np.uint8), ["long name"]), width=1)
    assert one.width > 60

"""Mean IoU out of files: both ways, intervals, the script that writes them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.analysis import segmentation as module
from benchmarks.analysis.masks import check_pixels, compare_overlap, read_masks
from benchmarks.tables import fill
from promptcodec.coding.head_config import HeadConfig
from promptcodec.errors import UsageError
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import Head, build_head, read_head, write_head
from promptcodec.models.heads.iou import confusion_counts, mean_iou

PIXELS = HeadConfig(
    task="segment",
    labels=("road", "sky"),
    reads="pixels",
    widths=(8, 16, 16),
    depths=(1, 1, 1),
    head_channels=8,
)


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained but lively network on pixels."""
    folder = tmp_path_factory.mktemp("pixels")
    torch.manual_seed(1)
    model = build_head(PIXELS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    write_head(folder, model, config=PIXELS)
    return folder


@pytest.fixture(scope="module")
def codec(tiny_checkpoint: Path, tiny_heads: Path) -> TorchCodec:
    return TorchCodec.load(tiny_checkpoint, heads=tiny_heads)


def test_both_masks_come_from_the_file(codec: TorchCodec, pixels: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    data = codec.encode(picture)
    network = read_head(pixels, base_sha256=b"")
    found = read_masks(codec, data, pixels=network)
    assert np.array_equal(found.latents, codec.segment(data))
    x = torch.from_numpy(np.array(codec.decode(data))).permute(2, 0, 1)[None] / 255.0
    scores = network.model(x, torch.ones(1))
    full = torch.nn.functional.interpolate(scores, scale_factor=8.0, mode="bilinear")
    assert np.array_equal(found.decoded, full[0, :, :70, :90].argmax(dim=0).numpy())
    assert set(np.unique(found.decoded)) == {0, 1}
    with torch.no_grad():
        original = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255.0
        assert not torch.equal(scores, network.model(original, torch.ones(1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "classify"}, "is to classify pixels; need one to segment pixels"),
        ({"reads": "latents", "latent_channels": 12}, "is to segment latents"),
        ({"labels": ("road", "sky", "car")}, "has 3 labels and the head 2"),
        ({"labels": ("sky", "road")}, "not all the same"),
    ],
)
def test_what_cannot_be_compared(changes: dict, message: str) -> None:
    head = Head(replace(PIXELS, **changes), torch.nn.Identity())
    with pytest.raises(UsageError, match=message):
        check_pixels(head, labels=("road", "sky"))


def counts_like(truth: np.ndarray, *, right: float, rng: np.random.Generator) -> np.ndarray:
    found = np.where(rng.random(truth.shape) < right, truth, 1 - truth)
    return np.stack([confusion_counts(f, t, classes=2) for f, t in zip(found, truth, strict=True)])


def test_intervals_are_those_of_redrawn_pictures() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (30, 8, 8), np.uint8)
    good, bad = (counts_like(truth, right=right, rng=rng) for right in (0.9, 0.8))
    overlap = compare_overlap(good, bad, resamples=400)
    assert overlap.latents.value == pytest.approx(mean_iou(good.sum(axis=0)))
    assert overlap.latents.low < overlap.latents.value < overlap.latents.high
    assert overlap.difference.low > 0
    assert overlap.difference.value == pytest.approx(overlap.latents.value - overlap.decoded.value)
    draws = np.random.default_rng(0).integers(0, 30, (400, 30))
    slow = [float(mean_iou(good[d].sum(axis=0)) - mean_iou(bad[d].sum(axis=0))) for d in draws]
    expected = np.percentile(slow, [2.5, 97.5])
    assert (overlap.difference.low, overlap.difference.high) == pytest.approx(tuple(expected))


def test_the_same_masks_differ_by_nothing() -> None:
    rng = np.random.default_rng(0)
    counts = counts_like(rng.integers(0, 2, (9, 8, 8), np.uint8), right=0.7, rng=rng)
    difference = compare_overlap(counts, counts).difference
    assert (difference.low, difference.value, difference.high) == (0.0, 0.0, 0.0)


def test_few_pictures_have_no_interval() -> None:
    rng = np.random.default_rng(0)
    counts = counts_like(rng.integers(0, 2, (3, 8, 8), np.uint8), right=0.7, rng=rng)
    assert compare_overlap(counts, counts).latents.low is None


def test_the_script(
    codec: TorchCodec,
    tiny_checkpoint: Path,
    tiny_heads: Path,
    pixels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "data/test" / kind).mkdir(parents=True)
    for number in range(5):
        pixels_of = rng.integers(0, 256, (66, 80, 3), np.uint8)
        Image.fromarray(pixels_of).save(tmp_path / f"data/test/images/{number}.png")
        mask = Image.fromarray(rng.integers(0, 3, (66, 80), np.uint8))  # 2 is of no class
        mask.save(tmp_path / f"data/test/masks/{number}.png")
    out, sheet = tmp_path / "out.json", tmp_path / "sheet.png"
    words = ["segmentation", tmp_path / "data", "--pixels", pixels, "--heads", tiny_heads,
             "--base", tiny_checkpoint, "--rates", "4", "--streams", tmp_path / "streams",
             "--out", out, "--sheet", sheet, "--show", "2"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    module.main()
    report = json.loads(out.read_text())
    (point,) = report["points"]
    assert report["labels"] == ["road", "sky"] and report["costs"]["g_s"]["kmac_per_pixel"] > 0
    streams = sorted((tmp_path / "streams").rglob("*.pc"))
    assert [len(path.read_bytes()) for path in streams] == [
        each["bytes"] for each in point["pictures"]
    ]
    assert point["bpp"] == 8 * sum(each["bytes"] for each in point["pictures"]) / (5 * 66 * 80)
    # What is on record gives the figures again.
    thirds = np.array([each["latents"] for each in point["pictures"]]).sum(axis=0)
    iou = thirds[0] / (thirds[1] + thirds[2] - thirds[0])
    assert point["miou"]["latents"]["value"] == pytest.approx(iou.mean())
    truth = np.asarray(Image.open(tmp_path / "data/test/masks/0.png"))
    found = codec.segment(streams[0])
    assert point["pictures"][0]["latents"][0] == [
        int(((truth == label) & (found == label)).sum()) for label in (0, 1)
    ]
    table = fill.segmentation(report)
    value = 100 * point["miou"]["latents"]["value"]
    assert f"| 4 | {point['bpp']:.3f} | {value:.1f} (" in table
    assert "| IoU at rate 4 (%) | road | sky |" in table and "5 pictures of `data`" in table
    with Image.open(sheet) as picture:
        assert picture.width == 5 * 40 and picture.height > 2 * 33

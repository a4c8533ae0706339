"""Mean IoU out of files: both ways, intervals, joint codecs, the scripts that write them."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import lively_head, tiny_head

from benchmarks.analysis import joint_segmentation, segmentation
from benchmarks.analysis.masks import (
    check_pixels,
    compare_overlap,
    quality_of,
    read_masks,
    stream_of,
)
from benchmarks.tables import segmentation as tables
from promptcodec.coding.head_config import HeadConfig
from promptcodec.errors import UsageError
from promptcodec.evaluation.metrics import psnr
from promptcodec.io.hub.manifest import sha256_of
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import Head, read_head, write_head
from promptcodec.models.heads.iou import confusion_counts, mean_iou

LABELS = ("road", "sky")
PIXELS = tiny_head("segment", labels=LABELS, reads="pixels")


@pytest.fixture(scope="module")
def heads(tiny_codec: TorchCodec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained but lively heads: two on latents, one on pixels."""
    folder = tmp_path_factory.mktemp("segment")
    known = {
        "labels": LABELS,
        "latent_channels": tiny_codec.config.codec.latent_channels,
        "base_sha256": tiny_codec.base_hash.hex(),
    }
    heads = {
        "latents": tiny_head("segment", **known),
        "control": tiny_head("segment", begins=1, **known),
        "pixels": PIXELS,
    }
    for name, config in heads.items():
        write_head(folder / name, lively_head(config), config=config)
    return folder


@pytest.fixture(scope="module")
def pixels(heads: Path) -> Path:
    return heads / "pixels"


@pytest.fixture(scope="module")
def codec(tiny_checkpoint: Path, heads: Path) -> TorchCodec:
    return TorchCodec.load(tiny_checkpoint, heads=heads / "latents")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures with masks."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / "test" / kind).mkdir(parents=True)
    for number in range(5):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        small.resize((80, 66)).save(folder / f"test/images/{number}.png")
        mask = Image.fromarray(rng.integers(0, 3, (66, 80), np.uint8))  # 2 is of no class
        mask.save(folder / f"test/masks/{number}.png")
    return folder


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
    assert np.array_equal(found.rgb, np.array(codec.decode(data)))
    with torch.no_grad():
        original = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255.0
        assert not torch.equal(scores, network.model(original, torch.ones(1)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            tiny_head(labels=LABELS, reads="pixels"),
            "is to classify pixels; need one to segment pixels",
        ),
        (tiny_head("segment", labels=LABELS), "is to segment latents"),
        (replace(PIXELS, labels=("road", "sky", "car")), "has 3 labels and the head 2"),
        (replace(PIXELS, labels=("sky", "road")), "not all the same"),
    ],
)
def test_what_cannot_be_compared(config: HeadConfig, message: str) -> None:
    head = Head(config, torch.nn.Identity())  # type: ignore[arg-type]
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
    assert overlap.ours.value == pytest.approx(mean_iou(good.sum(axis=0)))
    assert overlap.ours.low < overlap.ours.value < overlap.ours.high
    assert overlap.difference.low > 0
    assert overlap.difference.value == pytest.approx(overlap.ours.value - overlap.others.value)
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
    assert compare_overlap(counts, counts).ours.low is None


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, words)])
    script.main()


def test_the_script(
    codec: TorchCodec,
    tiny_checkpoint: Path,
    heads: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, sheet = tmp_path / "out.json", tmp_path / "sheet.png"
    run(
        segmentation, monkeypatch,
        *(data, "--pixels", heads / "pixels", "--heads", heads / "latents"),
        *("--base", tiny_checkpoint),
        *("--rates", "4", "--streams", tmp_path / "streams", "--out", out, "--sheet", sheet),
        *("--show", "2"),
    )  # fmt: skip
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
    truth = np.asarray(Image.open(data / "test/masks/0.png"))
    found = codec.segment(streams[0])
    assert point["pictures"][0]["latents"][0] == [
        int(((truth == label) & (found == label)).sum()) for label in (0, 1)
    ]
    shown = [
        psnr(np.asarray(Image.open(data / f"test/images/{path.stem}.png")), np.array(rgb))
        for path in streams
        for rgb in [codec.decode(path)]
    ]
    assert point["psnr"] == pytest.approx(np.mean(shown))
    assert point["ms_ssim"] is None  # for pictures as small as these
    own = report["weights"]
    assert own["bases_sha256"] == [codec.base_hash.hex()]
    assert own["readers_sha256"][segmentation.SEGMENTER] == [
        sha256_of(heads / "latents" / "head_model.safetensors")
    ]
    text = tables.segmentation(report)
    value = 100 * point["miou"]["latents"]["value"]
    assert f"| 4 | {point['bpp']:.3f} | {point['psnr']:.2f} | n/a | {value:.1f} (" in text
    assert "| IoU at rate 4 (%) | road | sky |" in text and "5 pictures of `data" in text
    with Image.open(sheet) as picture:
        assert picture.width == 5 * 40 and picture.height > 2 * 33


def test_streams_are_kept_for_each_codec(
    codec: TorchCodec, tiny_checkpoint: Path, tiny_ladder: Path, tmp_path: Path
) -> None:
    """Adapters of one base write other streams, and so do gains."""
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8))
    adapted = TorchCodec.load(tiny_checkpoint, tiny_ladder)
    kept = [
        stream_of(each, picture, "x", rate=4, gain_steps=gain, folder=tmp_path)
        for _ in range(2)
        for each, gain in ((codec, 0.0), (codec, -4.0), (adapted, 0.0))
    ]
    assert kept[:3] == kept[3:] and len(set(kept)) == 3 == len(list(tmp_path.rglob("x.pc")))


def test_means_of_quality() -> None:
    rng = np.random.default_rng(0)
    large = torch.from_numpy(rng.integers(0, 256, (3, 176, 192), np.uint8))
    rgb = large.permute(1, 2, 0).numpy()
    noisy = np.clip(rgb.astype(int) + rng.integers(-9, 10, rgb.shape), 0, 255).astype(np.uint8)
    found = quality_of([(large, rgb), (large, noisy)])
    assert found["psnr"] == pytest.approx((100 + psnr(rgb, noisy)) / 2)
    assert found["ms_ssim"] is not None and 0.9 < found["ms_ssim"] < 1.0


def test_a_joint_codec_beside_its_control(
    codec: TorchCodec,
    tiny_checkpoint: Path,
    heads: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = (
        *(data, "--base", tiny_checkpoint, "--heads", heads / "latents", "--rate", "4"),
        *("--frozen", tiny_checkpoint, "--control", heads / "control"),
        *("--streams", tmp_path / "streams"),
    )
    text = {}
    for gains in ("-4,4", "2,6"):  # around the size of the joint codec's files, and above it
        out = tmp_path / "out.json"
        run(joint_segmentation, monkeypatch, *words, f"--gains={gains}", "--out", out)
        report = json.loads(out.read_text())
        text[gains] = tables.joint(report)
        low, high = report["control"]
        if gains == "2,6":
            assert report["joint"]["bpp"] < low["bpp"] and report["equal_size"] is None
            continue
        assert low["bpp"] < report["joint"]["bpp"] < high["bpp"]
        share = np.log(report["joint"]["bpp"] / low["bpp"]) / np.log(high["bpp"] / low["bpp"])
        found = report["equal_size"]
        between = (1 - share) * low["psnr"] + share * high["psnr"]
        assert found["quality"] == {"psnr": pytest.approx(between)}
        assert found["ours"]["value"] == pytest.approx(report["joint"]["miou"])
        ends = sorted((low["miou"], high["miou"]))
        assert ends[0] - 0.02 < found["others"]["value"] < ends[1] + 0.02
        assert report["weights"]["readers_sha256"] == {
            "segmentation control": [sha256_of(heads / "control" / "head_model.safetensors")]
        }
        gained = f"{report['joint']['psnr'] - between:+.2f}"
        assert f"| {gained} | n/a |" in text[gains]
    assert "| n/a | n/a | n/a |" in text["2,6"]


def test_equal_files_of_one_codec_have_no_lead() -> None:
    rng = np.random.default_rng(0)
    counts = counts_like(rng.integers(0, 2, (9, 8, 8), np.uint8), right=0.7, rng=rng)
    point = joint_segmentation.Point(1.0, counts, {"psnr": 30.0, "ms_ssim": 0.9})
    found = joint_segmentation.compare(point, [point])
    assert found is not None
    assert found["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["quality"] == {"psnr": 30.0, "ms_ssim": 0.9}

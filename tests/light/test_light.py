"""The codec where numpy and ONNX Runtime are installed, and torch is not."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import ASSETS, SMALL

import promptcodec.pillow  # noqa: F401
from promptcodec import Codec

CHELSEA = ASSETS / "chelsea.png"
STREAM = Path(__file__).with_name("chelsea.pc")  # by torch, rate 2.5, tiles of 256 px
PSNR = 33.266  # of its picture by torch


def psnr(image: Image.Image) -> float:
    with Image.open(CHELSEA) as original:
        difference = np.asarray(original.convert("RGB"), np.float64) - np.asarray(image)
    return 10 * np.log10(255**2 / np.square(difference).mean())


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


def test_torch_is_absent():
    assert not {name for name in ("torch", "onnx", "scipy", "timm") if find_spec(name)}


def test_a_stream_of_torch(codec):
    assert psnr(codec.decode(STREAM)) == pytest.approx(PSNR, abs=0.002)
    region = codec.decode(STREAM, region=(200, 100, 90, 130))
    whole = np.asarray(codec.decode(STREAM))[100:230, 200:290]
    assert np.array_equal(np.asarray(region), whole)


def test_its_symbols_again(codec):
    data = codec.encode(CHELSEA, rate_index=2.5, tile_size=256)
    assert abs(len(data) - STREAM.stat().st_size) <= 8
    assert codec.decode_detailed(data).engine == "onnx"


@pytest.mark.parametrize("target", [{"target_bpp": 0.6}, {"target_psnr": 36.0}])
def test_targets(codec, target):
    encoded = codec.encode_detailed(CHELSEA, **target)
    assert encoded.target_met and encoded.engine == "onnx"


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA"])
def test_modes(codec, mode):
    with Image.open(CHELSEA) as original:
        picture = original.convert(mode).resize((65, 17))
    assert codec.decode(codec.encode(picture)).mode == mode


def test_the_command_line(run, tmp_path):
    outcome = run("encode", CHELSEA, "-o", tmp_path / "a.pc", "--rate-index", "4", "--json")
    assert outcome.code == 0 and json.loads(outcome.out)["engine"] == "onnx"
    assert run("decode", tmp_path / "a.pc", "-o", tmp_path / "a.png").code == 0
    assert psnr(Image.open(tmp_path / "a.png")) > 35
    assert run("decode", "-", "-o", "-", stdin=STREAM.read_bytes()).out[:4] == b"\x89PNG"
    for command in (("info", STREAM), ("rates",)):
        assert run(*command).code == 0


def test_classes_and_masks(run, tmp_path):
    outcome = run("classify", STREAM, "--json", "--top", "3")
    (row,) = json.loads(outcome.out)["files"]
    assert outcome.code == 0 and len(row["labels"]) == 3
    assert sum(label["probability"] for label in row["labels"]) <= 1
    assert run("segment", STREAM, "-o", tmp_path / "mask.png").code == 0
    with Image.open(tmp_path / "mask.png") as mask, Image.open(CHELSEA) as original:
        assert mask.size == original.size and mask.mode == "P"


def test_batches(run, tmp_path):
    (tmp_path / "in").mkdir()
    for size in (40, 90):
        Image.new("RGB", (size, 64), (200, 90, size)).save(tmp_path / "in" / f"{size}.png")
    assert run("encode", "-r", tmp_path / "in", "-o", tmp_path / "out", "--jobs", "2").code == 0
    assert len(list((tmp_path / "out").glob("*.pc"))) == 2


def test_the_plugin_of_pillow(tmp_path):
    with Image.open(CHELSEA) as original:
        original.save(tmp_path / "a.pc", rate_index=2)
    with Image.open(tmp_path / "a.pc") as picture:
        assert psnr(picture.convert("RGB")) > 31


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("encode", CHELSEA, "-o", "x.pc", "--effort", "1"), "train"),
        (("encode", CHELSEA, "-o", "x.pc", "--device", "cuda"), "train"),
        (("encode", CHELSEA, "-o", "x.pc", "--precision", "bfloat16"), "train"),
        (("encode", CHELSEA, "-o", "x.pc", "--engine", "torch"), "train"),
        (("train-prompt", "--lambda", "0.0067"), "train"),
        (("export", SMALL / "base"), "train"),
        (("bench", "--engine", "torch"), "train"),
        (("complexity",), "train"),
        (("eval", ASSETS), "eval"),
    ],
)
def test_what_needs_more(refused, tmp_path, monkeypatch, command, extra):
    monkeypatch.chdir(tmp_path)
    refused(2, f"pip install 'promptcodec[{extra}]'", *command, folder=tmp_path)

"""Exact tiles on the command line, in collections and in the Pillow plugin."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import promptcodec.pillow
from promptcodec import bitstream
from promptcodec.coding.settings import EncodeSettings
from promptcodec.corpus.tasks import Task

RGB = np.zeros((70, 130, 3), np.uint8)
RGB[10:40, 20:90] = (250, 20, 60)


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    Image.fromarray(RGB).save(tmp_path / "drawing.png")
    return tmp_path / "drawing.png"


def test_there_and_back(run_tiny, drawing, tmp_path):
    code, out, _ = run_tiny("encode", drawing, "--tile-size", 64, "--graphics", "always", "--json")
    report = json.loads(out)
    assert code == 0 and (report["tiles"], report["exact_tiles"]) == (6, 6)
    assert run_tiny("decode", tmp_path / "drawing.pc", "-o", tmp_path / "back.png")[0] == 0
    with Image.open(tmp_path / "back.png") as picture:
        assert np.array_equal(np.asarray(picture), RGB)


def test_info_counts_them(run, drawing, base):
    stream = drawing.with_suffix(".pc")
    for choice, count in (("always", 1), ("never", 0)):
        outcome = run("encode", drawing, "--graphics", choice, "--force", *base)
        assert (", exact" in outcome.err) == bool(count)
        facts = json.loads(run("info", stream, "--json").out)
        assert (facts["version"], facts["tiles"]["exact"]) == (1 + count, count)
        assert f"1 x 1, {count} exact" in run("info", stream).out.decode()


def test_other_choices_are_refused(run, drawing, base):
    for words, says in (
        (("--graphics", "maybe"), "'maybe'"),
        (("--graphics", "always", "--target-bytes", "900"), "effort, task and pack"),
        (("--graphics", "always", "--effort", "1"), "effort, task and pack"),
    ):
        outcome = run("encode", drawing, *words, *base)
        assert outcome.code == 2 and says in outcome.err and outcome.err.count("\n") == 1
        assert not drawing.with_suffix(".pc").exists()


def test_finished_streams_are_known(run_tiny, drawing, tmp_path):
    def encode(*words: str) -> tuple[int, str]:
        code, _, said = run_tiny("encode", drawing, "-o", f"{tmp_path}/out/", *words)
        return code, said

    for words in (("--graphics", "always"), ("--target-bytes", "5000"), ()):
        assert encode(*words, "--force")[0] == 0
        assert "1 finished before" in encode(*words)[1]
    code, said = encode("--graphics", "never")
    assert code == 8 and "a stream of other settings" in said
    assert encode("--graphics", "never", "--force")[0] == 0
    assert encode("--graphics", "always")[0] == 8


def test_classes_of_a_picture_are_those_of_its_latents(tiny_codec, drawing, monkeypatch):
    seen = []
    monkeypatch.setattr(type(tiny_codec), "classify", lambda self, data, **_: seen.append(data))
    with pytest.raises(TypeError):  # of no labels
        Task("classify").run(tiny_codec, drawing.read_bytes(), "drawing.png")
    assert bitstream.parse_header(seen[0]).version == 1


@pytest.mark.parametrize("choice", ["auto", "never", "always"])
def test_collections_take_the_option(tiny_codec, drawing, choice):
    settings, data = EncodeSettings(graphics=choice), drawing.read_bytes()
    row = Task("encode", encode=settings).run(tiny_codec, data, "drawing.png")
    assert row["bytes"] == tiny_codec.encode(drawing, graphics=choice)
    again = Task("transcode", encode=settings).run(tiny_codec, row["bytes"], "drawing.pc")
    assert (again["bytes"] == row["bytes"]) == (choice != "never")  # exact once, exact again
    psnr = Task("measure", encode=settings).run(tiny_codec, data, "drawing.png")["psnr"]
    assert (psnr > 90) == (choice != "never")


def test_hidden_pixels_are_not_measured(tiny_codec, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 64, 4), np.uint8))
    alpha = Image.new("L", picture.size)
    alpha.paste(255, (0, 0, 32, 40))
    picture.paste((9, 90, 200, 255), (0, 0, 32, 40))
    picture.putalpha(alpha)
    picture.save(tmp_path / "a.png")
    task = Task("measure", encode=EncodeSettings(graphics="always"))
    assert task.run(tiny_codec, (tmp_path / "a.png").read_bytes(), "a.png")["psnr"] > 80


def test_the_plugin_takes_the_option(tiny_codec, tmp_path):
    promptcodec.pillow.use(tiny_codec)
    try:
        Image.fromarray(RGB).save(tmp_path / "a.pc", graphics="always")
        with Image.open(tmp_path / "a.pc") as picture:
            assert np.array_equal(np.asarray(picture), RGB)
    finally:
        promptcodec.pillow.use(None)

"""The search for a base: a short run with a tiny codec, what it records, and the table of it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from places import RECIPES

from benchmarks.base import search, variants
from benchmarks.tables import training
from promptcodec.config import CodecConfig, from_dict
from promptcodec.training.data.pictures import PictureStore

TINY = yaml.safe_load((RECIPES / "base" / "base-tiny.yaml").read_text())["codec"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two packs of three pictures."""
    rng = np.random.default_rng(0)
    for name in ("train_photos", "train_hq"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(120, 136, (80, 200, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> variants.Variant:
    variant = variants.Variant(codec=from_dict(CodecConfig, TINY), batch=1, crop=64, warmup=1)
    monkeypatch.setattr(variants, "HELD_OUT", 1)
    monkeypatch.setattr(search, "read_variant", lambda name: variant)
    return variant


def test_every_variant_can_be_read_and_holds_out_the_same_pictures() -> None:
    names = yaml.safe_load(variants.VARIANTS.read_text())
    read = [variants.read_variant(name) for name in names]
    assert len(read) > 10
    assert {each.data.validation_pictures for each in read} == {2 * variants.HELD_OUT}


def test_a_pack_gives_its_share_of_the_crops(data: Path, tiny: variants.Variant) -> None:
    store = PictureStore(data, tiny.data)
    assert len(store.validation) == 2 and len(store) == 4
    assert [pack.share for pack in tiny.data.packs] == [pytest.approx(0.565), 0.435]


def test_a_run_is_recorded_and_collected(
    data: Path, tiny: variants.Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    runs = tmp_path / "runs"
    facts = {"data": data, "cache": tmp_path / "pixels", "out": runs, "keep": False}
    search.run("tiny", 1e-3, minutes=0.002, **facts)
    (path,) = runs.iterdir()
    assert path.name == "tiny@0.001@0.002.json"
    record = json.loads(path.read_text())
    assert [point["share"] for point in record["curve"]] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert record["steps"] == record["curve"][-1]["step"] >= 1
    assert all(np.isfinite(point["loss"]) for point in record["curve"])
    monkeypatch.setattr(search, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", "collect", "--out", str(runs)])
    search.main()
    table = tmp_path / "base-search.json"
    report = json.loads(table.read_text())
    (row,) = report["rows"]
    assert row["variant"] == "tiny" and row["loss"] == record["curve"][-1]["loss"]
    assert not row["bracketed"]
    assert "| tiny |" in capsys.readouterr().out
    # Its shape leaves the package: the row stays.
    record["settings"]["codec"]["shortcut"] = True
    path.write_text(json.dumps(record))
    search.main()
    assert json.loads(table.read_text())["rows"] == [row]


def test_every_row_is_told_in_words() -> None:
    rows = json.loads((search.RESULTS / "base-search.json").read_text())["rows"]
    words = yaml.safe_load(training.TRIED.read_text())
    assert {row["variant"] for row in rows} == set(words)


def test_the_middle_of_a_picture_is_measured() -> None:
    import torch

    picture = torch.zeros(3, 150, 1000, dtype=torch.uint8)
    picture[:, 75, 500] = 1
    part = search._middle(picture)
    assert part.shape == (3, 128, search.VALIDATED)
    assert part[0, 64, search.VALIDATED // 2] == 1

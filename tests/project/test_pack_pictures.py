"""Pictures of domain packs: sources, tiles of rasters, and what is left out."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.packs import pictures, rasters


def test_sources_are_held_out_by_package() -> None:
    for pack in yaml.safe_load(pictures.SOURCES.read_text("utf-8")).values():
        assert not set(pack["train"]) & set(pack["held"])
        for facts in (*pack["train"].values(), *pack["held"].values()):
            assert facts["licence"] and facts["by"] and facts["limit"] > 0
            assert ("rasters" in facts) != ("paths" in facts)


def test_a_raster_of_a_source_distribution_becomes_tiles(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 25, (2, 3, 3)).repeat(300, 0).repeat(350, 1) * 10
    levels[:300, :350] = 90  # flat: no picture
    Image.fromarray(levels[:, :1030].astype(np.uint8)).save(tmp_path / "map.png")
    with tarfile.open(tmp_path / "land-1.2.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "map.png", "land-1.2/data/map.png")
    facts = {"licence": "CC0-1.0", "by": "nobody", "limit": 9}
    land = facts | {"rasters": [{"picture": "land-*/data/map.png"}]}
    pack = {"about": "maps", "least": 256, "train": {"land": land}, "held": {}}
    pictures.write_pack(tmp_path, tmp_path / "out", pack)
    rows = json.loads((tmp_path / "out" / "sources.json").read_text())["pictures"]
    for row in rows:
        name, _, place = row["path"].partition("#xywh=")
        left, top, width, height = map(int, place.split(","))
        assert (name, width, height) == ("land-1.2/data/map.png", 343, 300)
        with Image.open(tmp_path / "out" / row["name"]) as tile:
            expected = levels[top : top + height, left : left + width]
            assert np.array_equal(np.asarray(tile), expected)
    assert len({row["path"] for row in rows}) == 5  # of six


def test_bands_are_stretched_and_tiles_without_data_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp = np.linspace(1000, 5000, 600 * 1100).reshape(600, 1100).astype(np.float32)
    bands = {1: ramp, 2: ramp * 3, 3: ramp[::-1].copy()}
    for band in bands.values():
        band[20:290, 900:1090] = 0  # nothing was seen there, in the last tile above
    (tmp_path / "scene.tif").touch()
    monkeypatch.setattr(rasters, "read_band", lambda path, number: bands[number])
    facts = {"bands": ["scene.tif:3", "scene.tif:2", "scene.tif"], "nodata": 0}
    found = dict(rasters.drawn_tiles(tmp_path, [facts], seed=1))
    places = {f"scene.tif#xywh={x},{y},366,300" for x in (0, 366, 732) for y in (0, 300)}
    assert set(found) == places - {"scene.tif#xywh=732,0,366,300"}
    whole, seen = rasters.read(tmp_path, facts)[1:]
    assert not seen[20:290, 900:1090].any() and seen.sum() == seen.size - 270 * 190
    for at in range(3):  # 2 % at either end, whatever the scale and the value without data
        assert np.mean(whole[seen][:, at] == 0) == pytest.approx(0.02, abs=0.003)
        assert np.mean(whole[seen][:, at] == 255) == pytest.approx(0.02, abs=0.003)
    assert np.all(whole[0, :, 0] > 250) and np.all(whole[0, :, 1:] < 5)
    box = facts | {"box": [10, 20, 523, 320], "tiles": 1}
    ((name, tile),) = rasters.drawn_tiles(tmp_path, [box], seed=1)
    assert name in ("scene.tif#xywh=10,20,256,300", "scene.tif#xywh=266,20,256,300")
    left = int(name.partition("=")[2].split(",")[0])
    assert np.array_equal(tile, whole[20:320, left : left + 256])

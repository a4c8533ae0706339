"""Which pictures are read, held out and drawn, and that every device cuts the same crops."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TINY

from promptcodec.errors import ConfigError, DataError, UsageError
from promptcodec.training.config import BaseTrainingConfig, DataConfig, Pack
from promptcodec.training.data import picture_cache
from promptcodec.training.data.crops import FlatPictures, Places, cut, draw
from promptcodec.training.data.picture_cache import decode
from promptcodec.training.data.pictures import PictureStore
from promptcodec.training.data.sources import find_pictures

PACKS = (Pack(name="small"), Pack(name="large"))
CONFIG = DataConfig(crop=64, packs=PACKS, validation_pictures=4, validation_exclude=("syn_*",))


def save(path: Path, width: int, height: int, *, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 9, width // 9, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packs and a third that is never read; `large` has two crops of each source."""
    folder = tmp_path_factory.mktemp("data")
    for i in range(8):
        save(folder / f"small/{i}.png", 72, 81, seed=i)
    items = []
    for i in range(12):
        name = f"syn_{i}.png" if i < 6 else f"{i}.png"
        save(folder / f"large/{name}", 162, 144 + 9 * (i % 2), seed=20 + i)
        items.append({"file": name, "blob": f"source{i // 2}"})
    (folder / "large/manifest.json").write_text(json.dumps({"items": items}))
    save(folder / "test/never.png", 90, 90, seed=99)
    return folder


def trained_on(store: PictureStore) -> dict[str, str]:
    return {entry.source.name: entry.group for entry in store._training}


def held_out(store: PictureStore) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in store.validation]


def test_no_source_is_on_both_sides_and_syn_stays_in_training(data: Path) -> None:
    store = PictureStore(data, CONFIG)
    names, held = trained_on(store), store.validation
    assert len(held) == 4 and sum(p.shape[1] == 81 for p in held) == 2  # two of each pack
    assert {f"syn_{i}.png" for i in range(6)} <= set(names)
    # Two sources of `large` are held out, and both crops of each have left.
    left = {f"source{i // 2}" for i in range(12)} - set(names.values())
    assert len(left) == 2 and len(store) == 8 - 2 + 12 - 4
    assert "never.png" not in names


def test_without_a_manifest_files_are_held_out_alone(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "large", tmp_path / "large")
    (tmp_path / "large/manifest.json").write_text("nonsense")
    store = PictureStore(tmp_path, replace(CONFIG, packs=()))
    assert len(store) == 12 - 4
    shutil.copy(data / "large/manifest.json", tmp_path / "large/manifest.json")
    with pytest.raises(DataError, match="3 pictures that may be held out; need 4"):
        PictureStore(tmp_path, replace(CONFIG, packs=()))


def test_packs_share_the_crops_and_pictures_their_pack_by_area(data: Path) -> None:
    config = replace(CONFIG, packs=(Pack(name="small", share=3.0), Pack(name="large", share=1.0)))
    store = PictureStore(data, config)
    chance = np.diff(store._weights[64], prepend=0.0)
    area = store._shapes.prod(axis=1)
    small = np.array([e.pack == 0 for e in store._training])
    assert chance[small].sum() == pytest.approx(0.75)
    for part in (small, ~small):
        np.testing.assert_allclose(chance[part] / chance[part].sum(), area[part] / area[part].sum())
    rng = np.random.default_rng(0)
    places = draw(
        rng, 20000, shapes=store._shapes, weights=store._weights[64], crop=64, config=config
    )
    found = np.bincount(places.picture, minlength=len(store)) / 20000
    np.testing.assert_allclose(found, chance, atol=0.012)
    height, width = store._shapes[places.picture].T
    assert (places.top >= 0).all() and (places.top + places.size <= height).all()
    assert (places.left >= 0).all() and (places.left + places.size <= width).all()
    assert (places.top + places.size == height).any() and (places.left == 0).any()
    assert 0.7 < np.mean(places.size > 64) < 0.8 and 0.48 < places.flip.mean() < 0.52


def test_the_last_crops_are_larger_fewer_and_from_large_pictures(data: Path) -> None:
    config = replace(CONFIG, last_crop=128, last_fraction=0.25)
    store = PictureStore(data, config)
    assert store.batch(8, seed=0, step=74, share=0.74).shape == (8, 3, 64, 64)
    batch = store.batch(8, seed=0, step=75, share=0.75)
    assert batch.shape == (2, 3, 128, 128)
    assert torch.equal(batch, store.batch(8, seed=0, step=75, share=0.99))
    drawn = np.flatnonzero(np.diff(store._weights[128], prepend=0.0))
    assert {store._training[i].pack for i in drawn} == {1}
    with pytest.raises(DataError, match="no training picture has 192 px"):
        PictureStore(data, replace(CONFIG, last_crop=192))
    with pytest.raises(ConfigError, match="batch 3 of crop 64 px is less than one last_crop"):
        BaseTrainingConfig(codec=TINY, data=config, batch=3)


def test_names_may_be_left_out(data: Path) -> None:
    store = PictureStore(data, replace(CONFIG, exclude=("syn_*", "0.png")))
    assert not [name for name in trained_on(store) if name.startswith("syn_") or name == "0.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"packs": (Pack(name="small"), Pack(name="other"))}, "has no other: give the folder"),
        ({"exclude": ("*.png",)}, "has no picture; see data.packs"),
    ],
)
def test_packs_that_are_not_there(data: Path, change: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        PictureStore(data, replace(CONFIG, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"packs": (Pack(name="a"), Pack(name="a"))}, "need distinct names"),
        ({"last_crop": 100}, "last_crop is 100"),
        ({"crop": 128, "last_crop": 64}, "last_crop is 64"),
        ({"last_fraction": 0.0}, "last_fraction is 0.0"),
        ({"packs": PACKS, "validation_pictures": 1}, "one a pack"),
    ],
)
def test_recipe_faults(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(**change)
    with pytest.raises(ConfigError, match=r"share is 0\.0; need a number above 0"):
        Pack(name="a", share=0.0)


# -- cutting ------------------------------------------------------------------------------------


def test_a_crop_is_what_the_picture_shows_there() -> None:
    picture = torch.arange(70 * 80 * 3).view(70, 80, 3).remainder(251).to(torch.uint8)
    places = Places(*(np.array([v, v]) for v in (0, 64, 5, 9)), flip=np.array([False, True]))
    expected = picture[5:69, 9:73].permute(2, 0, 1).float() / 255.0
    for x in (
        cut([picture, picture], places, crop=64),
        FlatPictures([picture], device="cpu").cut(places, crop=64),
    ):
        assert torch.equal(x[0], expected) and torch.equal(x[1], expected.flip(2))
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_one_gather_cuts_what_a_loop_cuts(data: Path) -> None:
    store = PictureStore(data, CONFIG)
    flat = FlatPictures([store._pictures[e] for e in store._training], device="cpu")
    for step in range(3):
        rng = np.random.default_rng(step)
        places = draw(
            rng, 16, shapes=store._shapes, weights=store._weights[64], crop=64, config=CONFIG
        )
        assert (places.size > 64).any() and (places.size == 64).any()
        pictures = [store._pictures[store._training[i]] for i in places.picture]
        levels = 255.0 * (cut(pictures, places, crop=64) - flat.cut(places, crop=64)).abs()
        assert levels.max() <= 1.01 and levels.mean() < 0.25  # a CPU rounds twice
        assert levels[torch.from_numpy(places.size == 64)].max() == 0.0


def test_a_store_on_another_device_draws_the_same(data: Path) -> None:
    store, other = PictureStore(data, CONFIG), PictureStore(data, CONFIG)
    pictures = [other._pictures[e] for e in other._training]
    other._flat = FlatPictures(pictures, device="cpu")
    a, b = (s.batch(8, seed=3, step=4, rank=1) for s in (store, other))
    assert 255.0 * (a - b).abs().max() <= 1.01 and (a - b).abs().mean() < 1e-3


# -- decoded once -------------------------------------------------------------------------------


def test_a_cache_holds_the_same_pixels_and_is_read_instead(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data/small/broken.png").write_bytes(b"nonsense")
    sources = list(find_pictures(tmp_path / "data"))
    plain, cache = decode(sources), tmp_path / "pixels"
    made = decode(sources, cache=cache)
    decoding: list[str] = []
    whole = picture_cache.decode_one
    monkeypatch.setattr(
        picture_cache, "decode_one", lambda source: (decoding.append(source.name), whole(source))[1]
    )
    read = decode(sources, cache=cache)
    assert not decoding
    for found in (made, read):
        assert found.faults == plain.faults and len(found.faults) == 1
        assert all(torch.equal(found.pictures[s], p) for s, p in plain.pictures.items())
        assert len(found.pictures) == len(plain.pictures)
    # A file that changed makes it anew, as another list of files does.
    os.utime(tmp_path / "data/small/0.png", ns=(1, 1))
    decode(sources, cache=cache)
    assert len(decoding) == len(sources)
    assert len(decode(sources[3:], cache=cache).pictures) == len(plain.pictures) - 3
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["pixels"]


def test_further_frames_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where the pixels come from a cache."""
    for name in "ab":
        frames = [Image.new("RGB", (90, 80), (n * 80, 10, 200)) for n in range(3)]
        frames[0].save(tmp_path / f"{name}.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (90, 80)).save(tmp_path / "c.png")
    line = f"note: {tmp_path / 'a.gif'} and 1 more: of 3 frames the first alone is used"
    for cache in (None, tmp_path / "pixels", tmp_path / "pixels"):
        caplog.clear()
        config = DataConfig(crop=64, validation_pictures=1)
        store = PictureStore(tmp_path, config, cache=cache)
        assert caplog.messages == [line] and len(store) == 2


def test_processes_share_the_pages_of_a_cache(data: Path, tmp_path: Path) -> None:
    """What one process maps from the file is backed by it, not copied."""
    cache = tmp_path / "pixels"
    decode(list(find_pictures(data)), cache=cache)
    script = (
        "import sys, pathlib\n"
        "from promptcodec.training.data.pictures import PictureStore\n"
        "from promptcodec.training.config import DataConfig\n"
        "store = PictureStore(pathlib.Path(sys.argv[1]), DataConfig(crop=64,"
        " validation_pictures=2), cache=pathlib.Path(sys.argv[2]))\n"
        "print(float(store.batch(4, seed=0, step=0).sum()))\n"
        "print([line for line in open('/proc/self/maps') if sys.argv[2] in line])\n"
    )
    words = [sys.executable, "-c", script, str(data), str(cache)]
    runs = [subprocess.run(words, capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout.splitlines()[0] == runs[1].stdout.splitlines()[0]
    assert all("pixels" in run.stdout.splitlines()[1] for run in runs)


def test_a_file_that_is_no_cache_is_not_replaced(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"letters")
    with pytest.raises(UsageError, match="is no cache of pictures"):
        decode(list(find_pictures(data)), cache=tmp_path / "mine")
    assert (tmp_path / "mine").read_bytes() == b"letters"

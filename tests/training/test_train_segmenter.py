"""Segmentation heads learn where things are; masks that do not fit are refused."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trainings import read_head_recipe, train_head

from promptcodec.coding.head_config import IGNORE
from promptcodec.errors import ConfigError, DataError
from promptcodec.models.checkpoint import read_base, write_base
from promptcodec.models.codec import TorchCodec
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.heads.checkpoint import read_head
from promptcodec.training.config import OptimizerConfig
from promptcodec.training.data.inputs import OriginalInput
from promptcodec.training.data.masked import MaskedPictures, read_masked
from promptcodec.training.data.segmentation_crops import SceneConfig, SegmentationCrops, part_of
from promptcodec.training.initialise import initialise_transforms
from promptcodec.training.segmenter import (
    SegmenterTask,
    SegmenterTrainingConfig,
    weighted_cross_entropy,
)

NONE = 7  # value of pixels without a class in these masks


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Blue above, red below, a line of no class between them."""
    horizon = 16 * int(rng.integers(2, 6))
    mask = np.zeros((112, 144), np.uint8)
    mask[horizon:] = 1
    pixels = np.array([(40, 60, 200), (200, 60, 40)])[mask] + rng.integers(-30, 30, (112, 144, 3))
    mask[horizon - 1 : horizon + 1] = NONE
    return pixels.clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 3)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(count):
            pixels, mask = scene(rng)
            Image.fromarray(pixels).save(folder / split / "images" / f"{number:02}.bmp")
            Image.fromarray(mask).save(folder / split / "masks" / f"{number:02}.png")
    return folder


@pytest.fixture
def run(tiny_checkpoint: Path, tiny_heads: Path) -> SegmenterTrainingConfig:
    return SegmenterTrainingConfig(
        labels=("sky", "road"),
        ignore=(NONE,),
        base=str(tiny_checkpoint),
        start=str(tiny_heads / "classify"),
        one_in=4,
        scenes=SceneConfig(
            height=64, width=128, crop=64, views=2, settings=(4.0,), held_settings=(4.0,)
        ),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.01, warmup_steps=2),
        steps=30,
        batch=8,
        validate_every=30,
        precision="no",
    )


def read(source: Path, **changes) -> MaskedPictures:
    return read_masked(source, **{"split": "train", "classes": 2, "ignore": (NONE,), **changes})


def principal_components(base: str, folder: Path) -> Path:
    """A base of the same shape that gives back what it is given."""
    found = read_base(Path(base))
    crop = torch.nn.functional.interpolate(torch.rand(4, 3, 8, 8), size=64, mode="bilinear")
    initialise_transforms(found.model, [crop], lmbda=found.config.lmbda)
    write_base(folder, found.model, config=found.config)
    return folder


@pytest.mark.parametrize("input", ["latents", "decoded", "original", "jpeg"])
def test_sky_and_road_are_told_apart(
    run: SegmenterTrainingConfig,
    scenes: Path,
    tmp_path: Path,
    tiny_network: Path,
    input: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if input == "latents":

        def synthesise(*_, **__):
            raise AssertionError("g_s ran")

        monkeypatch.setattr(CodecModel, "synthesise", synthesise)
    else:
        run = replace(run, input=input, start=str(tiny_network))
    if input == "decoded":
        run = replace(run, base=str(principal_components(run.base, tmp_path / "base")))
    folder = train_head(run, data=scenes, out=tmp_path / "run", device="cpu")
    codec = TorchCodec.load(run.base, [])
    digest = codec.base_hash if input == "latents" else b""
    head = read_head(folder, base_sha256=digest)
    assert head.config.labels == ("sky", "road") and head.config.task == "segment"
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    figures = json.loads(lines[-1])["validation"]
    assert figures["miou"] == figures["miou_4"] > 0.85
    assert json.loads((folder / "training.json").read_text())["held_pictures"] == 3
    assert (folder / "graphs" / "segment.onnx").is_file() == (input == "latents")


def test_a_file_is_segmented_by_what_was_trained(
    run: SegmenterTrainingConfig, scenes: Path, tmp_path: Path
) -> None:
    folder = train_head(run, data=scenes, out=tmp_path / "run", device="cpu")
    codec = TorchCodec.load(run.base, [], heads=folder)
    test = read(scenes, split="test")
    for picture, truth in zip(test.pictures, test.masks, strict=True):
        found = codec.segment(codec.encode(picture.permute(1, 2, 0).numpy()))
        counted = truth.numpy() != IGNORE
        assert (found == truth.numpy())[counted].mean() > 0.9


def test_folder_and_zip_hold_the_same(scenes: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scenes.zip", "w") as archive:
        for path in scenes.rglob("*.*"):
            archive.write(path, path.relative_to(scenes))
    first, second = read(scenes), read(tmp_path / "scenes.zip")
    assert first.names == second.names == [f"{number:02}" for number in range(12)]
    for a, b in zip(first.masks, second.masks, strict=True):
        assert torch.equal(a, b) and set(a.unique().tolist()) == {0, 1, IGNORE}
    assert torch.equal(first.pictures[5], second.pictures[5])
    assert torch.allclose(first.frequencies(2).sum(), torch.tensor(1.0).double())


def test_whole_runs_are_held_out() -> None:
    empty = torch.zeros(3, 4, 4, dtype=torch.uint8)
    many = MaskedPictures(
        [empty] * 250, [empty[0]] * 250, [f"{number:03}" for number in range(250)]
    )
    training, held = many.held_out(one_in=10)
    assert held.names == [f"{n:03}" for n in (*range(60, 72), *range(180, 192))]
    assert not set(training.names) & set(held.names) and len(training) == 226
    with pytest.raises(DataError, match="need 10 or more"):
        many.part(list(range(9))).held_out(one_in=10)


class TestDataFaults:
    @pytest.fixture
    def one(self, tmp_path: Path) -> Path:
        for kind in ("images", "masks"):
            (tmp_path / "train" / kind).mkdir(parents=True)
        Image.new("RGB", (80, 70)).save(tmp_path / "train/images/a.png")
        Image.new("L", (80, 70)).save(tmp_path / "train/masks/a.png")
        return tmp_path

    def test_it_is_usable(self, one: Path) -> None:
        assert read(one).names == ["a"]
        Image.new("P", (80, 70)).save(one / "train/masks/a.png")
        assert read(one).names == ["a"]

    def test_another_split(self, one: Path) -> None:
        with pytest.raises(DataError, match=r"no pictures in 'val'; need val/images/NAME"):
            read(one, split="val")

    def test_mask_of_another_size(self, one: Path) -> None:
        Image.new("L", (80, 60)).save(one / "train/masks/a.png")
        with pytest.raises(DataError, match=r"is 80x60 and its picture 80x70; need the same"):
            read(one)

    @pytest.mark.parametrize("mode", ["RGB", "I;16", "1"])
    def test_mask_of_another_kind(self, one: Path, mode: str) -> None:
        Image.new(mode, (80, 70)).save(one / "train/masks/a.png")
        with pytest.raises(DataError, match="one number of 8 bits for each pixel"):
            read(one)

    def test_mask_that_is_no_picture(self, one: Path) -> None:
        (one / "train/masks/a.png").write_text("text")
        with pytest.raises(DataError, match="no pictures in 'train' that can be read"):
            read(one)

    def test_more_classes_than_labels(self, one: Path) -> None:
        Image.new("L", (80, 70), 2).save(one / "train/masks/a.png")
        with pytest.raises(DataError, match=r"has the value 2; there are 2 labels, 0 to 1"):
            read(one)
        assert read(one, ignore=(2,)).masks[0].unique().tolist() == [IGNORE]
        assert read(one, classes=3).masks[0].unique().tolist() == [2]

    @pytest.mark.parametrize(("kind", "other"), [("images", "mask"), ("masks", "picture")])
    def test_one_without_the_other(self, one: Path, kind: str, other: str) -> None:
        Image.new("L", (80, 70)).save(one / "train" / kind / "b.png")
        with pytest.raises(DataError, match=f"train/b has no {other} beside it"):
            read(one)

    def test_pictures_too_small_for_the_parts(
        self, run: SegmenterTrainingConfig, one: Path
    ) -> None:
        data = read(one)
        config = SceneConfig(height=192, width=128, crop=64, largest=2.0, settings=(4.0,))
        with pytest.raises(DataError, match=r"a is 80x70, and parts are 128x192 at scales"):
            SegmentationCrops("x", data, data, head_input=OriginalInput(), config=config, seed=1)


def numbered(count: int) -> MaskedPictures:
    """Pictures that show their own masks: 16 px squares of class n have the level 20 n + 10."""
    rng = np.random.default_rng(1)
    masks = [
        torch.from_numpy(rng.integers(0, 12, (8, 10), np.uint8).repeat(16, 0).repeat(16, 1))
        for _ in range(count)
    ]
    return MaskedPictures([(20 * m + 10).expand(3, -1, -1) for m in masks], masks, ["a"] * count)


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.7])
def test_masks_go_with_their_pictures(scale: float) -> None:
    config = SceneConfig(height=64, width=64, crop=64, smallest=scale, largest=scale, light=0.0)
    data, rng = numbered(1), np.random.default_rng(2)
    flips = set()
    for _ in range(8):
        picture, mask = part_of(data.pictures[0], data.masks[0], config=config, rng=rng)
        assert picture.shape == (3, 64, 64) and mask.shape == (64, 64)
        same = (picture[0] // 20 == mask).float().mean()
        assert same > (0.99 if scale == 1.0 else 0.8)  # edges are blurred by scaling
        flips.add(mask.numpy().tobytes())
    assert len(flips) > 4


def test_light_moves_levels_and_no_mask() -> None:
    config = SceneConfig(height=128, width=128, crop=64, light=0.3, smallest=1.0, largest=1.0)
    data = numbered(1)
    parts = [
        part_of(data.pictures[0], data.masks[0], config=config, rng=np.random.default_rng(seed))
        for seed in range(6)
    ]
    means = {float(picture.float().mean().round()) for picture, _ in parts}
    assert len(means) > 3 and all(mask.max() < 12 for _, mask in parts)


class Blocks:
    """An input like latents: what each 16 px square shows, eight times over."""

    def transmit(self, pictures: torch.Tensor, setting: float) -> torch.Tensor:
        return pictures[:, :1, 8::16, 8::16].float().expand(-1, 8, -1, -1) + setting

    def lmbda(self, setting: float) -> float:
        return 0.25 + setting


@pytest.mark.parametrize("head_input", [OriginalInput(), Blocks()], ids=["pixels", "latents"])
def test_crops_lie_where_their_masks_lie(head_input) -> None:
    config = SceneConfig(height=128, width=128, crop=64, light=0.0, smallest=1.0, largest=1.0,
                         views=3, settings=(0.0, 0.5), held_settings=(0.0,))  # fmt: skip
    data = numbered(4)
    store, again = (
        SegmentationCrops("x", data, data, head_input=head_input, config=config, seed=3)
        for _ in range(2)
    )
    batch, same = (s.batch(16, seed=1, step=5) for s in (store, again))
    assert torch.equal(batch.inputs, same.inputs) and torch.equal(batch.masks, same.masks)
    assert not torch.equal(batch.masks, store.batch(16, seed=1, step=6).masks)
    assert batch.masks.shape == (16, 64, 64) and batch.masks.dtype == torch.int64
    if isinstance(head_input, Blocks):
        assert batch.inputs.shape == (16, 8, 4, 4)
        classes, truth = batch.inputs[:, 0] // 20, batch.masks[:, 8::16, 8::16]
        settings = batch.lmbda - 0.25
        assert set(settings.tolist()) == {0.0, 0.5}
        levels = batch.inputs[:, 0] - settings[:, None, None]
        assert torch.equal(levels, levels.round())  # each crop is told the rate it was sent at
    else:
        assert batch.inputs.shape == (16, 3, 64, 64) and float(batch.inputs.max()) <= 1.0
        classes, truth = (255 * batch.inputs[:, 0]).round() // 20, batch.masks
    assert torch.equal(classes.long(), truth)


def test_batches_go_where_the_model_is(run: SegmenterTrainingConfig, scenes: Path) -> None:
    task = SegmenterTask(run)
    store = task.open_store(scenes, device="cpu", validation=None)
    batch = store.batch(2, seed=1, step=0)
    moved = batch.to(torch.device("meta"))
    assert task.loss(task.build(store).to("meta"), moved, step=0).loss.device.type == "meta"
    assert task.loss(task.build(store), batch, step=0).loss.device.type == "cpu"


def test_the_loss_ignores_pixels_without_a_class() -> None:
    scores = torch.randn(2, 2, 8, 8, requires_grad=True)
    masks = torch.randint(0, 2, (2, 64, 64))
    weights = torch.tensor([1.0, 3.0])
    whole = weighted_cross_entropy(scores, masks, weights=weights)
    expected = torch.nn.functional.cross_entropy(
        torch.nn.functional.interpolate(scores, scale_factor=4, mode="bilinear"),
        masks[:, ::2, ::2],
        weights,
    )
    torch.testing.assert_close(whole.loss, expected)
    half = masks.clone()
    half[1] = IGNORE
    alone = weighted_cross_entropy(scores[:1], masks[:1], weights=weights)
    torch.testing.assert_close(
        weighted_cross_entropy(scores, half, weights=weights).loss, alone.loss
    )
    nothing = weighted_cross_entropy(scores, torch.full_like(masks, IGNORE), weights=weights)
    nothing.loss.backward()
    assert nothing.loss == 0.0 and bool((scores.grad == 0).all())


def test_a_head_begins_as_its_start(
    run: SegmenterTrainingConfig, scenes: Path, tiny_heads: Path
) -> None:
    task = SegmenterTask(run)
    model = task.build(task.open_store(scenes, device="cpu", validation=None))
    start = task._start.model.state_dict()
    for name, value in model.state_dict().items():
        known = not name.startswith("pyramid.")
        assert (name in start) == known and (not known or torch.equal(start[name], value)), name
    assert task.factor("pyramid.dilated.0.weight") == 1.0 and task.factor("stem.x") == 0.1
    again = SegmenterTask(replace(run, start=str(tiny_heads / "segment")))  # of a segmenter
    assert again._head_config().trunk == task._head_config().trunk


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels: [a]", "1 labels; need 2 to 255"),
        ("labels: [a, a]", "all different"),
        ("input: feelings", "input is 'feelings'"),
        ("balance: 2", "balance is 2"),
        ("one_in: 1", "2 or more"),
        ("ignore: [300]", r"ignore\[0\] is 300; need 0 to 255"),
        ("scenes: {height: 100}", "positive multiples of 64"),
        ("scenes: {crop: 100}", "multiple of 16"),
        ("scenes: {crop: 512}", "at most height and width"),
        ("scenes: {smallest: 0}", "smallest is 0.0; need a number above 0"),
        ("scenes: {views: 0}", "views is 0; need 1 or more"),
        ("smoothing: 0.1", "unknown key 'smoothing'"),
    ],
)
def test_recipe_faults(tmp_path: Path, text: str, message: str) -> None:
    labels = "" if text.startswith("labels") else "labels: [a, b]\n"
    (tmp_path / "bad.yaml").write_text(f"task: segment\n{labels}{text}\n")
    with pytest.raises(ConfigError, match=message):
        read_head_recipe(tmp_path / "bad.yaml")


def test_the_task_chooses_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("task: segment\nlabels: [a, b]\n")
    assert isinstance(read_head_recipe(path), SegmenterTrainingConfig)
    path.write_text("task: classify\n")
    assert not isinstance(read_head_recipe(path), SegmenterTrainingConfig)
    path.write_text("task: paint\n")
    with pytest.raises(ConfigError, match="task is 'paint'; need 'classify' or 'segment'"):
        read_head_recipe(path)
    path.write_text("task: segment\n")
    with pytest.raises(ConfigError, match="labels"):
        read_head_recipe(path)

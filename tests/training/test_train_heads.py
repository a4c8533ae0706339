"""Heads of own classes learn what there is to learn, from a head that knows others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from trainings import read_head_recipe, train_head

from promptcodec.errors import ConfigError, DataError
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import build_head, read_head
from promptcodec.training.classifier import (
    ClassifierTask,
    ClassifierTrainingConfig,
    cross_entropy,
)
from promptcodec.training.config import OptimizerConfig
from promptcodec.training.data.augmented import AugmentedPictures, ViewConfig
from promptcodec.training.data.inputs import CodecInput, FileInput, OriginalInput
from promptcodec.training.data.labelled import read_labelled
from promptcodec.training.segmenter import SegmenterTrainingConfig
from promptcodec.training.start import BUNDLED, copy_start
from promptcodec.training.temperature import best_temperature


@pytest.fixture
def run(tiny_checkpoint: Path, tiny_heads: Path) -> ClassifierTrainingConfig:
    return ClassifierTrainingConfig(
        base=str(tiny_checkpoint),
        start=str(tiny_heads / "classify"),
        thaw=0.5,
        one_in=4,
        views=ViewConfig(size=64, views=2, settings=(4.0,)),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.01, warmup_steps=2),
        steps=30,
        batch=8,
        validate_every=30,
        precision="no",
    )


@pytest.fixture
def pictures(labelled_pictures: Path) -> Path:
    return labelled_pictures


def accuracy_of(out: Path) -> float:
    import json

    lines = (out / "log.jsonl").read_text().splitlines()
    return next(json.loads(x)["validation"]["accuracy"] for x in lines[::-1] if "validation" in x)


@pytest.mark.parametrize("input", ["latents", "decoded", "original", "jpeg"])
def test_two_colours_are_told_apart(
    run: ClassifierTrainingConfig, pictures: Path, tmp_path: Path, tiny_network: Path, input: str
) -> None:
    settings = (30.0, 60.0) if input == "jpeg" else (4.0,)
    start = run.start if input == "latents" else str(tiny_network)
    config = replace(run, input=input, start=start, views=replace(run.views, settings=settings))
    folder = train_head(config, data=pictures, out=tmp_path / "run", device="cpu")
    assert accuracy_of(tmp_path / "run") == 1.0
    codec = TorchCodec.load(run.base, [])
    digest = codec.base_hash if input == "latents" else b""
    assert read_head(folder, base_sha256=digest).config.labels == ("blue", "red")


def test_views_are_a_function_of_seed_and_step(
    run: ClassifierTrainingConfig, pictures: Path
) -> None:
    training, held = read_labelled(pictures, split="train").held_out(one_in=4)
    assert (len(training.names), len(held.names)) == (18, 6)
    assert not set(training.names) & set(held.names)
    config = ViewConfig(size=48, views=2, settings=(10.0, 90.0))
    store, again = (
        AugmentedPictures("x", training, held, head_input=FileInput("webp"), config=config, seed=3)
        for _ in range(2)
    )
    first, same = (s.batch(6, seed=1, step=5) for s in (store, again))
    assert first.inputs.shape == (6, 3, 48, 48) and torch.equal(first.inputs, same.inputs)
    assert torch.allclose(first.targets.sum(dim=1), torch.ones(6))
    assert not torch.equal(first.inputs, store.batch(6, seed=1, step=6).inputs)
    # Every setting equally often in a view.
    assert all((view == 10.0).sum() == 9 for view in store._views["settings"])


def test_latents_are_those_of_the_file(pictures: Path, tiny_checkpoint: Path) -> None:
    codec = TorchCodec.load(tiny_checkpoint, [])
    picture = read_labelled(pictures, split="val").pictures[0]
    data = codec.encode(picture.permute(1, 2, 0).numpy())
    seen = _sight(codec, decoded=False).transmit(picture[None], 4.0)
    torch.testing.assert_close(seen, codec.latents(data), atol=1e-5, rtol=1e-5)
    shown = _sight(codec, decoded=True).transmit(picture[None], 4.0)
    decoded = torch.from_numpy(np.asarray(codec.decode(data)).copy()).permute(2, 0, 1)
    assert (shown[0].int() - decoded.int()).abs().max() <= 1
    assert torch.equal(OriginalInput().transmit(picture[None], 4.0)[0], picture)


def _sight(codec: TorchCodec, *, decoded: bool) -> CodecInput:
    return CodecInput(codec, decoded=decoded)


def test_batches_go_where_the_model_is(run: ClassifierTrainingConfig, pictures: Path) -> None:
    task = ClassifierTask(run)
    store = task.open_store(pictures, device="cpu", validation=None)
    batch = store.batch(2, seed=1, step=0)
    moved = batch.to(torch.device("meta"))
    assert task.loss(task.build(store).to("meta"), moved, step=0).loss.device.type == "meta"


def test_smoothing_and_mixing() -> None:
    logits = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    sharp = cross_entropy(logits, torch.eye(2), smoothing=0.0)
    smooth = cross_entropy(logits, torch.eye(2), smoothing=0.1)
    assert sharp.accuracy == 1.0 and smooth.loss > sharp.loss


def test_a_start_gives_all_but_its_classes(run: ClassifierTrainingConfig, pictures: Path) -> None:
    task = ClassifierTask(run)
    start = task._start
    fresh = task.build(task.open_store(pictures, device="cpu", validation=None)).state_dict()
    for name, value in start.model.state_dict().items():
        assert torch.equal(fresh[name], value) == (not name.startswith("trunk.out.")), name
    model = build_head(start.config)
    copy_start(model, start, labels=("dog", "cat", "fish"))  # as many, but others
    own = start.model.state_dict()["trunk.out.weight"]
    assert not torch.equal(model.state_dict()["trunk.out.weight"], own)
    copy_start(model, start, labels=start.config.labels)
    assert torch.equal(model.state_dict()["trunk.out.weight"], own)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_start_rests_until_the_thaw(
    run: ClassifierTrainingConfig, pictures: Path, wrapped: bool
) -> None:
    task = ClassifierTask(run)
    store = task.open_store(pictures, device="cpu", validation=None)
    model, batch = task.build(store), store.batch(4, seed=1, step=0)
    around = nn.ModuleDict({"module": model})  # as several processes name it
    around.forward = model.forward
    for share, learning in ((0.49, {"trunk.out"}), (0.5, {"stem", "trunk.stages", "trunk.out"})):
        model.zero_grad()
        task.loss(around if wrapped else model, batch, step=0, share=share).loss.backward()
        moved = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        for part in ("stem", "trunk.stages", "trunk.out"):
            assert any(name.startswith(part) for name in moved) == (part in learning), part
    assert task.factor("trunk.out.weight") == 1.0 and task.factor("stem.last.weight") == 0.1


def test_the_bundled_head_is_the_start_of_a_run_without_a_recipe() -> None:
    assert ClassifierTrainingConfig().start == BUNDLED
    assert SegmenterTrainingConfig(labels=("a", "b")).start == BUNDLED


def test_the_temperature_is_the_best_one() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2.0 * torch.randn(20000, 4, generator=generator)
    labels = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
    for factor in (0.25, 1.0, 4.0):  # logits that are too even, right, too sure
        assert best_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.06)
    certain = torch.eye(4)[labels]
    assert best_temperature(logits, certain) == best_temperature(logits, labels)


def test_a_head_keeps_its_temperature(
    run: ClassifierTrainingConfig, pictures: Path, tmp_path: Path
) -> None:
    folder = train_head(run, data=pictures, out=tmp_path / "run", device="cpu")
    codec = TorchCodec.load(run.base, [], heads=folder)
    temperature = codec.head("classify").config.temperature
    assert 0.1 <= temperature < 1.0  # two colours are told apart for sure
    data = codec.encode(next((pictures / "train" / "red").iterdir()))
    best = codec.classify(data, top=1)[0]
    assert best.label == "red" and best.probability > 0.99


def test_data_faults(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(DataError, match="0 classes in 'test'"):
        read_labelled(pictures, split="test")
    with pytest.raises(DataError, match="does not exist"):
        read_labelled(tmp_path / "nowhere", split="train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input: feelings", "input is 'feelings'"),
        ("one_in: 1", "one_in is 1; need 2 or more"),
        ("views: {area: 0}", "area is 0"),
        ("data: {crop: 64}", "unknown key 'data'"),
    ],
)
def test_recipe_faults(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_head_recipe(tmp_path / "bad.yaml")


def test_64_pictures_are_learned_by_heart(run: ClassifierTrainingConfig, tmp_path: Path) -> None:
    """Classes without anything in common: only the pictures themselves can be remembered."""
    rng = np.random.default_rng(5)
    for label in ("a", "b"):
        place = tmp_path / "data" / "train" / label
        place.mkdir(parents=True)
        for number in range(32):
            blocks = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
            Image.fromarray(blocks).save(place / f"{number}.png")
    views = replace(run.views, views=1, mixup=0.0)
    config = replace(run, steps=200, validate_every=200, batch=32, one_in=99, smoothing=0.0,
                     thaw=0.0, body_factor=1.0, views=views)  # fmt: skip
    folder = train_head(config, data=tmp_path / "data", out=tmp_path / "run", device="cpu")
    codec = TorchCodec.load(run.base, [], heads=folder)
    store = ClassifierTask(config).open_store(tmp_path / "data", device="cpu", validation=None)
    with torch.inference_mode():
        inputs = torch.stack(store.sample(64)).float()
        logits = codec.head("classify").model(inputs, torch.full((62,), 0.025))
    assert (logits.argmax(dim=1) == store.labels).float().mean() > 0.99

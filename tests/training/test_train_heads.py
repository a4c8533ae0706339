"""Heads learn what there is to learn, and nothing where there is nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trainings import read_head_recipe, train_head

from promptcodec.errors import ConfigError, DataError
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import read_head
from promptcodec.training.classifier import (
    ClassifierTask,
    ClassifierTrainingConfig,
    best_temperature,
    cross_entropy,
)
from promptcodec.training.config import OptimizerConfig
from promptcodec.training.data.augmented import AugmentedPictures, ViewConfig
from promptcodec.training.data.inputs import CodecInput, FileInput, OriginalInput
from promptcodec.training.data.labelled import read_labelled
from promptcodec.training.distillation import TeacherConfig


@pytest.fixture
def run(tiny_checkpoint: Path) -> ClassifierTrainingConfig:
    return ClassifierTrainingConfig(
        base=str(tiny_checkpoint),
        widths=(32,),
        depths=(1,),
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
    run: ClassifierTrainingConfig, pictures: Path, tmp_path: Path, input: str
) -> None:
    settings = (30.0, 60.0) if input == "jpeg" else (4.0,)
    config = replace(run, input=input, views=replace(run.views, settings=settings))
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


@pytest.fixture
def teacher(run: ClassifierTrainingConfig, pictures: Path, tmp_path: Path) -> TeacherConfig:
    """A trained classifier of pixels with residual stages."""
    config = replace(run, input="original", body="resnet", widths=(32, 32, 32), depths=(1, 1, 1))
    folder = train_head(config, data=pictures, out=tmp_path / "teacher", device="cpu")
    return TeacherConfig(head=str(folder), share=0.5)


def test_a_teacher_is_part_of_targets_and_loss(
    run: ClassifierTrainingConfig, pictures: Path, tmp_path: Path, teacher: TeacherConfig
) -> None:
    cache = tmp_path / "views.safetensors"
    config = replace(run, body="resnet", teacher=teacher, views=replace(run.views, mixup=0.0))

    def open_store(teacher: TeacherConfig | None, cache: Path | None = cache) -> AugmentedPictures:
        task = ClassifierTask(replace(config, teacher=teacher), cache=cache)
        return task.open_store(pictures, device="cpu", validation=None)

    batch = open_store(teacher).batch(8, seed=0, step=0)
    labels = open_store(None, None).batch(8, seed=0, step=0).targets
    own = 2.0 * batch.targets - labels  # the teacher's part; once trained, it spreads
    assert torch.allclose(own.sum(dim=1), torch.ones(8), atol=1e-5)
    assert (own > 0).all() and torch.equal(own.argmax(dim=1), labels.argmax(dim=1))
    assert batch.features.shape == (8, 32, 4, 4) and float(batch.features.std()) < 3.0
    again = open_store(teacher).batch(8, seed=0, step=0)
    assert torch.equal(again.targets, batch.targets)
    assert torch.equal(again.features, batch.features)
    with pytest.raises(ConfigError, match="keeps other views"):
        open_store(replace(teacher, temperature=3.0))

    task = ClassifierTask(config, cache=cache)
    store = task.open_store(pictures, device="cpu", validation=None)
    model = task.build(store)
    task.initialise(model, store)
    bare = ClassifierTask(replace(config, teacher=replace(teacher, hints=0.0)), cache=cache)
    with_hints, without = (t.loss(model.train(), batch, step=0).loss for t in (task, bare))
    assert float(with_hints.detach()) > float(without.detach())


@pytest.mark.parametrize(
    ("input", "body", "size"),
    [("latents", "resnet", 48), ("latents", "swin", 64), ("decoded", "resnet", 64)],
)
def test_a_student_is_a_head_like_others(
    run: ClassifierTrainingConfig,
    pictures: Path,
    tmp_path: Path,
    teacher: TeacherConfig,
    input: str,
    body: str,
    size: int,
) -> None:
    widths = (32,) if input == "latents" else (32, 32, 32)
    config = replace(
        run,
        input=input,
        body=body,
        widths=widths,
        depths=(1,) * len(widths),
        teacher=teacher,
        views=replace(run.views, size=size),
    )
    folder = train_head(config, data=pictures, out=tmp_path / "run", device="cpu")
    assert accuracy_of(tmp_path / "run") == 1.0
    digest = TorchCodec.load(run.base, []).base_hash if input == "latents" else b""
    assert not any(
        "hint" in name for name in read_head(folder, base_sha256=digest).model.state_dict()
    )


def test_a_teacher_that_does_not_fit(
    run: ClassifierTrainingConfig, pictures: Path, tmp_path: Path, teacher: TeacherConfig
) -> None:
    def check(message: str, *, data: Path = pictures, **changes: object) -> None:
        with pytest.raises(ConfigError, match=message):
            train_head(replace(run, **changes), data=data, out=tmp_path / "run", device="cpu")

    student = train_head(run, data=pictures, out=tmp_path / "latents", device="cpu")
    on_latents = replace(teacher, head=str(student))
    check("on latents; need a classifier on pixels", teacher=on_latents)
    check("1 stages from 1/4 on has none at 1/16", teacher=teacher, input="original")
    others = tmp_path / "others"
    for name in ("green", "grey"):
        (others / "train" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (64, 64), name).save(others / "train" / name / f"{number}.png")
    check(r"has blue, red .*, the pictures are of green, grey", data=others, teacher=teacher)
    with pytest.raises(ConfigError, match="share is 2"):
        replace(teacher, share=2.0)


def test_the_temperature_is_the_best_one() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2.0 * torch.randn(20000, 4, generator=generator)
    labels = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
    for factor in (0.25, 1.0, 4.0):  # logits that are too even, right, too sure
        assert best_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.06)


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


def many_colours(folder: Path, *, classes: int, each: int) -> Path:
    rng = np.random.default_rng(1)
    for label in range(classes):
        place = folder / "train" / f"colour-{label}"
        place.mkdir(parents=True)
        colour = 40 + 170 * np.array([label >> 2 & 1, label >> 1 & 1, label & 1])
        for number in range(each):
            noise = rng.integers(-30, 30, (64, 64, 3))
            pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


@pytest.mark.parametrize("shuffled", [False, True])
def test_labels_that_say_nothing_stay_at_chance(
    run: ClassifierTrainingConfig, tmp_path: Path, shuffled: bool
) -> None:
    data = many_colours(tmp_path / "data", classes=8, each=8)
    config = replace(run, steps=60, validate_every=60, batch=16, shuffle_labels=shuffled)
    train_head(config, data=data, out=tmp_path / "run", device="cpu")
    accuracy = accuracy_of(tmp_path / "run")  # of 16 held-out pictures, whose labels are true
    assert accuracy <= 0.25 if shuffled else accuracy > 0.9


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
                     widths=(64,), views=views)  # fmt: skip
    folder = train_head(config, data=tmp_path / "data", out=tmp_path / "run", device="cpu")
    codec = TorchCodec.load(run.base, [], heads=folder)
    store = ClassifierTask(config).open_store(tmp_path / "data", device="cpu", validation=None)
    with torch.inference_mode():
        logits = codec.head("classify").model(store.sample(64), torch.full((62,), 0.025))
    assert (logits.argmax(dim=1) == store.labels).float().mean() > 0.99

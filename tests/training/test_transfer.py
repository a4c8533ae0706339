"""Heads that take over a trained network: imported as it is, learned from, fine-tuned, resumed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from places import RECIPES
from safetensors.torch import save_file
from tiny import tiny_head

from promptcodec.coding.head_file import read_head_config
from promptcodec.coding.head_shapes import head_shapes
from promptcodec.coding.trunk import StemConfig, TrunkConfig
from promptcodec.errors import CheckpointError, ConfigError, UsageError
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import build_head, read_head, write_head
from promptcodec.models.heads.timm_trunk import TimmTrunk, create
from promptcodec.training.classifier import ClassifierTask, ClassifierTrainingConfig
from promptcodec.training.config import DataConfig, OptimizerConfig, read_recipe
from promptcodec.training.data.taught_views import TaughtViewConfig
from promptcodec.training.networks import begin_at, imagenet_labels, import_network, taken_over
from promptcodec.training.trainer import run_training
from promptcodec.training.transfer import TransferConfig, TransferTask

LABELS = ("cat", "dog", "fish")
LITE = "tf_efficientnet_lite0"


def weights_of(name: str, place: Path) -> Path:
    """Random weights of a network of timm with lively statistics, as torch saves them."""
    torch.manual_seed(3)
    model = timm.create_model(name, num_classes=len(LABELS))
    state = model.state_dict()
    for key, value in state.items():
        if key.endswith("running_var"):
            value.copy_(0.5 + torch.rand_like(value))
        elif key.endswith(("running_mean", "bias")):
            value.copy_(0.1 * torch.randn_like(value))
    torch.save(state, place / f"{name}.pth")
    return place / f"{name}.pth"


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lite")
    import_network(LITE, weights_of(LITE, folder), folder / "network", labels=LABELS, mean=0.498)
    return folder / "network"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(2)
    for number in range(6):
        blocks = rng.integers(0, 256, (5, 6, 3), np.uint8)
        Image.fromarray(blocks).resize((80, 70), Image.Resampling.BICUBIC).save(
            folder / f"{number}.png"
        )
    return folder


@pytest.fixture
def recipe(tiny_checkpoint: Path, tiny_network: Path) -> TransferConfig:
    return TransferConfig(
        teacher=str(tiny_network),
        base=str(tiny_checkpoint),
        stem=StemConfig(width=32, blocks=1),
        thaw=0.5,
        data=DataConfig(crop=64, validation_pictures=2),
        views=TaughtViewConfig(
            sizes=(64, 96), held_size=64, settings=(4.0,), held_settings=(4.0,), group=2, window=4
        ),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.003, warmup_steps=2),
        steps=8,
        batch=4,
        validate_every=8,
        precision="no",
    )


def test_an_imported_network_is_that_network(lite: Path, tmp_path: Path) -> None:
    head = read_head(lite, base_sha256=b"")
    trunk = head.config.trunk
    assert head.config.labels == LABELS and trunk.mean == (0.498,) * 3
    model = timm.create_model(LITE, num_classes=len(LABELS)).eval()
    model.load_state_dict(torch.load(weights_of(LITE, tmp_path), weights_only=True))
    x = torch.rand(2, 3, 96, 64)
    with torch.inference_mode():
        wanted = model((x - 0.498) / 0.5)
        found = head.model(x, torch.ones(2))
    torch.testing.assert_close(found, wanted, atol=0.01 * float(wanted.std()), rtol=0)


@pytest.mark.parametrize(
    ("name", "begins"), [(LITE, 1), (LITE, 4), (LITE, 16), ("resnet18", 1), ("resnet18", 8)]
)
def test_later_stages_are_those_of_the_whole(
    name: str, begins: int, lite: Path, tmp_path: Path
) -> None:
    folder = lite
    if name != LITE:
        folder = tmp_path / "network"
        import_network(name, weights_of(name, tmp_path), folder, labels=LABELS)
    whole = read_head(folder, base_sha256=b"")
    trunk = whole.config.trunk
    head = replace(
        whole.config, reads="latents", latent_channels=4, stem=StemConfig(),
        trunk=begin_at(trunk, begins), base_sha256="ab" * 32,
    )  # fmt: skip
    model = build_head(head).eval()
    model.trunk.load_state_dict(taken_over(whole.model.trunk.state_dict(), trunk, begins))
    with torch.inference_mode():
        levels = whole.model.levels(torch.rand(1, 3, 64, 96), torch.ones(1))
        later = model.trunk.levels(levels[begins])
        assert set(later) == {stride for stride in levels if stride > begins}
        torch.testing.assert_close(model.judge(later), whole.model.judge(levels))


def test_swin_is_cut_as_well() -> None:
    whole = TrunkConfig(network="timm/swin_tiny_patch4_window7_224", channels=3, begins=1)
    trunk = TimmTrunk(begin_at(whole, 16), classes=3).eval()
    with torch.inference_mode():
        levels = trunk.levels(torch.randn(1, 384, 14, 14))
        assert levels[32].shape == (1, 768, 7, 7)
        assert trunk.judge(levels[32]).shape == (1, 3)


def test_the_head_of_the_recipe_takes_less_than_10_mb(lite: Path) -> None:
    recipe = read_recipe(RECIPES / "classify" / "transfer.yaml", TransferConfig)
    whole = read_head_config(lite)
    head = replace(
        whole, labels=tuple(imagenet_labels()), reads="latents", latent_channels=320,
        stem=recipe.stem, trunk=begin_at(whole.trunk, recipe.begins), base_sha256="ab" * 32,
    )  # fmt: skip
    assert 2 * sum(math.prod(shape) for _, shape in head_shapes(head)) < 10e6


def test_names_of_a_thousand_classes() -> None:
    labels = imagenet_labels()
    assert len(set(labels)) == 1000
    assert labels[0] == "tench" and labels[497] == "church" and labels[571] == "gas pump"
    assert labels[134] == "crane (bird)" and labels[517] == "crane (machine)"


def test_files_that_are_no_network(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="holds no weights that can be read"):
        import_network(LITE, path, tmp_path / "out")
    torch.save({"a": torch.zeros(2)}, path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 16):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        with pytest.raises(CheckpointError):
            import_network(LITE, path, tmp_path / "out")
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"has 1 tensors, the network 296, and conv_stem"):
        import_network(LITE, path, tmp_path / "out")
    state = create(LITE, classes=3).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="has 3 classes and there are 1000 labels"):
        import_network(LITE, tmp_path / "w.safetensors", tmp_path / "out")
    with pytest.raises(ConfigError, match="has no network 'resnet0'"):
        import_network("resnet0", path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_head_is_not_replaced(lite: Path, tmp_path: Path) -> None:
    before = (lite / "head_model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="holds a head: choose another folder"):
        import_network(LITE, weights_of(LITE, tmp_path), lite, labels=LABELS, mean=0.4)
    assert (lite / "head_model.safetensors").read_bytes() == before


def test_a_head_learns_from_its_teacher(
    recipe: TransferConfig, photographs: Path, tmp_path: Path
) -> None:
    config = replace(recipe, steps=16, begins=8, hints=100.0, thaw=0.75, validate_every=16)
    task = TransferTask(config)
    folder = run_training(task, data=photographs, out=tmp_path / "run")
    rows = [json.loads(row) for row in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    errors = [row["validation"]["features_4"] for row in rows if "validation" in row]
    assert errors[-1] < 0.95 * errors[0]
    known = weights_known(task)
    state = read_head(folder, base_sha256=task.codec.base_hash).model.state_dict()
    assert any(not state[f"trunk.{name}"].equal(value) for name, value in known.items())
    assert (folder / "graphs" / "classify.onnx").is_file()


def weights_known(task: TransferTask) -> dict[str, torch.Tensor]:
    weights = task.teacher.model.trunk.state_dict()
    return taken_over(weights, task.teacher.config.trunk, task.config.begins)


def test_before_the_thaw_the_network_rests(
    recipe: TransferConfig, photographs: Path, tmp_path: Path
) -> None:
    task = TransferTask(replace(recipe, thaw=1.0))
    folder = run_training(task, data=photographs, out=tmp_path / "run")
    state = read_head(folder, base_sha256=task.codec.base_hash).model.state_dict()
    known = weights_known(task)
    assert all(state[f"trunk.{name}"].equal(value.half().float()) for name, value in known.items())


@pytest.mark.parametrize("cached", [False, True])
def test_a_resumed_run_has_the_same_weights(
    recipe: TransferConfig, photographs: Path, tmp_path: Path, cached: bool
) -> None:
    cache = tmp_path / "views" if cached else None

    def train(out: Path, **options) -> bytes:
        task = TransferTask(recipe, cache=cache)
        folder = run_training(task, data=photographs, out=out, **options)
        return (folder / "head_model.safetensors").read_bytes()

    whole = train(tmp_path / "whole")
    train(tmp_path / "parts", max_steps=3)
    assert train(tmp_path / "parts", resume=True) == whole
    if cache is not None:
        assert list(cache.glob("*/0-*.safetensors"))


def test_pixels_of_a_codec(recipe: TransferConfig, photographs: Path, tmp_path: Path) -> None:
    views = replace(recipe.views, settings=(20.0,), held_settings=(20.0,))
    config = replace(recipe, input="jpeg", views=views, steps=2, validate_every=2)
    folder = run_training(TransferTask(config), data=photographs, out=tmp_path / "run")
    assert read_head(folder, base_sha256=b"").config.reads == "pixels"


def test_refusals(recipe: TransferConfig, tiny_network: Path) -> None:
    for changes, message in (
        ({"input": "sounds"}, "input is 'sounds'"),
        ({"begins": 2}, "begins is 2"),
        ({"begins": 8, "input": "jpeg"}, "with latents alone"),
        ({"begins": 16, "compared": 8}, "compared is 8"),
        ({"batch": 5}, "multiple of views.group 2"),
        ({"start": "x"}, "leave begins and stem out"),
        ({"start": "x", "stem": StemConfig(), "begins": 8}, "leave begins and stem out"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(recipe, **changes)
    with pytest.raises(ConfigError, match="multiples of 32"):
        replace(recipe.views, sizes=(100,))
    with pytest.raises(ConfigError, match="is a head on pixels; need one on latents"):
        TransferTask(replace(recipe, start=str(tiny_network), stem=StemConfig()))


def test_starts_of_another_kind(recipe: TransferConfig, tmp_path: Path) -> None:
    codec = TorchCodec.load(recipe.base)
    own = {
        "latent_channels": codec.config.codec.latent_channels,
        "base_sha256": codec.base_hash.hex(),
    }
    for name, config, message in (
        ("segment", tiny_head("segment", **own), "is a head to segment"),
        ("classes", tiny_head(labels=("dog", "cat", "fish"), **own), "classes that are not the 3"),
        ("later", tiny_head(begins=16, **own), "has no features at 1/8"),
    ):
        write_head(tmp_path / name, build_head(config), config=config)
        start = replace(recipe, start=str(tmp_path / name), stem=StemConfig(), compared=8)
        with pytest.raises(ConfigError, match=message):
            TransferTask(start)
    other = ClassifierTrainingConfig(start=str(tmp_path / "segment"), base=str(recipe.base))
    with pytest.raises(ConfigError, match="is a head to segment; need one to classify"):
        ClassifierTask(other)


def test_a_start_goes_on(recipe: TransferConfig, photographs: Path, tmp_path: Path) -> None:
    first = run_training(TransferTask(recipe), data=photographs, out=tmp_path / "first")
    again = replace(recipe, start=str(first), stem=StemConfig())
    task = TransferTask(again)
    model = task.build(task.open_store(photographs, device="cpu", validation=None)).head
    state = read_head(first, base_sha256=task.codec.base_hash).model.state_dict()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())

"""Training hyperprior and context alone, under transforms that stay as they are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import TINY, recipe_of
from trainings import train_base

from promptcodec.errors import ConfigError, UsageError
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec import TorchCodec

RECIPE = """
data: {crop: 64, validation_pictures: 1}
optimizer: {warmup_steps: 2, learning_rate: 0.02}
steps: 8
batch: 2
precision: "no"
"""
ENTROPY = "train: entropy\ninit_from: BASE\ninit_parts: [g_a, g_s]\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three noisy pictures and a base that was trained on them for a moment."""
    folder = tmp_path_factory.mktemp("entropy")
    (folder / "pictures").mkdir()
    for i in range(3):
        noise = torch.randint(0, 256, (9, 7, 3), generator=torch.Generator().manual_seed(i))
        small = Image.fromarray(noise.to(torch.uint8).numpy())
        small.resize((96, 96), Image.Resampling.BICUBIC).save(folder / "pictures" / f"{i}.png")
    return folder


def train(folder: Path, name: str, text: str) -> Path:
    recipe = folder / f"{name}.yaml"
    recipe.write_text(text)
    return train_base(recipe, data=folder / "pictures", out=folder / name, device="cpu")


def recipe(context: str, *, scale: str = "hyperprior") -> str:
    codec = replace(
        TINY, context=context, context_channels=8, context_segments=(2, 4, 6), scale=scale
    )
    return recipe_of(codec) + RECIPE


@pytest.mark.parametrize("context", ["none", "checkerboard", "econtext"])
def test_transforms_stay_and_the_rest_learns(folder: Path, context: str) -> None:
    first = folder / "first" / "base"
    if not first.exists():
        train(folder, "first", recipe("checkerboard"))
    text = recipe(context) + ENTROPY.replace("BASE", str(first))
    trained = read_base(train(folder, f"entropy-{context}", text)).model.state_dict()
    for name, value in read_base(first).model.state_dict().items():
        if name.startswith(("g_a.", "g_s.")):
            assert torch.equal(trained[name], value)
        elif name.startswith("hyperprior.h_a") and name.endswith("weight"):
            assert not torch.equal(trained[name], value)
    codec = TorchCodec.load(folder / f"entropy-{context}" / "base")
    picture = Image.open(folder / "pictures" / "0.png")
    assert codec.decode(codec.encode(picture)).size == picture.size


def test_transforms_must_come_from_somewhere(folder: Path) -> None:
    first = folder / "first" / "base"
    if not first.exists():
        train(folder, "first", recipe("checkerboard"))
    text = recipe("none") + ENTROPY.replace("BASE", str(first)).replace("g_a, g_s", "hyperprior")
    with pytest.raises(ConfigError, match="is not taken from"):
        train(folder, "random", text)


def test_econtext_learns_the_size_of_its_channels(folder: Path) -> None:
    base = read_base(train(folder, "scales", recipe("econtext")))
    scale = base.model.state_dict()["context.y_scale"]
    assert scale.shape == (12,) and float(scale.std()) > 0.1


def test_scales_from_context_write_no_files(folder: Path) -> None:
    base = train(folder, "research", recipe("econtext", scale="context"))
    codec = TorchCodec.load(base)
    with pytest.raises(UsageError, match="streams could not be decoded elsewhere"):
        codec.encode(folder / "pictures" / "0.png")

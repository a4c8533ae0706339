"""Codec and segmentation head learn together from masks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import lively_head, tiny_head

from promptcodec.coding.head_config import IGNORE
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.checkpoint import write_head
from promptcodec.training.config import OptimizerConfig
from promptcodec.training.data.segmentation_crops import SceneConfig, SegmentationBatch
from promptcodec.training.joint.config import MaskedJointConfig
from promptcodec.training.joint.masked import MaskedJointTask
from promptcodec.training.segmenter import weighted_cross_entropy
from promptcodec.training.trainer import run_training


@pytest.fixture(scope="module")
def head(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = read_base(tiny_checkpoint)
    config = tiny_head(
        "segment",
        labels=("sky", "road"),
        latent_channels=base.config.codec.latent_channels,
        base_sha256=base.sha256.hex(),
    )
    folder = tmp_path_factory.mktemp("head")
    write_head(folder, lively_head(config), config=config)
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blue above, red below, of which a fifth has the class of the road."""
    folder, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / "train" / kind).mkdir(parents=True)
    for number in range(6):
        mask = np.zeros((80, 96), np.uint8)
        mask[64:] = 1
        pixels = np.array([(40, 60, 200), (200, 60, 40)])[mask] + rng.integers(-30, 30, (80, 96, 3))
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        picture.save(folder / "train" / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "train" / "masks" / f"{number}.png")
    return folder


@pytest.fixture
def config(tiny_checkpoint: Path, tiny_ladder: Path, head: Path) -> MaskedJointConfig:
    return MaskedJointConfig(
        base=str(tiny_checkpoint),
        prompts=str(tiny_ladder),
        head=str(head),
        rates=(2, 4),
        one_in=3,
        scenes=SceneConfig(height=64, width=64, crop=64, views=2),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.003, warmup_steps=2),
        steps=6,
        batch=2,
        validate_every=6,
        precision="no",
    )


def test_what_the_loss_has(config: MaskedJointConfig, scenes: Path) -> None:
    task = MaskedJointTask(replace(config, alpha=0.5, beta=0.25))
    task.open_store(scenes, device="cpu", validation=None)
    masks = torch.randint(0, 2, (2, 64, 64))
    masks[0, :32] = IGNORE
    batch = SegmentationBatch(torch.rand(2, 3, 64, 64), masks, torch.ones(2))
    model, seen = task.build(None), []
    model.register_forward_hook(lambda *found: seen.append(found[-1]))
    loss = task.loss(model, batch, step=1)  # of rate 4
    (output,) = seen
    # Of sky and road, 4 to 1, the rarer one counts more: by the root of the ratio.
    weights = torch.tensor([0.25**0.5, 1.0])
    entropy = weighted_cross_entropy(output.head.scores, masks, weights=weights).loss
    bpp = (output.codec.y_bits + output.codec.z_bits) / (2 * 64 * 64)
    mse = (output.codec.x_hat - batch.inputs).square().mean()
    lmbda = TorchCodec.load(config.base, config.prompts).at(4).lmbda
    codec = bpp + 0.25 * lmbda * 255**2 * mse
    assert float(loss.codec.loss.detach()) == pytest.approx(float(codec.detach()), rel=1e-4)
    task = float((loss.loss - loss.codec.loss).detach())
    assert task == pytest.approx(0.5 * float(entropy.detach()), rel=1e-2)


def test_a_codec_of_its_own(config: MaskedJointConfig, scenes: Path, tmp_path: Path) -> None:
    task = MaskedJointTask(config)
    folder = run_training(task, data=scenes, out=tmp_path / "run", device="cpu")
    codec = TorchCodec.load(folder / "base", folder / "prompts", heads=folder / "heads")
    mask = codec.segment(codec.encode(np.zeros((70, 50, 3), np.uint8), rate_index=2))
    assert mask.shape == (70, 50)
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    found = next(json.loads(x)["validation"] for x in lines[::-1] if "validation" in x)
    assert {"bpp_2", "psnr_4", "miou_2", "miou"} <= set(found) and 0.0 <= found["miou"] <= 1.0

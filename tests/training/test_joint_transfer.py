"""Joint training that a trained network judges: what learns, what is written, what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import TINY, lively_head, tiny_head

from promptcodec.api import Codec
from promptcodec.coding.adapter import AdapterConfig
from promptcodec.coding.entropy.tables import SCALE_STEP
from promptcodec.config import LAMBDAS, BaseConfig
from promptcodec.errors import ConfigError
from promptcodec.models.adapters.checkpoint import write_adapter
from promptcodec.models.adapters.prompts import LayerAdaptivePrompts
from promptcodec.models.checkpoint import read_base, write_base
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.heads.checkpoint import build_head, write_head
from promptcodec.training.config import DataConfig, OptimizerConfig
from promptcodec.training.joint.config import TaughtJointConfig
from promptcodec.training.joint.taught import TaughtJointTask
from promptcodec.training.trainer import run_training

# A tiny encoder of linear maps and one pair of convolutions, without Swin blocks and context.
EDGE = replace(
    TINY,
    encoder_channels=(4, 8, 8, 12),
    encoder_blocks=("", "", "", "c"),
    decoder_channels=(4, 8, 8, 12),
    decoder_blocks=("", "c", "c", ""),
    detail_channels=0,
    context="none",
    reconstruction="centroid",
)
RATES = (1, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained base, its ladder, a head and a network, and pictures."""
    folder = tmp_path_factory.mktemp("edge")
    torch.manual_seed(2)
    model = CodecModel(EDGE)
    with torch.no_grad():
        model.g_a.head.weight.mul_(20.0)
        model.hyperprior.scale_path.layers[-1].bias.fill_(0.9)  # type: ignore[union-attr]
    write_base(folder / "base", model, config=BaseConfig(codec=EDGE))
    base = read_base(folder / "base")
    own = base.sha256.hex()
    for rate in RATES:
        adapter = LayerAdaptivePrompts(EDGE, width=1, rank=0)
        with torch.no_grad():
            adapter.log_gains.add_(0.5 * math.log(LAMBDAS[rate] / base.config.lmbda) / SCALE_STEP)
        config = AdapterConfig(
            rate_index=rate, lmbda=LAMBDAS[rate], base_sha256=own, width=1, rank=0
        )
        write_adapter(folder / "prompts" / f"rate-{rate}", adapter, config=config)
    latents = tiny_head(begins=1, latent_channels=EDGE.latent_channels, base_sha256=own)
    for name, head in (("network", tiny_head(reads="pixels")), ("head", latents)):
        write_head(folder / name, lively_head(head), config=head)
    rng = np.random.default_rng(2)
    (folder / "pictures").mkdir()
    for number in range(6):
        blocks = rng.integers(0, 256, (5, 6, 3), np.uint8)
        picture = Image.fromarray(blocks).resize((80, 70), Image.Resampling.BICUBIC)
        picture.save(folder / f"pictures/{number}.png")
    return folder


@pytest.fixture
def config(folder: Path) -> TaughtJointConfig:
    return TaughtJointConfig(
        network=str(folder / "network"),
        base=str(folder / "base"),
        prompts=str(folder / "prompts"),
        head=str(folder / "head"),
        rates=RATES,
        parts=("encoder", "entropy", "head"),
        beta=0.0,
        data=DataConfig(crop=64, last_crop=None, validation_pictures=2),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.003, warmup_steps=2),
        steps=8,
        batch=4,
        validate_every=8,
        precision="no",
    )


def trained(config: TaughtJointConfig, folder: Path, out: Path) -> tuple[Path, list[dict]]:
    result = run_training(TaughtJointTask(config), data=folder / "pictures", out=out, device="cpu")
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return result, [line["validation"] for line in lines if "validation" in line]


def changed(before: Path, after: Path) -> set[str]:
    """Parts of a base whose tensors differ."""
    one, two = (load_file(f / "model.safetensors") for f in (before, after))
    return {name.split(".")[0] for name in one if not torch.equal(one[name], two[name])}


def test_a_codec_learns_what_the_network_needs(
    config: TaughtJointConfig, folder: Path, tmp_path: Path
) -> None:
    result, found = trained(replace(config, steps=40, validate_every=40), folder, tmp_path)
    assert found[-1]["loss"] < found[0]["loss"]
    assert {"bpp_1", "psnr_3", "agreement_1", "agreement"} <= set(found[-1])
    assert "g_s" not in changed(folder / "base", result / "base")
    assert {"g_a", "hyperprior"} <= changed(folder / "base", result / "base")
    parts = {"prompts": result / "prompts", "heads": result / "heads"}
    codec, light = (Codec.load(result / "base", engine=e, **parts) for e in ("torch", "onnx"))
    picture = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    stream = codec.encode(picture, rate_index=3)
    assert light.encode(picture, rate_index=3) == stream
    assert [p.label for p in light.classify(stream)] == [p.label for p in codec.classify(stream)]


def test_a_decoder_afterwards_leaves_streams_as_they_are(
    config: TaughtJointConfig, folder: Path, tmp_path: Path
) -> None:
    config = replace(config, parts=("decoder",), alpha=0.0, beta=1.0)
    result, found = trained(config, folder, tmp_path)
    assert changed(folder / "base", result / "base") == {"g_s"}
    assert found[-1]["psnr_3"] > found[0]["psnr_3"]
    assert found[-1]["agreement"] == found[0]["agreement"]
    assert found[-1]["bpp_1"] == found[0]["bpp_1"]


def test_what_the_loss_has(config: TaughtJointConfig, folder: Path) -> None:
    task = TaughtJointTask(replace(config, alpha=0.5, hints=2.0))
    store = task.open_store(folder / "pictures", device="cpu", validation=None)
    model = task.build(store)
    batch = store.batch(4, seed=0, step=0)
    loss = task.loss(model, batch, step=0)
    expected = loss.codec.bpp + 0.5 * (2.0 * loss.task.features + loss.task.divergence)
    assert float(loss.loss.detach()) == pytest.approx(float(expected.detach()))
    loss.loss.backward()
    moved = {n.split(".")[1] for n, p in model.named_parameters() if p.grad is not None}
    assert {"g_a", "hyperprior", "stem", "trunk"} <= moved and "g_s" not in moved
    second = task.loss(model, batch, step=1)  # of the other, finer rate
    assert float(second.codec.bpp) > float(loss.codec.bpp)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "joint"}, "task is 'joint'; need 'joint-transfer'"),
        ({"compared": 2}, "compared is 2; need 4, 8 or 16"),
        ({"rates": (5,)}, "rate 5 has no adapter; there are 1, 3"),
        ({"network": "head"}, "the head to classify on latents is no network to take over"),
    ],
)
def test_refusals(config: TaughtJointConfig, folder: Path, change: dict, message: str) -> None:
    if "network" in change:
        change = {"network": str(folder / change["network"])}
    with pytest.raises(ConfigError, match=message):
        TaughtJointTask(replace(config, **change))


def test_a_head_of_other_classes(config: TaughtJointConfig, folder: Path, tmp_path: Path) -> None:
    other = tiny_head(labels=("dog", "cat", "fish"), reads="pixels")
    write_head(tmp_path, build_head(other), config=other)
    with pytest.raises(ConfigError, match="3 classes that are not those of"):
        TaughtJointTask(replace(config, network=str(tmp_path)))

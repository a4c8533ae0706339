"""A decoder may use what the head has read; the encoder and the head stay as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import lively_head, tiny_head

from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec import TorchCodec
from promptcodec.models.heads.aggregation import Aggregation
from promptcodec.models.heads.checkpoint import write_head
from promptcodec.training import aggregation
from promptcodec.training.aggregation import (
    AggregatingDecoder,
    AggregationTask,
    AggregationTrainingConfig,
    measure,
    read_aggregation,
)
from promptcodec.training.config import DataConfig, OptimizerConfig
from promptcodec.training.trainer import run_training


@pytest.fixture(scope="module", params=[1, 8])
def head(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    base = read_base(tiny_checkpoint)
    config = tiny_head(
        begins=request.param,
        latent_channels=base.config.codec.latent_channels,
        base_sha256=base.sha256.hex(),
    )
    folder = tmp_path_factory.mktemp("head")
    write_head(folder, lively_head(config), config=config)
    return folder


@pytest.fixture
def config(tiny_checkpoint: Path, head: Path) -> AggregationTrainingConfig:
    return AggregationTrainingConfig(
        base=str(tiny_checkpoint),
        head=str(head),
        rates=(4.0,),
        data=DataConfig(crop=64, reduce_probability=0.0, validation_pictures=2),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.003, warmup_steps=1),
        steps=25,
        batch=4,
        validate_every=25,
        precision="no",
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        blocks = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8).repeat(9, 0).repeat(9, 1)
        Image.fromarray(blocks).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("features", [True, False])
def test_a_fresh_one_is_the_codec(tiny_checkpoint: Path, head: Path, features: bool) -> None:
    codec = TorchCodec.load(tiny_checkpoint, heads=head)
    model = AggregatingDecoder(codec, features=features)
    picture = np.random.default_rng(1).integers(0, 256, (70, 50, 3), np.uint8)
    shown = np.asarray(codec.decode(codec.encode(picture)))
    error = np.mean((shown.astype(float) - picture) ** 2)
    found = measure(model, torch.from_numpy(picture).permute(2, 0, 1), rate=4.0)
    assert found == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)


def test_the_held_out_loss_is_a_distortion(
    config: AggregationTrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 dB and 40 dB: the mean of lambda * 255^2 * mse."""
    task = AggregationTask(config)
    found = iter([20.0, 40.0])
    monkeypatch.setattr(aggregation, "measure", lambda *_, **__: next(found))
    store = SimpleNamespace(validation=[torch.zeros(3, 64, 64)] * 2)
    figures = task.validate(task.build(store), store, samples=tmp_path)  # type: ignore[arg-type]
    mean = task.codec.at(4.0).lmbda * 255**2 * (0.01 + 0.0001) / 2
    assert figures == {"loss": pytest.approx(mean), "psnr_4": 30.0}


def test_both_variants_have_as_many_parameters() -> None:
    counts = [
        sum(p.numel() for p in Aggregation(320, 112, features=features).parameters())
        for features in (True, False)
    ]
    assert abs(counts[0] / counts[1] - 1) < 0.03


@pytest.mark.parametrize("features", [True, False])
def test_training_moves_the_decoder_alone(
    config: AggregationTrainingConfig, pictures: Path, tmp_path: Path, features: bool
) -> None:
    run = replace(config, features=features)
    folder = run_training(AggregationTask(run), data=pictures, out=tmp_path / "run", device="cpu")
    codec = TorchCodec.load(config.base, heads=config.head)
    model = read_aggregation(folder, codec)
    fresh = AggregatingDecoder(codec, features=features)
    picture = torch.from_numpy(np.array(Image.open(pictures / "3.png"))).permute(2, 0, 1)
    assert measure(model, picture, rate=4.0) > measure(fresh, picture, rate=4.0)
    assert float(model.aggregation.out.weight.abs().max()) > 0
    y_hat, read = model.latents(torch.rand(1, 3, 64, 64), rate=4.0)
    assert (read is not None) == features
    if read is not None:
        assert read.shape == (1, 12, 4, 4)
        moved = model(y_hat, read + 1.0, rate=4.0)
        assert not torch.equal(moved, model(y_hat, read, rate=4.0))

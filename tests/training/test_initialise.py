"""The linear start is a codec already, and the best linear one where nothing is cut off."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import TINY

from promptcodec.coding.entropy.tables import SCALE_MIN, SCALE_STEP
from promptcodec.config import CodecConfig
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec_model import CodecModel
from promptcodec.training import initialise
from promptcodec.training.initialise import initialise_transforms, quantisation_step, warm_start

CONFIG = dataclasses.replace(
    TINY,
    encoder_channels=(12, 48, 64, 64),
    encoder_blocks=("", "", "ss", "ss"),
    decoder_channels=(12, 48, 64, 64),
    decoder_blocks=("", "c", "ss", "ss"),
    windows=(8, 8, 8, 4),
    head_channels=16,
    latent_channels=128,
    detail_channels=64,
)


def crops(seed: int) -> torch.Tensor:
    coarse = torch.rand(6, 3, 10, 10, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)


def psnr(model: CodecModel, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float(-10 * torch.log10((model.g_s(model.g_a(x)) - x).square().mean()))


def test_a_linear_start_rebuilds_pictures_at_once() -> None:
    torch.manual_seed(0)
    model = CodecModel(CONFIG)
    unseen = crops(2)
    before = psnr(model, unseen)
    initialise_transforms(model, [crops(1)], lmbda=0.025)
    assert psnr(model, unseen) > max(before, 0.0) + 15


NARROW = dataclasses.replace(
    CONFIG,
    encoder_channels=(12, 48, 64, 32),
    decoder_channels=(12, 48, 64, 32),
    latent_channels=64,
    detail_channels=32,
)
WIDE = dataclasses.replace(
    NARROW,
    encoder_channels=(12, 48, 192, 96),
    encoder_blocks=("", "", "sc", "ss"),
    decoder_channels=(12, 48, 64, 112),
    decoder_blocks=("", "c", "cs", "ss"),
)


def started(config: CodecConfig) -> CodecModel:
    torch.manual_seed(0)
    model = CodecModel(config)
    initialise_transforms(model, [crops(1)], lmbda=0.025)
    return model


@pytest.mark.parametrize("config", [WIDE, dataclasses.replace(WIDE, detail_channels=0)])
def test_a_stage_wider_than_its_latents_loses_no_component(config: CodecConfig) -> None:
    if not config.detail_channels:
        config = dataclasses.replace(config, latent_channels=64)
    unseen = crops(2)
    # 64 components of 768 in every case: what the stage between could hold more must not matter.
    assert psnr(started(config), unseen) > psnr(started(NARROW), unseen) - 0.5


def test_layers_start_with_inputs_of_unit_deviation() -> None:
    model, seen = started(WIDE), []
    stages = (*model.g_a.stages, *model.g_s.stages)
    for stage in stages:
        units = stage.units[:, None, None]
        stage.register_forward_hook(lambda *call, units=units: seen.append(call[2] / units))
    with torch.no_grad():
        y = model.g_a(crops(1))
        model.g_s(y)
    for features in (*seen, y / model.g_s.units[:, None, None]):
        deviation = features.square().mean(dim=(-4, -2, -1) if features.ndim == 4 else (-2, -1))
        assert float(deviation.sqrt().max()) < 1.3
        assert float(deviation.sqrt()[:4].min()) > 0.8


def test_components_are_orthonormal_and_ordered() -> None:
    x = crops(3) - 0.5
    basis = initialise._principal_components(x, 12)
    rows = basis.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(12), atol=1e-4, rtol=0)
    energy = F.conv2d(x, basis, stride=2).square().mean(dim=(0, 2, 3))
    assert (energy[:-1] >= energy[1:] - 1e-6).all()
    assert float(energy.sum()) == pytest.approx(float(4 * x.square().mean() * 3), rel=1e-3)


def test_scales_start_at_the_deviation_of_each_channel() -> None:
    torch.manual_seed(0)
    model = CodecModel(CONFIG)
    x = crops(4)
    initialise_transforms(model, [x], lmbda=0.025)
    with torch.no_grad():
        y = model.g_a(x)
        index = model.hyperprior.scale_path.layers[-1].bias * 16
    deviation = y.transpose(0, 1).flatten(1).std(dim=1).clamp_min(SCALE_MIN)
    torch.testing.assert_close(
        SCALE_MIN * torch.exp(index * SCALE_STEP), deviation, rtol=1e-3, atol=1e-3
    )


def test_a_warm_start_takes_what_fits(tiny_checkpoint: Path) -> None:
    stored = read_base(tiny_checkpoint)
    same = CodecModel(stored.config.codec)
    assert warm_start(same, tiny_checkpoint) == []
    for name, value in stored.model.state_dict().items():
        assert torch.equal(same.state_dict()[name], value), name
    other = CodecModel(dataclasses.replace(stored.config.codec, context="none"))
    before = other.context.means.weight.clone()
    assert set(warm_start(other, tiny_checkpoint)) == {"context.means.weight"}
    assert torch.equal(other.context.means.weight, before)
    assert torch.equal(other.g_a.head.weight, stored.model.g_a.head.weight)


def test_step_is_where_the_loss_is_least() -> None:
    lmbda = 0.025
    best = quantisation_step(lmbda)

    def loss(step: float) -> float:
        distortion = step**2 / 12  # bits of one coefficient of unit variance, and its error
        return -0.5 * math.log2(distortion) + lmbda * 255**2 * distortion / 3

    assert loss(best) < min(loss(best * 0.95), loss(best * 1.05))

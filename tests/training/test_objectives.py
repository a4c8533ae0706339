"""Objectives against numbers worked out by hand, and the noise that they are trained on."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from places import RECIPES

from promptcodec.coding.gains import Gains
from promptcodec.config import LAMBDAS
from promptcodec.errors import ConfigError
from promptcodec.models import likelihood
from promptcodec.models.checkpoint import read_base
from promptcodec.models.codec_model import CodecModel, TrainingOutput
from promptcodec.training import validation
from promptcodec.training.base import BaseTask
from promptcodec.training.config import BaseTrainingConfig, DataConfig, read_recipe
from promptcodec.training.initialise import quantisation_step
from promptcodec.training.losses import psnr, rate_distortion
from promptcodec.training.rate_adapter import RateAdapterConfig
from promptcodec.training.validation import Validation

PIXELS = 2 * 4 * 5  # of the pictures below


def output(x_hat: torch.Tensor | None) -> TrainingOutput:
    bits = [torch.tensor(PIXELS * value) for value in (0.5, 0.25, 2.0)]
    return TrainingOutput(
        x_hat=x_hat,
        y_bits=bits[0],
        z_bits=bits[1],
        random_gain_bits=bits[2],
        y_hat=torch.zeros(2, 1, 1, 1),
    )


def test_rate_and_distortion_of_two_pictures() -> None:
    x = torch.full((2, 3, 4, 5), 0.5)
    x_hat = x.clone()
    x_hat[0] += 0.02  # mse 0.0004 in one of two pictures: 13.005 levels squared on average
    found = rate_distortion(output(x_hat), x, lmbda=0.01, random_gain_weight=0.1)
    assert float(found.mse) == pytest.approx(0.0002, rel=1e-4)
    assert float(found.bpp) == pytest.approx(0.75)
    assert float(found.z_bpp) == pytest.approx(0.25)
    assert float(found.loss) == pytest.approx(0.75 + 0.13005 + 0.2, rel=1e-5)
    assert found.figures()["psnr"] == pytest.approx(36.99, abs=0.01)
    twice = rate_distortion(output(x_hat), x, lmbda=0.02, random_gain_weight=0.0)
    assert float(twice.loss) == pytest.approx(0.75 + 0.2601, rel=1e-5)


def test_distortion_by_ms_ssim() -> None:
    x = torch.rand(2, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    bits = [torch.tensor(x[:, 0].numel() * value) for value in (0.5, 0.25, 0.0)]
    same = TrainingOutput(x, *bits, y_hat=torch.zeros(2, 1, 1, 1))
    found = rate_distortion(same, x, lmbda=0.01, metric="ms-ssim")
    assert float(found.loss) == pytest.approx(0.75) and found.figures()["ms_ssim"] == 1.0
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1).requires_grad_()
    found = rate_distortion(replace(same, x_hat=blurred), x, lmbda=0.01, metric="ms-ssim")
    similarity = found.figures()["ms_ssim"]
    assert 0.0 < similarity < 0.99
    assert float(found.loss) == pytest.approx(0.75 + 12.8 * (1.0 - similarity), abs=1e-3)
    found.loss.backward()
    assert blurred.grad is not None and blurred.grad.abs().sum() > 0
    held_out = Validation(bpp_estimate=0.75, z_bpp=0.25, psnr=30.0, mse=0.001, ms_ssim=0.98)
    assert held_out.figures(lmbda=0.01)["loss"] == pytest.approx(0.75 + 12.8 * 0.02)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"metric": "ssim"}, "need psnr or ms-ssim"), ({"metric": "ms-ssim"}, "crop is 128")],
)
def test_metrics_that_cannot_be(changes: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        RateAdapterConfig(data=DataConfig(crop=128), **changes)


def test_without_a_picture_the_rate_alone_counts() -> None:
    found = rate_distortion(output(None), torch.zeros(2, 3, 4, 5), lmbda=0.01)
    assert float(found.loss) == pytest.approx(0.75)


def test_an_error_of_one_level_weighs_lambda() -> None:
    x = torch.zeros(2, 3, 4, 5)
    found = rate_distortion(output(x + 1 / 255), x, lmbda=0.37)
    assert float(found.loss) == pytest.approx(0.75 + 0.37)
    assert psnr(torch.tensor(1 / 255**2)) == pytest.approx(20 * math.log10(255))
    held_out = Validation(bpp_estimate=0.75, z_bpp=0.25, psnr=48.13, mse=1 / 255**2)
    assert held_out.figures(lmbda=0.37)["loss"] == pytest.approx(0.75 + 0.37)


def test_a_base_is_trained_at_the_lambda_of_its_rate() -> None:
    config = read_recipe(RECIPES / "base" / "base-tiny.yaml", BaseTrainingConfig)
    assert config.rate_weight == LAMBDAS[4] == 0.025
    x = torch.rand(1, 3, 64, 64)
    for changes, lmbda in (({}, 0.025), ({"rate_index": 0}, 0.0013), ({"lmbda": 0.5}, 0.5)):
        task = BaseTask(replace(config, random_gain_weight=0.0, **changes))
        found = task.loss(task.build(None), x, step=0)
        expected = found.bpp + lmbda * 65025.0 * found.mse
        assert float(found.loss.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_held_out_error_is_that_of_whole_levels(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two levels off everywhere: 4 levels squared, 42.11 dB."""
    model = read_base(tiny_checkpoint).model
    picture = torch.full((3, 64, 64), 100, dtype=torch.uint8)

    def two_levels_off(model: CodecModel, x: torch.Tensor, **options):
        latents = model.analyse(x, gains=Gains.constant(model.config.latent_channels))
        return latents, x + 2 / 255

    monkeypatch.setattr(validation, "transmit", two_levels_off)
    found = validation.validate(model, [picture], samples=None)
    assert found.mse == pytest.approx(4 / 255**2, rel=1e-4)
    assert found.psnr == pytest.approx(10 * math.log10(255**2 / 4), abs=1e-3)
    loss = found.figures(lmbda=0.1)["loss"]
    assert loss == pytest.approx(found.bpp_estimate + 0.4, rel=1e-4)


def test_the_start_is_quantised_as_the_objective_wants() -> None:
    """bpp + lambda * 255^2 * mse is least where its derivative in the error is 0."""
    lmbda = 0.025
    error = quantisation_step(lmbda) ** 2 / 12.0  # of one of three components of a pixel
    slope_of_rate = -1.0 / (2.0 * math.log(2.0) * error)
    assert slope_of_rate + lmbda * 255.0**2 / 3.0 == pytest.approx(0.0, abs=1e-6 * -slope_of_rate)


# -- noise --------------------------------------------------------------------------------------


def test_noise_is_uniform_over_one_step() -> None:
    torch.manual_seed(0)
    x = torch.full((100_000,), 7.25, requires_grad=True)
    noisy = likelihood.add_noise(x)
    noise = (noisy - x).detach()
    assert -0.5 <= float(noise.min()) < -0.499 and 0.499 < float(noise.max()) <= 0.5
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.005)
    assert float(noise.var()) == pytest.approx(1 / 12, rel=0.02)
    noisy.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, torch.ones_like(x))


@pytest.fixture
def model(tiny_checkpoint: Path) -> CodecModel:
    return read_base(tiny_checkpoint).model


def two_passes(model: CodecModel, **options) -> tuple[TrainingOutput, TrainingOutput]:
    torch.manual_seed(0)
    x, found = torch.rand(1, 3, 64, 64), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(model(x, **options))
    return found[0], found[1]


def test_training_sees_noise_where_coding_rounds(model: CodecModel) -> None:
    """With z rounded, what differs in y is the noise of y; z is priced with noise anyway."""
    one, other = two_passes(model, round_z=True)
    assert float(one.y_bits) != float(other.y_bits)
    assert float(one.z_bits) != float(other.z_bits)
    assert float(one.random_gain_bits) != float(other.random_gain_bits)
    one, other = two_passes(model, hard=True)
    assert float(one.y_bits) == float(other.y_bits) and float(one.z_bits) == float(other.z_bits)


def test_a_young_hyperprior_sees_noisy_z(
    model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    path = model.hyperprior.scale_path
    path.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    for round_z in (False, True):
        seen.clear()
        two_passes(model, round_z=round_z)
        whole = all(torch.equal(z, torch.round(z)) for z in seen)
        assert len(seen) == 4 and whole == round_z


def test_noise_costs_about_as_much_as_rounding(model: CodecModel) -> None:
    """Bits of noisy symbols are those of rounded ones on average, not those of exact ones."""
    residual, scale = 3.0 * torch.randn(50_000), torch.full((50_000,), 3.0)
    noisy = float(likelihood.gaussian_bits(likelihood.add_noise(residual), scale).mean())
    rounded = float(likelihood.gaussian_bits(torch.round(residual), scale).mean())
    assert noisy == pytest.approx(rounded, rel=0.01)
    assert noisy == pytest.approx(0.5 * math.log2(2 * math.pi * math.e * 9.0), rel=0.02)

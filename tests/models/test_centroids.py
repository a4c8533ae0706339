"""Residuals rebuilt at centroids: right for a Laplacian, the same for encoder and decoder."""

from dataclasses import replace

import pytest
import torch
from tiny import TINY

from promptcodec.coding.gains import Gains
from promptcodec.config import BaseConfig
from promptcodec.errors import CheckpointError, ConfigError
from promptcodec.models.centroids import Centroids, laplacian_pull
from promptcodec.models.checkpoint import build, density_tables, pack_arrays
from promptcodec.models.codec_model import CodecModel
from promptcodec.models.likelihood import index_to_scale

CONFIG = replace(TINY, reconstruction="centroid")


@pytest.fixture(scope="module")
def model() -> CodecModel:
    torch.manual_seed(3)
    model = CodecModel(CONFIG).eval().requires_grad_(False)
    model.g_a.head.weight.mul_(40.0)
    model.hyperprior.scale_path.layers[-1].bias.fill_(0.9)
    model.freeze_scale_path()
    return model


@pytest.mark.parametrize("index", [8, 16, 24, 40])
def test_the_start_is_the_mean_of_a_laplacian(index: int) -> None:
    spread = float(index_to_scale(torch.tensor(float(index)))) / 2**0.5
    drawn = torch.distributions.Laplace(0.0, spread).sample((2_000_000,))
    for symbol in (-1, 1, 2):
        own = drawn[torch.round(drawn) == symbol]
        if len(own) > 5000:
            expected = symbol - (1 if symbol > 0 else -1) * laplacian_pull()[index]
            assert float(own.mean()) == pytest.approx(float(expected), abs=0.02)


def test_zero_stays_and_signs_are_alike() -> None:
    centroids = Centroids()
    index = torch.full((1, 5), 10, dtype=torch.uint8)
    rebuilt = centroids(torch.tensor([[-2.0, -1.0, 0.0, 1.0, 2.0]]), index)[0]
    assert rebuilt[2] == 0 and torch.equal(rebuilt, -rebuilt.flip(0))
    assert 0.5 < rebuilt[3] < 1 < rebuilt[4] < 2
    real = centroids(torch.tensor([[1.0]]), torch.tensor([[10.4]]))  # as in training
    assert real[0, 0] == rebuilt[3]


def test_encoder_and_decoder_rebuild_alike(model: CodecModel) -> None:
    gains = Gains.constant(12, 300)
    latents = model.analyse(torch.rand(1, 3, 64, 128), gains=gains)
    assert latents.symbols.abs().max() > 1
    again = model.reconstruct_latents(
        latents.z_hat, latents.symbols, indexes=latents.indexes, gains=gains
    )
    torch.testing.assert_close(again, latents.y_hat, atol=1e-5, rtol=1e-5)


def test_the_table_learns() -> None:
    torch.manual_seed(0)
    model = CodecModel(CONFIG)
    with torch.no_grad():
        model.g_a.head.weight.mul_(100.0)
    output = model(torch.rand(1, 3, 64, 64))
    output.x_hat.square().mean().backward()
    assert model.centroids is not None and model.centroids.pull.grad.abs().sum() > 0
    assert not any(p.grad is not None for p in model.hyperprior.scale_path.parameters())


def test_it_is_part_of_the_base_and_old_bases_have_none(model: CodecModel) -> None:
    tensors = pack_arrays(model, density_tables(model))
    assert "centroids.pull" in tensors
    build(tensors, config=BaseConfig(codec=CONFIG), where="here")
    plain = replace(CONFIG, reconstruction="middle")
    assert "reconstruction" not in plain.identity() and CodecModel(plain).centroids is None
    with pytest.raises(CheckpointError, match=r"unknown tensor centroids\.pull"):
        build(tensors, config=BaseConfig(codec=plain), where="here")
    with pytest.raises(ConfigError, match="reconstruction is 'edge'"):
        replace(CONFIG, reconstruction="edge")


def test_a_diverging_run_rebuilds_no_number_from_no_number() -> None:
    """The loss says so; an index that is no number ends no process, as it would on a GPU."""
    nothing = torch.full((2, 3), torch.nan)
    assert bool(Centroids()(nothing, nothing).isnan().all())

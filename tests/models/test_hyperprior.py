"""The integer scale path is exact; the factorised prior is a distribution."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import TINY

from promptcodec.coding.scale_path import (
    ACTIVATION_MAX,
    MAX_EXACT,
    exactness_bound,
    layer_shapes,
    table_indexes,
)
from promptcodec.models.hyperprior import (
    FactorizedPrior,
    Hyperprior,
    ScalePath,
    integer_indexes,
)

CONFIG = replace(TINY, z_channels=6, scale_channels=8, latent_channels=10)


def path() -> ScalePath:
    torch.manual_seed(5)
    made = ScalePath(CONFIG)
    with torch.no_grad():
        made.layers[-1].weight.mul_(0.7)
    return made


def as_float64(layers):
    return [(w.to(torch.float64), b.to(torch.float64)) for w, b in layers]


def python_reference(z_hat: np.ndarray, layers) -> np.ndarray:
    """The specification in plain Python integers."""
    x = z_hat.astype(object) * 256
    for number, (weight, bias) in enumerate(layers):
        out, columns = weight.shape
        kernel = 3 if columns == x.shape[0] * 9 else 1
        pad = kernel // 2
        weights = weight.numpy().astype(object).reshape(out, x.shape[0], kernel, kernel)
        _, h, w = x.shape
        padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
        acc = np.empty((out, h, w), object)
        for o in range(out):
            for i in range(h):
                for j in range(w):
                    window = padded[:, i : i + kernel, j : j + kernel]
                    acc[o, i, j] = int((weights[o] * window).sum()) + int(bias[o])
        if number == len(layers) - 1:
            return ((acc + (1 << 17)) >> 18).astype(np.int64)
        acc = np.clip((acc + (1 << 13)) >> 14, 0, ACTIVATION_MAX)
        x = acc.reshape(out // 4, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(out // 4, 2 * h, -1)
    raise AssertionError


def test_integer_path_equals_plain_python_integers() -> None:
    layers = path().quantised()
    z_hat = torch.randint(-128, 128, (1, 6, 2, 3), generator=torch.Generator().manual_seed(1))
    ours = integer_indexes(z_hat, as_float64(layers))[0].numpy()
    expected = python_reference(z_hat[0].numpy(), layers)
    assert ours.shape == (10, 8, 12)
    assert len(np.unique(expected)) > 10
    np.testing.assert_array_equal(ours, np.clip(expected, -32, 128))


def test_integer_path_follows_the_float_path() -> None:
    made = path()
    z_hat = torch.randint(-20, 21, (2, 6, 4, 4))
    with torch.no_grad():
        real = made(z_hat.float())
    ours = integer_indexes(z_hat, as_float64(made.quantised()))
    inside = (real > -30) & (real < 120)
    assert (real[inside] - ours[inside]).abs().max() < 0.6


@pytest.mark.parametrize("threads", [1, 2])
def test_integer_path_ignores_batch_and_threads(threads: int) -> None:
    layers = as_float64(path().quantised())
    z_hat = torch.randint(-128, 128, (3, 6, 5, 7), generator=torch.Generator().manual_seed(2))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        whole = integer_indexes(z_hat, layers)
        single = torch.cat([integer_indexes(z[None], layers) for z in z_hat])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = integer_indexes(z_hat, layers)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(whole, single)
    assert torch.equal(whole, mixed)


def test_exactness_bound_is_reached_by_the_worst_case() -> None:
    layers = [(np.full((1, 4), -(2**20), np.int32), np.zeros(1, np.int64))]
    worst = 4 * 2**20 * 128 * 256
    assert worst <= exactness_bound(layers) <= worst + 2**23
    assert exactness_bound(as_arrays(path())) < MAX_EXACT


@pytest.mark.parametrize("grid", [(1, 1), (3, 5)])
def test_numpy_and_torch_agree(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    made = ScalePath(CONFIG)
    layers = as_arrays(made)
    assert [weight.shape for weight, _ in layers] == layer_shapes(CONFIG)
    z_hat = np.random.default_rng(0).integers(-128, 128, (2, 6, *grid))
    found = table_indexes(z_hat, layers)
    theirs = integer_indexes(torch.from_numpy(z_hat), as_float64(made.quantised()))
    assert found.dtype == np.int32 and np.array_equal(found, theirs.numpy())


def as_arrays(made: ScalePath) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(w.numpy().astype(np.int32), b.numpy()) for w, b in made.quantised()]


def test_prior_probabilities_sum_to_one_and_match_the_density() -> None:
    torch.manual_seed(0)
    prior = FactorizedPrior(3)
    with torch.no_grad():
        prior.means.add_(torch.randn_like(prior.means))
    table = prior.integer_probabilities()
    assert table.shape == (3, 256)
    torch.testing.assert_close(table.sum(1), torch.ones(3, dtype=torch.float64))
    values = torch.tensor([-7.0, 0.0, 4.0])
    with torch.no_grad():
        density = prior(values.view(1, 1, 1, 3).expand(1, 3, 1, 3))[0, :, 0]
    torch.testing.assert_close(table[:, (values + 128).long()].float(), density, atol=1e-5, rtol=0)


def test_a_young_hyperprior_speaks() -> None:
    torch.manual_seed(0)
    config = replace(
        TINY,
        latent_channels=320,
        hyper_channels=96,
        z_channels=64,
        encoder_channels=(8, 8, 8, 320),
        decoder_channels=(8, 8, 8, 320),
    )
    hyperprior = Hyperprior(config)
    y = F.interpolate(torch.randn(1, config.latent_channels, 4, 4) * 3, size=16)
    assert hyperprior.h_a(y).std() > 0.5

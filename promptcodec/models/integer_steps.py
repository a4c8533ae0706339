"""Rounds of single integer steps: the last few per cent of a refinement, and its cheapest start.

    gradient of the distortion, its curvature along each latent, bits of the neighbouring symbols
    -> which symbol gains by one step up or down -> the best of them step at once -> again

Each symbol is scored on its own although neighbours affect the same pixels. To keep simultaneous
steps from overshooting, the curvature is doubled (CAUTION) and only the best 30 % of the useful
steps (SHARE) are taken in a round. The round of the lowest true cost is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents
from promptcodec.models import likelihood
from promptcodec.models.codec_model import Adapter, CodecModel
from promptcodec.models.tensors import multipliers

PROBES = 2  # random directions that the curvature is estimated from
CAUTION = 2.0  # factor on the curvature
SHARE = 0.3  # of the steps that would gain, the best ones, in one round
INSIDE = 0.95  # where a stepped value stands: almost at its new integer


@dataclass(frozen=True)
class RefinementProblem:
    """A picture, a rate and a model whose latents are refined.

    Args:
        model: codec with frozen weights.
        target: picture without its padding, RGB in [0, 1], (1, 3, H, W).
        gains: log-gains of the rate.
        lmbda: rate-distortion weight.
        adapter: networks of the rate; None is the base.
    """

    model: CodecModel
    target: Tensor
    gains: Gains
    lmbda: float
    adapter: Adapter | None

    @property
    def pixels(self) -> int:
        """Number of pixels without padding."""
        return self.target.shape[2] * self.target.shape[3]

    def rebuild(self, y_hat: Tensor) -> Tensor:
        """Synthesise y_hat and cut the padding off, (1, 3, H, W)."""
        height, width = self.target.shape[2:]
        return self.model.to_picture(y_hat, self.adapter)[:, :, :height, :width].float()

    def quantise(self, y: Tensor, z: Tensor) -> Latents:
        """Round refined latents into symbols."""
        return self.model.quantise(y.detach(), z.detach(), gains=self.gains, adapter=self.adapter)


def take_integer_steps(
    problem: RefinementProblem,
    y: Tensor,
    z: Tensor,
    *,
    rounds: int,
    cost_of: Callable[[Latents], float],
    tick: Callable[[], None],
) -> Latents:
    """Change single symbols by one while that lowers the cost.

    Args:
        problem: picture, rate and model.
        y: latents before rounding, (1, M, h, w).
        z: hyper-latents before rounding, (1, Cz, h/4, w/4).
        rounds: number of rounds; 0 rounds y and z only.
        cost_of: true rate-distortion cost of latents.
        tick: function that is called after each round.
    Returns:
        The latents of the lowest cost; never worse than y and z rounded.
    """
    y = y.detach().clone()
    latents = best = problem.quantise(y, z)
    if not rounds:
        return best
    least, curve = cost_of(best), _curvature(problem, best.y_hat)
    gain = multipliers(problem.gains, y.device)
    for _ in range(rounds):
        y = _step(problem, y, latents, gain=gain, curve=curve)
        latents = problem.quantise(y, z)
        cost = cost_of(latents)
        if cost < least:
            best, least = latents, cost
        tick()
    return best


def _step(
    problem: RefinementProblem, y: Tensor, latents: Latents, *, gain: Tensor, curve: Tensor
) -> Tensor:
    """y with the most useful steps taken."""
    model, index = problem.model, latents.indexes
    symbols = latents.symbols.float()
    y_hat = latents.y_hat.clone().requires_grad_()
    with torch.enable_grad():
        mse = (problem.rebuild(y_hat) - problem.target).square().mean()
        (slope,) = torch.autograd.grad(problem.lmbda * 255.0**2 * mse, y_hat)
    scale = likelihood.index_to_scale(index.float())
    here, bits = model.rebuild(symbols, index), likelihood.gaussian_bits(symbols, scale)
    least, chosen = torch.zeros_like(symbols), torch.zeros_like(symbols)
    for step in (-1.0, 1.0):
        moved = symbols + step
        change = (model.rebuild(moved, index) - here) / gain
        cost = (likelihood.gaussian_bits(moved, scale) - bits) / problem.pixels
        cost = cost + slope * change + 0.5 * CAUTION * curve * change.square()
        better = (cost < least) & (index > 0)  # index 0 is a certain zero
        least, chosen = torch.where(better, cost, least), torch.where(better, step, chosen)
    steps = chosen != 0
    if not bool(steps.any()):
        return y
    enough = torch.quantile(-least[steps].double(), 1.0 - SHARE)
    steps = steps & (-least >= enough)
    mu = latents.y_hat - here / gain
    return torch.where(steps, mu + (symbols + chosen * INSIDE) / gain, y)


def _curvature(problem: RefinementProblem, y_hat: Tensor) -> Tensor:
    """Second derivative of lambda * 255^2 * mse along each latent, estimated, shape of y_hat.

    The square of a random projection of the Jacobian has the sum of its squared column as its
    mean; few projections are noisy, so half of the estimate is the mean of the channel and half
    that of the neighbourhood.
    """
    total = torch.zeros_like(y_hat)
    for probe in range(PROBES):
        y = y_hat.detach().clone().requires_grad_()
        with torch.enable_grad():
            x_hat = problem.rebuild(y)
            random = torch.Generator().manual_seed(probe)
            signs = torch.randint(0, 2, x_hat.shape, generator=random).to(x_hat) * 2.0 - 1.0
            (projected,) = torch.autograd.grad((x_hat * signs).sum(), y)
        total = total + projected.square() / PROBES
    near = F.avg_pool2d(F.pad(total, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    channel = total.mean(dim=(2, 3), keepdim=True)
    weight = 2.0 * problem.lmbda * 255.0**2 / (3 * problem.pixels)
    return weight * 0.5 * (near + channel)

"""Refinement of one picture's latents with frozen weights, by option `effort`.

    y, z  ->  rounded with a gradient  ->  bits + lambda * distortion  ->  Adam on y and z  ->  ...
          ->  single integer steps (`integer_steps`)

g_a is optimised for the mean over pictures; for one picture, other integers nearby have a lower
rate or distortion. The result is coded like any other latents, so every decoder reads it.

Source: Koyuncu et al. 2023, arXiv:2306.14287 (refinement in few steps) and Yang et al. 2020,
arXiv:2006.04240 (stochastic Gumbel annealing). Differs: annealing with less noise, which suits few
steps, and the integer steps at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from promptcodec.coding.entropy import rans
from promptcodec.coding.entropy.rans import EntropyTables
from promptcodec.coding.entropy.tables import Z_MAX, Z_MIN
from promptcodec.coding.gains import Gains
from promptcodec.coding.latents import Latents
from promptcodec.errors import UsageError
from promptcodec.models import likelihood
from promptcodec.models.codec_model import Adapter, CodecModel
from promptcodec.models.integer_steps import RefinementProblem, take_integer_steps
from promptcodec.models.tensors import arrays_of, multipliers, offsets

MAX_EFFORT = 9
MAX_PIXELS = 2**23  # activations of g_s are kept for the gradient
SEED = 1  # of the annealing noise: the same picture gives the same bytes


@dataclass(frozen=True)
class Schedule:
    """Schedule of a refinement.

    Args:
        steps: number of gradient steps.
        rounds: number of rounds of integer steps after them.
        learning_rate: initial learning rate of y and z, in quantisation steps; cosine to zero.
        temperature: temperature of the rounding at the first step, falling linearly to zero; 0 is
            the straight-through estimator.
        noise: scale of the noise in the choice between two integers; 1 is as published, smaller
            values suit few steps.
    """

    steps: int
    rounds: int = 4
    learning_rate: float = 0.015
    temperature: float = 0.6
    noise: float = 0.4


SCHEDULES = (
    Schedule(0, rounds=0),
    Schedule(0, rounds=2),
    Schedule(6, rounds=3),
    *(Schedule(steps) for steps in (12, 16, 20, 26)),
    *(Schedule(steps, learning_rate=0.03, temperature=0.8, noise=0.5) for steps in (40, 80, 120)),
)  # by effort


@torch.inference_mode(False)
def refine(
    model: CodecModel,
    x: Tensor,
    *,
    size: tuple[int, int],
    tables: EntropyTables,
    gains: Gains,
    lmbda: float,
    schedule: Schedule,
    adapter: Adapter | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Latents:
    """Search for latents of lower cost; the result is never worse than g_a's own.

    Args:
        model: frozen model.
        x: one padded picture, RGB in [0, 1], (1, 3, H, W).
        size: height and width of the picture without padding, px.
        tables: entropy tables of the rate, for the bits of the cost.
        gains: log-gains of the rate.
        lmbda: rate-distortion weight, cost = bpp + lmbda * 255^2 * mse.
        schedule: steps and method.
        adapter: adapter of the rate; None is the base.
        progress: function of (steps done, steps).
    Raises:
        UsageError: the picture has more than MAX_PIXELS, padding included.
    """
    padded = x.shape[2] * x.shape[3]
    if padded > MAX_PIXELS:
        raise UsageError(
            f"effort above 0 holds about 1 GB for each megapixel, and the picture has {padded} px "
            f"with its padding; the limit is {MAX_PIXELS}: use effort 0 or a smaller picture"
        )
    target = x[:, :, : size[0], : size[1]].clone()

    def cost_of(latents: Latents) -> float:
        x_hat = model.synthesise(latents.y_hat, adapter=adapter)[:, :, : size[0], : size[1]]
        mse = float((x_hat.clamp(0.0, 1.0) - target).square().mean())
        bits = sum(rans.estimate_bits(arrays_of(latents), tables))
        return bits / (size[0] * size[1]) + lmbda * 255.0**2 * mse

    y, z = model.transform(x, adapter=adapter)
    problem = RefinementProblem(
        model=model, target=target, gains=gains, lmbda=lmbda, adapter=adapter
    )
    best = problem.quantise(y, z)
    search = _Search(problem, y, z, schedule=schedule)
    total, done = schedule.steps + schedule.rounds, 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    for step in range(schedule.steps):
        search.step(step)
        tick()
    y, z = search.latents()
    found = take_integer_steps(problem, y, z, rounds=schedule.rounds, cost_of=cost_of, tick=tick)
    return found if cost_of(found) < cost_of(best) else best


class _Search:
    """State of one refinement."""

    def __init__(
        self, problem: RefinementProblem, y: Tensor, z: Tensor, *, schedule: Schedule
    ) -> None:
        self.problem, self.schedule = problem, schedule
        self.gain = multipliers(problem.gains, y.device)
        self.offset = offsets(problem.gains, y.device)
        # Tensors of inference mode cannot have gradients; copies can.
        self.fine = (y * self.gain).clone().requires_grad_()  # y in quantisation steps
        self.z = z.clone().requires_grad_()
        self.random = torch.Generator(y.device).manual_seed(SEED)
        self.mu: Tensor | None = None
        self.optimizer = torch.optim.Adam([self.fine, self.z], betas=(0.9, 0.99))

    def latents(self) -> tuple[Tensor, Tensor]:
        """Current y and z."""
        return self.fine / self.gain, self.z

    @torch.enable_grad()
    def step(self, number: int) -> None:
        """One gradient step."""
        at = number / self.schedule.steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate * 0.5 * (1.0 + math.cos(math.pi * at))
        loss = self._loss(self.schedule.temperature * (1.0 - at))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _loss(self, temperature: float) -> Tensor:
        problem, model = self.problem, self.problem.model
        y, z = self.latents()
        with torch.autocast(y.device.type, enabled=False):
            z_hat = self._round(likelihood.bounded(z, Z_MIN, Z_MAX), temperature)
            features = model.features(z_hat, problem.adapter)
            index = model.hyperprior.scale_path(z_hat) + self.offset
            coded = (index.detach() >= 0.5).float()  # the others are certain zeros
            # The input of the context is rounded around the means of the step before.
            mu = self.mu if self.mu is not None else torch.zeros_like(y)
            soft = coded * self._round((y - mu) * self.gain, temperature)
            y_hat = self._rebuilt(soft, index, mu)
            mu, _ = model.context.parallel(features, y_hat)
            symbols = coded * self._round((y - mu) * self.gain, temperature)
            bits = likelihood.gaussian_bits(symbols, likelihood.index_to_scale(index)).sum()
            prior = likelihood.lower_bound(model.hyperprior.prior(z_hat), likelihood.LIKELIHOOD_MIN)
            bits = bits - torch.log2(prior).sum()
            y_hat = self._rebuilt(symbols, index, mu)
            self.mu = mu.detach()
        mse = (problem.rebuild(y_hat) - problem.target).square().mean()
        return bits / problem.pixels + problem.lmbda * 255.0**2 * mse

    def _rebuilt(self, symbols: Tensor, index: Tensor, mu: Tensor) -> Tensor:
        return self.problem.model.rebuild(symbols, index) / self.gain + mu

    def _round(self, x: Tensor, temperature: float) -> Tensor:
        """Round with a gradient; above zero a random mixture of the two integers around x.

        The mixture is a relaxed sample (Gumbel-softmax) of one of the two. Its logits are inverse
        hyperbolic tangents of the distances over the temperature.
        """
        if not temperature:
            return likelihood.round_ste(x)
        low = torch.floor(x.detach())
        part = (x - low).clamp(1e-4, 1.0 - 1e-4)
        drawn = torch.empty_like(part).uniform_(1e-6, 1.0 - 1e-6, generator=self.random)
        logits = (torch.atanh(part) - torch.atanh(1.0 - part)) / temperature
        logits = (logits + self.schedule.noise * torch.logit(drawn)) / temperature
        return low + torch.sigmoid(logits)

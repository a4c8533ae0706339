"""Optimiser, learning rate schedule and device of a run."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.training.config import OptimizerConfig
from promptcodec.training.muon import Muon

# Parameters of two axes that are tables, not linear maps.
TABLES = ("position_bias", "hyperprior.prior", "context.slot", "centroids")
ENTROPY_MODEL = ("hyperprior.", "context.", "centroids.")  # starts of names
FEWEST = 4  # smallest number of rows and columns for Muon


def build_optimizer(
    model: nn.Module, config: OptimizerConfig, *, factor: Callable[[str], float] = lambda _: 1.0
) -> torch.optim.Optimizer:
    """The optimiser that `config` names, over the parameters of `model` that are trained.

    Args:
        model: the module in training.
        config: optimiser and schedule.
        factor: learning rate of a parameter over that of others, by its name.
    """
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = factor(name) * _factor(name, config), is_matrix(name, parameter)
            groups.setdefault(key, []).append(parameter)
    options = [
        {"params": parameters, "factor": factor, "matrices": matrices}
        for (factor, matrices), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    common = {
        "lr": config.learning_rate,
        "betas": (config.beta1, config.beta2),
        "weight_decay": config.weight_decay,
    }
    if config.name == "adamw":
        return torch.optim.AdamW(options, **common)
    return Muon(options, momentum=config.momentum, band=config.band, period=config.period, **common)


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon updates a parameter: linear maps and convolutions."""
    if parameter.ndim < 2 or any(t in name for t in TABLES):
        return False
    return min(parameter.shape[0], parameter[0].numel()) >= FEWEST


def device_of(model: nn.Module) -> torch.device:
    """Device of a model's parameters."""
    return next(model.parameters()).device


def on_gpu(device: str | None) -> bool:
    """Whether to train on the GPU.

    Raises:
        UsageError: the device is unknown, or is "cuda" on a machine without a GPU.
    """
    if device not in (None, "cpu", "cuda"):
        raise UsageError(f"device is {device!r}; need cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda, and this machine has no usable GPU; use cpu")
    return device != "cpu" and torch.cuda.is_available()


def average_decay(name: str, config: OptimizerConfig) -> float:
    """Decay of a weight's average over the steps, by its name."""
    if config.entropy_ema_decay is not None and name.startswith(ENTROPY_MODEL):
        return config.entropy_ema_decay
    return config.ema_decay


def _factor(name: str, config: OptimizerConfig) -> float:
    if name.startswith(ENTROPY_MODEL):
        return config.entropy_factor
    return config.gain_factor if name.endswith("log_gains") else 1.0


def learning_rate(step: int, *, share: float, config: OptimizerConfig) -> float:
    """Warm-up, constant, then a decay to zero over the last `decay_fraction` (1 - sqrt shape).

    Args:
        step: steps done; determines the warm-up.
        share: share of the run that is done; determines the decay.
        config: peak and lengths.
    Source of the shape: Haegele et al. 2024, arXiv:2405.18392.
    """
    peak = config.learning_rate
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    return peak * decayed(share, config=config)


def decayed(share: float, *, config: OptimizerConfig) -> float:
    """What the decay at the end of a run leaves of the learning rate, 0 to 1."""
    into = share - (1.0 - config.decay_fraction)
    if into <= 0.0:
        return 1.0
    return 1.0 - math.sqrt(min(1.0, into / config.decay_fraction))

"""Which optimiser moves which parameters, and how fast."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from promptcodec.training.config import OptimizerConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimiser that `config` names, over the parameters of `model` that are trained."""
    # Matrices by Muon; tables, biases and the mixture of z by AdamW.
    tables = ("position_bias", "hyperprior.prior", "context.slot", "centroids")
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            small = parameter.ndim < 2 or any(n in name for n in tables)
            groups.setdefault((_factor(name, config), small), []).append(parameter)
    options = [
        {
            "params": parameters,
            "factor": factor,
            **({"use_fallback": True} if small and config.name == "muon" else {}),
        }
        for (factor, small), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    common = {
        "lr": config.learning_rate,
        "betas": (config.beta1, config.beta2),
        "weight_decay": config.weight_decay,
    }
    if config.name == "adamw":
        return torch.optim.AdamW(options, **common)
    from timm.optim.muon import Muon  # timm takes seconds to import; only this choice needs it

    return Muon(options, nesterov=True, **common)


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters are."""
    return next(model.parameters()).device


def _factor(name: str, config: OptimizerConfig) -> float:
    if name.startswith(("hyperprior.", "context.", "centroids.")):
        return config.entropy_factor
    return config.gain_factor if name.endswith("log_gains") else 1.0


def learning_rate(step: int, *, share: float, config: OptimizerConfig) -> float:
    """Warm-up, constant, then a decay to zero over the last `decay_fraction` (1 - sqrt shape).

    Args:
        step: steps done, which the warm-up counts.
        share: of the run that is done, which the decay follows.
        config: peak and lengths.
    Source of the shape: Haegele et al. 2024, arXiv:2405.18392.
    """
    peak = config.learning_rate
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    into = share - (1.0 - config.decay_fraction)
    if into <= 0.0:
        return peak
    return peak * (1.0 - math.sqrt(min(1.0, into / config.decay_fraction)))
